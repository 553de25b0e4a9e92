"""What every section keeps to, whatever it measures: the lead says what the figure draws, everything has its words."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from gatescope.report.html import render_html
from gatescope.report.numbers import number, number_from_log
from gatescope.report.plot import Curves, Maps
from gatescope.report.section import Report, Section
from gatescope.report.sections import SECTIONS
from gatescope.report.sections.provenance import provenance_section
from gatescope.report.text import render_text
from report.examples import SECTION_EXAMPLES, WORST

MakesSection = Callable[..., Section]


@pytest.fixture(params=SECTIONS, ids=lambda section: section.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[str], Section]:
    return SECTION_EXAMPLES[request.param]


@pytest.fixture
def section(make: Callable[[str], Section]) -> Section:
    return make("LSTM")


def test_every_section_has_an_example() -> None:
    assert set(SECTIONS) == set(SECTION_EXAMPLES)


def test_the_lead_is_a_sentence_with_a_number(section: Section) -> None:
    assert re.search(r"\d", section.lead)
    assert section.lead.endswith(".")
    assert section.lead[0].isupper()


def test_the_lead_says_the_number_that_the_first_figure_draws(section: Section) -> None:
    if not section.figures:
        return
    plot = section.figures[0].plot
    if isinstance(plot, Maps):
        assert any(number(one.mean) in section.lead for one in plot.maps)
        return
    marks = [mark for panel in plot.panels for mark in panel.marks if mark.text]
    assert marks
    for mark in marks:
        assert mark.text in section.lead
        assert mark.text == (number(mark.y) if plot.y_scale == "linear" else number_from_log(mark.y * math.log(10)))


def test_a_mark_lies_on_its_curve(section: Section) -> None:
    for figure in section.figures:
        for panel in figure.plot.panels if isinstance(figure.plot, Curves) else ():
            if section.key == "prediction":
                continue  # there the dot is the held-out error and the line that of training
            for mark in panel.marks:
                (curve,) = [one for one in panel.curves if one.colour == mark.colour and one.style == "line"]
                assert mark.y == pytest.approx(float(np.interp(mark.x, curve.x, curve.y)))


def test_every_figure_has_words_and_every_axis_its_unit(section: Section) -> None:
    for figure in section.figures:
        assert len(figure.alt) > 20
        assert len(figure.caption) > 20
        if isinstance(figure.plot, Curves):
            assert all(panel.x_label and panel.y_label for panel in figure.plot.panels)
        else:
            assert figure.plot.x_label
            assert figure.plot.y_label


def test_what_was_measured_says_how_and_from_where(section: Section) -> None:
    if section.figures:
        assert section.tables
        assert section.method is not None
        assert section.method.sentences
        assert section.method.formula


def test_keys_can_be_anchors_and_rows_are_as_wide_as_their_table(section: Section) -> None:
    for key in (section.key, *(figure.key for figure in section.figures)):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)


@pytest.mark.parametrize("hostile", WORST, ids=range(len(WORST)))
def test_a_section_with_a_hostile_name_can_be_shown(make: Callable[[str], Section], hostile: str) -> None:
    section = make(hostile)
    assert len(section.lead) < 1000
    report = Report("report", "summary", (section,), provenance_section({}, lead="Nothing."))
    assert render_text(report)
    assert "<script>window" not in render_html(report)
