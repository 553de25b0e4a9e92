"""The section on the gradient over window length."""

import numpy as np
import pytest

from gatescope.report.plot import Curves
from gatescope.report.sections.fresh_window import fresh_window_section
from report.examples import fresh_window_of


def test_the_lead_sets_the_flat_parameter_gradient_beside_the_falling_one() -> None:
    lead = fresh_window_section({"before training": {"LSTM": fresh_window_of(rate=-1.0)}}).lead
    assert lead == (
        "Before training, LSTM: a window of 20 steps gives a parameter gradient of norm 0.12, a window of 5 one of "
        "0.12. The gradient that reaches the window's start is 2.1 × 10⁻⁹ against 0.0067."  # e⁻²⁰ and e⁻⁵
    )


def test_three_panels_for_each_moment() -> None:
    one = {"LSTM": fresh_window_of()}
    plot = fresh_window_section({"before": one, "after": one}).figures[0].plot
    assert isinstance(plot, Curves)
    assert [panel.title for panel in plot.panels] == [
        f"{moment}: {what}" for moment in ("Before", "After") for what in ("loss", "weights", "start")
    ]
    assert plot.panels[0].curves[0].y == pytest.approx(np.log10(0.5 + 0.1 / np.array([1, 2, 5, 10, 20])))
    assert [len(panel.marks) for panel in plot.panels] == [0, 1, 1, 0, 0, 0]  # the lead speaks of the first moment


def test_the_table_has_a_row_for_each_network_and_window() -> None:
    (table,) = fresh_window_section({"now": {"LSTM": fresh_window_of(), "GRU": fresh_window_of()}}).tables
    assert len(table.rows) == 10
    assert table.rows[0][:3] == ("LSTM", "now", 1)


def test_a_gradient_of_exactly_zero_is_drawn_without_complaint() -> None:
    nothing = fresh_window_of()
    nothing.parameters["all recurrent layers"][:] = 0
    section = fresh_window_section({"now": {"LSTM": nothing}})
    assert "norm 0, " in section.lead
