"""The same sections for a terminal, through rich; nothing that a section says is ever read as markup."""

import io
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from ..cleaning import clean
from ..verdicts import Verdict
from .names import shortened
from .numbers import written
from .section import Report, Section, Table
from .sections.verdicts import level_name, tone

_TONES = {"alarm": "bold red", "fine": "bold green", "open": "bold"}


def render_text(report: Report, width: int = 100) -> str:
    """The whole report as plain text, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(report_for_terminal(report))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def report_for_terminal(report: Report) -> RenderableType:
    """The whole report, to be printed by any rich console."""
    sections = (section_for_terminal(section) for section in (*report.sections, report.provenance))
    return Group(_words(report.title, "bold"), Text(), _words(report.summary), *sections)


def section_for_terminal(section: Section) -> RenderableType:
    """One section: its answer, its verdicts, what its figures show in words, its tables and where they come from."""
    return Group(*_parts(section))


def verdict_for_terminal(verdict: Verdict) -> RenderableType:
    """One judgement: its level and layer, its claim, and its ground below."""
    line = _words(level_name(verdict.level), _TONES[tone(verdict.level)])
    line.append(f"  {shortened(verdict.layer)}  ").append(clean(verdict.claim), "default")
    return Group(line, Padding(_words(f"{verdict.because}. {verdict.source}", "dim"), (0, 0, 0, 4)))


def _parts(section: Section) -> Iterable[RenderableType]:
    yield Text()
    yield _words(section.title, "bold underline")
    yield _words(section.lead)
    for paragraph in section.prose:
        yield Text()
        yield _words(paragraph)
    for verdict in section.verdicts:
        yield Text()
        yield verdict_for_terminal(verdict)
    for notes in section.notes:
        yield Text()
        yield _words(notes.title, "italic")
        for sentence in notes.sentences:
            yield Padding(_words(sentence), (0, 0, 0, 2))
    for table in section.tables:
        yield Text()
        yield _table(table)
    for figure in section.figures:
        yield Text()
        yield _words(f"Figure: {figure.alt}", "italic")
    if section.method:
        yield Text()
        yield Padding(_words(" ".join(section.method.sentences), "dim"), (0, 0, 0, 2))
        for line in section.method.formula.splitlines():
            yield Padding(_words(line, "dim"), (0, 0, 0, 4))
        if section.method.sources:
            yield Padding(_words(f"Sources: {'; '.join(section.method.sources)}.", "dim"), (0, 0, 0, 2))


def _table(table: Table) -> RenderableType:
    drawn = RichTable(box=None, pad_edge=False)
    for column, cells in zip(table.columns, zip(*table.rows, strict=True), strict=False):
        numeric = not any(isinstance(cell, str) for cell in cells)
        drawn.add_column(_words(shortened(column), "dim"), justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(
            *(_words(shortened(cell, table.longest) if isinstance(cell, str) else written(cell)) for cell in row)
        )
    return Group(_words(table.caption, "italic"), drawn)


def _words(text: str, style: str = "") -> Text:
    return Text(clean(text), style)
