"""The demo's page, of a demo small enough to run here."""

import re

import pytest

from gatescope.report.html import render_html
from gatescope.report.numbers import number, number_from_log
from gatescope.report.section import Report
from gatescope.research.demo import Demo, Settings, run_demo
from gatescope.research.demo_report import demo_report
from gatescope.research.findings import findings

SMALL = Settings(sequences=300, hidden_size=6, epochs=5, lr=0.05, ahead=10, shown=2)


@pytest.fixture(scope="module")
def demo() -> Demo:
    return run_demo(settings=SMALL)


@pytest.fixture(scope="module")
def report(demo: Demo) -> Report:
    return demo_report(demo)


def test_the_page_shows_everything_that_the_demo_measures(report: Report) -> None:
    assert [section.key for section in report.sections] == [
        "found",
        "prediction",
        "lag-curve",
        "initialisation",
        "fresh-window",
        "gates",
    ]
    drawn = {
        one.name
        for section in report.sections
        for figure in section.figures
        for one in getattr(figure.plot, "maps", ())
    }
    assert drawn == set("figochrzn")


def test_every_finding_is_said(report: Report, demo: Demo) -> None:
    found = report.sections[0]
    assert (found.lead, *found.prose) == findings(demo)
    assert len(found.verdicts) == sum(len(network.after.verdicts) for network in demo.networks)


def test_the_summary_answers_with_the_measured_numbers(report: Report, demo: Demo) -> None:
    for network in demo.networks:
        top = list(network.after.attenuations.values())[-1]
        assert f"{number_from_log(top.value.mean)} ({network.name})" in report.summary


def test_the_leads_say_the_measured_numbers(report: Report, demo: Demo) -> None:
    sections = {section.key: section for section in report.sections}
    lstm = next(network for network in demo.networks if network.name == "LSTM")
    assert f"{number(lstm.error)} (LSTM)" in sections["prediction"].lead
    top = list(lstm.after.attenuations.values())[-1]
    assert f"19 steps back, {number_from_log(top.value.mean)} of the last step's gradient" in sections["lag-curve"].lead
    trace = next(iter(lstm.after.traces.values()))
    assert f"stands at {number(float(trace.gates['f'][:, 0].mean()))} on average" in sections["gates"].lead


def test_a_network_has_one_colour_on_the_whole_page(report: Report) -> None:
    colours: dict[str, set[int]] = {}
    for section in report.sections:
        for figure in section.figures:
            for panel in getattr(figure.plot, "panels", ()):
                for curve in panel.curves:
                    if curve.style == "line":
                        colours.setdefault(curve.label, set()).add(curve.colour)
    assert len(colours) == 5
    assert all(len(numbers) == 1 for numbers in colours.values())
    assert len(set.union(*colours.values())) == 5


def test_the_provenance_names_what_one_needs_and_no_machine(report: Report) -> None:
    entries = {str(row[0]): str(row[1]) for row in report.provenance.tables[0].rows}
    assert {"data", "training", "loss", "seed", "replay residual", "versions"} <= set(entries)
    assert re.search(r"gatescope \S+, torch \S+", entries["versions"])
    assert "/" not in "".join(entries.values())


def test_the_same_numbers_give_the_same_bytes(report: Report, demo: Demo) -> None:
    assert render_html(demo_report(demo)) == render_html(report)
