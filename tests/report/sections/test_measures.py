"""What the sections of the measures say is what the measures hold: no number of their own."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gatescope.measures.gradient_norms import gradient_norms
from gatescope.report.numbers import number, number_from_log
from gatescope.report.plot import Curves
from gatescope.report.section import Section
from gatescope.report.sections import (
    contributions_section,
    fixed_points_section,
    gate_statistics_section,
    gradient_norms_section,
    lyapunov_section,
    onset_section,
    path_split_section,
    singular_values_section,
    state_geometry_section,
    truncation_section,
    weights_section,
    zero_state_section,
)
from gatescope.report.sections.contributions import PANELS
from report.analyses import analysis_of

LAG = 5


def test_truncation_says_the_steps_for_a_tenth_of_bias() -> None:
    one = _first("truncation")
    section = truncation_section({"l0": one})
    steps = one.steps_for_sum(0.1)
    assert f"Cut {steps} steps back" in section.lead
    assert number(float(one.relative_bias_of_sum[steps])) in section.lead
    assert one.relative_bias_of_sum[steps] <= 0.1 < one.relative_bias_of_sum[steps - 1]
    assert _row(section)["bias 0.1"] == steps
    assert 10 ** _curve(section) == pytest.approx(one.relative_bias_of_sum)


def test_path_split_says_the_geometric_mean_of_the_share() -> None:
    one = _first("path_split")
    section = path_split_section({"l0": one}, lag=LAG)
    assert f"has {number(math.exp(one.carousel[:, LAG].mean()))} (95 % CI" in section.lead
    assert _curve(section) == pytest.approx(one.carousel.mean(0) / math.log(10))
    assert _row(section)["cosine"] == pytest.approx(one.cosine[:, LAG].mean())


def test_contributions_say_the_part_of_one_lag_in_the_gradient() -> None:
    one = _first("contributions")
    rows = ("weight_hh", "f")
    section = contributions_section({"l0": one}, lag=LAG)
    assert number_from_log(one.batch[rows][LAG] - one.gradient[rows]) in section.lead
    assert _row(section)["norm of the gradient"] == number_from_log(one.gradient["weight_hh", "i"])


def test_gate_statistics_say_the_time_constant_of_the_middle_unit() -> None:
    one = _first("gate_statistics")
    section = gate_statistics_section({"l0": one}, needed_lag=LAG)
    assert f"{number(float(np.median(one.tau_geo)))} steps in l0" in section.lead
    assert _curve(section) == pytest.approx(np.log10(np.sort(one.tau_geo)))
    assert [rule.at for rule in _plot(section).panels[0].rules] == [pytest.approx(math.log10(LAG))]


def test_saturation_is_left_against_right_a_point_a_unit() -> None:
    one = _first("gate_statistics", "saturated")
    scatter = _plot(gate_statistics_section({"l0": one}), 1).panels[1].curves[0]
    assert list(scatter.x) == list(one.share("left f"))
    assert list(scatter.y) == list(one.share("right f"))
    assert list(scatter.x) != list(scatter.y)


def test_dead_and_frozen_units_are_named_by_number() -> None:
    section = gate_statistics_section(_measured("gate_statistics", "nothing moves"))
    by_gate, by_layer = section.tables
    assert by_gate.rows[0][by_gate.columns.index("frozen units")] == "0, 1, 2, 3, 4"
    assert by_layer.rows[0][by_layer.columns.index("dead units")] == "0, 1, 2, 3, 4"


def test_lyapunov_says_the_first_exponent_beside_the_slope_of_the_lag_curve() -> None:
    one, curve = _first("lyapunov"), _first("lag_curve")
    section = lyapunov_section({"l0": one}, curves={"l0": curve})
    assert f"λ₁ = {number(float(one.spectrum[0]))} ± " in section.lead
    assert _curve(section) == pytest.approx(one.spectrum)
    truth, line = _plot(section, 1).panels[0].curves
    assert truth.y == pytest.approx(curve.log_attenuation().mean(0) / math.log(10))
    assert np.diff(line.y) == pytest.approx(one.spectrum[0] / math.log(10))
    assert line.y[len(line.y) // 2] == pytest.approx(truth.y[len(line.y) // 2])
    assert len(lyapunov_section({"l0": one}).figures) == 1


def test_an_exponent_of_minus_infinity_is_said_and_has_no_line() -> None:
    section = lyapunov_section(
        _measured("lyapunov", "dead relu"), curves={"l0": _first("lag_curve"), "rnn.l0": _first("lag_curve")}
    )
    assert "minus infinity" in section.lead
    assert len(section.figures) == 1


def test_singular_values_say_the_most_and_the_mean() -> None:
    one = _first("singular_values")
    place = [*one.lags].index(LAG)
    lead = singular_values_section({"l0": one}, lag=LAG + 1).lead  # not measured: the last one before it is spoken of
    assert f"Over {LAG} steps" in lead
    assert number(math.exp(one.largest[:, place].mean())) in lead
    assert number(math.exp(one.rms[:, place].mean())) in lead


def test_zero_state_and_weights_say_their_numbers() -> None:
    rest, weights = _first("zero_state"), _first("weights")
    lead = zero_state_section({"l0": rest}, lag=LAG).lead
    for said in (rest.log_attenuation[LAG], rest.predicted_log_attenuation[LAG]):
        assert number(math.exp(said)) in lead
    section = weights_section({"l0": weights})
    assert number(float(weights.blocks["f"].singular_values[0])) in section.lead
    assert number(weights.blocks["f"].spectral_radius) in section.lead
    assert section.prose == ()


def test_the_bound_of_a_plain_rnn_is_called_a_bound() -> None:
    one = _first("weights", "tanh RNN")
    assert one.step_bound is not None
    assert number(one.step_bound) in weights_section({"l0": one}).prose[0]
    assert weights_section({"l0": one}).prose[0].endswith("a bound.")


def test_state_geometry_says_the_participation_ratio() -> None:
    one = _first("state_geometry")
    section = state_geometry_section({"l0": one})
    assert number(one.states["h"].participation_ratio) in section.lead
    path = _plot(section, 1).panels[0].curves[0]
    assert path.x == pytest.approx(one.states["h"].path[:, 0, 0])
    assert path.y == pytest.approx(one.states["h"].path[:, 0, 1])


def test_fixed_points_say_how_many_and_how_stable() -> None:
    one = _first("fixed_points", "GRU")
    section = fixed_points_section({"l0": one})
    assert f"{one.starts} starts led to {one.n} fixed point" in section.lead
    assert number(float(one.spectral_radius[0])) in section.lead
    assert _curve(section) == pytest.approx(np.abs(one.eigenvalues[0]))
    assert section.tables[0].rows[-1][-1] == one.starts - int(one.starts_led_here.sum())


def test_no_fixed_point_is_said_too() -> None:
    one = _first("fixed_points", "GRU")
    none = replace(
        one,
        points=one.points[:0],
        speed=one.speed[:0],
        eigenvalues=one.eigenvalues[:0],
        starts_led_here=one.starts_led_here[:0],
        unfinished_speed=np.array([1e-9, 0.1]),
    )
    section = fixed_points_section({"l0": none})
    assert section.lead == "None of 64 starts was led to a fixed point of l0; the slowest ended at q = 1.0 × 10⁻⁹."
    assert section.figures == ()


def test_onset_says_where_a_gradient_rises_and_where_nothing_does() -> None:
    one = _first("onset", "exploding")
    assert one.first is not None
    assert f"at lag {one.first.lag}" in onset_section({"l0": one}).lead
    assert onset_section({"l0": _first("onset")}).lead.startswith("Every number is finite")
    broken = onset_section({"l0": _first("onset", "not a number")})
    assert "is not finite from step 0 on" in broken.lead


def test_gradient_norms_say_the_median_and_count_what_is_not_finite() -> None:
    section = gradient_norms_section([gradient_norms([1.0, 2.0, 4.0, math.nan], of="updates")])
    assert section.lead == "The median norm of 4 gradients is 2.0, the largest 4.0; 1 of 4 are not finite."
    assert _row(section)["clip at 1 × mean"] == pytest.approx(1 / 3)


def test_of_many_layers_some_are_drawn_and_all_stand_in_the_table() -> None:
    measured = {f"l{place}": _first("weights") for place in range(PANELS + 2)}
    section = weights_section(measured)
    assert len(_plot(section).panels) == PANELS
    assert f"The first {PANELS} of {PANELS + 2} layers are drawn." in section.figures[0].caption
    assert len({row[0] for row in section.tables[0].rows}) == PANELS + 2


def _measured(measure: str, of: str = "LSTM stack") -> dict[str, Any]:
    return analysis_of(of).measured(measure)  # type: ignore[return-value]


def _first(measure: str, of: str = "LSTM stack") -> Any:
    return next(iter(_measured(measure, of).values()))


def _plot(section: Section, figure: int = 0) -> Curves:
    plot = section.figures[figure].plot
    assert isinstance(plot, Curves)
    return plot


def _curve(section: Section) -> np.ndarray:
    return _plot(section).panels[0].curves[0].y


def _row(section: Section) -> dict[str, object]:
    return dict(zip(section.tables[0].columns, section.tables[0].rows[0], strict=True))
