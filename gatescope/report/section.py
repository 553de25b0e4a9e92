"""What a report says, as plain frozen values: a renderer decides how it looks, a section never computes."""

from dataclasses import dataclass

from ..verdicts import Verdict
from .plot import Plot

Cell = str | int | float | None


@dataclass(frozen=True)
class Figure:
    """One picture: what it shows, in words for whoever cannot see it (`alt`) and for whoever can (`caption`)."""

    key: str
    plot: Plot
    alt: str
    caption: str


@dataclass(frozen=True)
class Table:
    """The numbers behind a picture, one cell for each column; a row's first cell names it; None is "not measured"."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    longest: int = 80
    """So many letters of a cell are shown: a name needs no more, a sentence does."""


@dataclass(frozen=True)
class Method:
    """How a section's numbers were computed: sentences, the formula as text, and where it comes from."""

    sentences: tuple[str, ...]
    formula: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notes:
    """Short sentences that belong together under a title, folded away where there are many."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One question and its answer: the lead sentence says the number that the figure draws.

    `key` is the anchor of the section in the page: lower-case words joined by hyphens, unique in its report.
    """

    key: str
    title: str
    lead: str
    prose: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[Notes, ...] = ()
    method: Method | None = None


@dataclass(frozen=True)
class Report:
    """A whole page: the answer (`summary`) first, then one section after the other, then where it all came from."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    provenance: Section
