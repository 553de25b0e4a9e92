"""The report in a terminal: the same sentences and numbers, and nothing that a terminal or rich would obey."""

import pytest

from gatescope.cleaning import clean
from gatescope.report.section import Report
from gatescope.report.text import render_text
from report.examples import report_of


def test_every_sentence_and_number_of_the_report_is_there(report: Report) -> None:
    text = " ".join(render_text(report, width=200).split())
    for section in (*report.sections, report.provenance):
        for said in (section.title, section.lead, *section.prose, *(figure.alt for figure in section.figures)):
            assert said in text
        for verdict in section.verdicts:
            assert verdict.claim in text
            assert verdict.because in text
    assert "0.00120" in text
    assert "Vanishing encoder.l0 encoder.l0 claims" in text


def test_a_hostile_name_is_shown_and_never_obeyed(hostile: str) -> None:
    text = render_text(report_of(hostile), width=200)
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    if len(clean(hostile)) < 80:
        assert " ".join(f"{clean(hostile)} lead".split()) in " ".join(text.split())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(report: Report, width: int) -> None:
    assert max(len(line) for line in render_text(report, width=width).splitlines()) <= width


def test_the_same_report_gives_the_same_text(report: Report) -> None:
    assert render_text(report) == render_text(report)
