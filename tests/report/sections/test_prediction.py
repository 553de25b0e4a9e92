"""The section on prediction against truth."""

import numpy as np
import pytest

from gatescope.report.plot import Curves
from gatescope.report.section import Section
from gatescope.report.sections.prediction import prediction_section
from report.examples import forecast_of


@pytest.fixture
def section() -> Section:
    return prediction_section(
        {"LSTM": forecast_of(1.2e-5), "GRU": forecast_of(3e-4)},
        inputs=np.arange(24.0).reshape(3, 8),
        truth=100 + np.arange(36.0).reshape(3, 12),
        held_out=40,
        references={"repeating the last value": 0.01},
    )


def test_the_lead_says_every_error(section: Section) -> None:
    assert section.lead == (
        "After 30 epochs the mean squared error of the next value, over 40 held-out sequences, is 1.2 × 10⁻⁵ (LSTM) "
        "and 3.0 × 10⁻⁴ (GRU)."
    )


def test_training_is_drawn_with_the_held_out_error_at_its_end(section: Section) -> None:
    plot = section.figures[0].plot
    assert isinstance(plot, Curves)
    (panel,) = plot.panels
    assert [(mark.x, mark.y) for mark in panel.marks] == [
        (30, pytest.approx(np.log10(1.2e-5))),
        (30, pytest.approx(np.log10(3e-4))),
    ]
    assert [(rule.label, rule.at) for rule in panel.rules] == [("repeating the last value", -2)]


def test_each_shown_sequence_has_a_panel_with_what_came_before_and_after(section: Section) -> None:
    plot = section.figures[1].plot
    assert isinstance(plot, Curves)
    assert len(plot.panels) == 3
    truth, lstm, gru = plot.panels[1].curves
    assert truth.style == "truth"
    assert list(truth.x) == list(range(-8, 12))
    assert list(truth.y[:8]) == list(range(8, 16))
    assert list(truth.y[8:]) == list(range(112, 124))
    assert (lstm.label, gru.label) == ("LSTM", "GRU")
    assert lstm.x[0] == 0
    assert lstm.y == pytest.approx(np.sin(np.arange(12)))


def test_a_reference_has_no_training_error(section: Section) -> None:
    assert section.tables[0].rows[-1] == ("repeating the last value", 0.01, None)
