"""The section on the gradient over lag."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gatescope.errors import InputError
from gatescope.report.figures import draw
from gatescope.report.palette import LIGHT
from gatescope.report.plot import Curves
from gatescope.report.section import Section
from gatescope.report.sections.lag_curve import lag_curve_section
from report.examples import lag_curve_of


def test_an_exponential_decay_is_said_and_drawn_as_computed_by_hand() -> None:
    section = lag_curve_section({"after training": {"LSTM": lag_curve_of(rate=-math.log(10) / 5)}}, lag=10)
    assert "After training, 10 steps back, 0.010 of the last step's gradient is left (LSTM" in section.lead
    (curve,) = _plot(section).panels[0].curves
    assert curve.y == pytest.approx(-np.arange(21) / 5)
    assert _row(section)["lag 10"] == "0.010"


def test_the_band_is_students_interval_over_sequences() -> None:
    curve = lag_curve_of(sequences=2)
    section = lag_curve_section({"now": {"LSTM": curve}}, lag=10)
    (drawn,) = _plot(section).panels[0].curves
    spread = np.std([-0.38, -0.42], ddof=1) * 10 / math.sqrt(2) * 12.706 / math.log(10)  # t for one degree of freedom
    assert drawn.low is not None
    assert drawn.high is not None
    assert drawn.high[10] - drawn.y[10] == pytest.approx(spread, rel=1e-4)
    assert drawn.y[10] - drawn.low[10] == pytest.approx(spread, rel=1e-4)


def test_one_sequence_has_a_curve_and_no_band() -> None:
    section = lag_curve_section({"now": {"LSTM": lag_curve_of(sequences=1)}}, lag=10)
    (drawn,) = _plot(section).panels[0].curves
    assert np.array_equal(drawn.y, drawn.low)  # type: ignore[arg-type]
    assert draw(_plot(section), LIGHT).data


def test_a_lead_says_no_interval_where_there_is_none() -> None:
    lead = lag_curve_section({"now": {"LSTM": lag_curve_of(sequences=1)}}, lag=10).lead
    assert lead.endswith("left (LSTM; 1 sequence).")


def test_a_lag_that_the_curve_does_not_have_is_refused() -> None:
    for lag in (-1, 21):
        with pytest.raises(InputError, match=f"lag {lag}, and its curve has the lags 0 to 20; choose"):
            lag_curve_section({"now": {"LSTM": lag_curve_of()}}, lag=lag)


def test_a_gradient_too_small_for_a_float_is_written_out() -> None:
    section = lag_curve_section({"now": {"RNN": lag_curve_of(rate=-100)}}, lag=19)
    assert "× 10⁻⁸²⁶" in section.lead


def test_an_exact_zero_is_said_as_one() -> None:
    curve = lag_curve_of()
    log_norm = curve.log_norm["pair"].copy()
    log_norm[:, 12:] = -np.inf
    section = lag_curve_section({"now": {"RNN": replace(curve, log_norm={"pair": log_norm})}}, lag=15)
    assert "15 steps back, 0 of the last step's gradient" in section.lead
    assert "exactly zero" in section.figures[0].caption
    assert "exactly zero" not in lag_curve_section({"now": {"RNN": curve}}, lag=15).figures[0].caption


def test_the_lead_leaves_out_a_network_whose_sequences_are_too_short() -> None:
    section = lag_curve_section({"now": {"LSTM": lag_curve_of(), "GRU": lag_curve_of(lags=5)}}, lag=10)
    assert "GRU" not in section.lead + section.figures[0].alt


def test_what_the_task_needs_and_what_number_formats_resolve_is_drawn() -> None:
    panel = _plot(lag_curve_section({"now": {"LSTM": lag_curve_of()}}, lag=19, needed_lag=7)).panels[0]
    assert [(rule.axis, rule.at) for rule in panel.rules] == [
        ("x", 7),
        ("y", pytest.approx(math.log10(2**-8))),
        ("y", pytest.approx(math.log10(2**-11))),
        ("y", pytest.approx(math.log10(2**-24))),
    ]
    assert "upright" not in lag_curve_section({"now": {"LSTM": lag_curve_of()}}, lag=19).figures[0].caption


def test_a_network_keeps_its_colour_in_every_panel_and_when_told() -> None:
    both = {"LSTM": lag_curve_of(), "GRU": lag_curve_of(rate=-0.5)}
    section = lag_curve_section({"before": both, "after": {"GRU": both["GRU"]}}, lag=5, colours={"LSTM": 3, "GRU": 1})
    colours = [{curve.label: curve.colour for curve in panel.curves} for panel in _plot(section).panels]
    assert colours == [{"LSTM": 3, "GRU": 1}, {"GRU": 1}]


def test_sequences_of_different_length_count_where_they_have_the_lag() -> None:
    curve = lag_curve_of(sequences=4)
    log_norm = curve.log_norm["pair"].copy()
    log_norm[0, 6:] = np.nan
    short = replace(curve, lengths=np.array([5, 20, 20, 20]), log_norm={"pair": log_norm})
    section = lag_curve_section({"now": {"LSTM": short}}, lag=10)
    assert _row(section)["sequences"] == 3
    assert np.isfinite(_plot(section).panels[0].curves[0].y).all()


def test_a_lag_that_one_network_does_not_have_is_a_dash_in_the_table() -> None:
    section = lag_curve_section({"now": {"LSTM": lag_curve_of(), "GRU": lag_curve_of(lags=5)}}, lag=5)
    assert section.lead.count("(GRU)") == 1
    assert section.tables[0].rows[1][section.tables[0].columns.index("lag 10")] is None


def _plot(section: Section) -> Curves:
    plot = section.figures[0].plot
    assert isinstance(plot, Curves)
    return plot


def _row(section: Section) -> dict[str, object]:
    return dict(zip(section.tables[0].columns, section.tables[0].rows[0], strict=True))
