"""Rates, half-lives and horizons: against decays whose every number is known."""

import math

import numpy as np
import pytest

from gatescope.verdicts import attenuation, horizons
from lag_curves import curve, straight, walking


def test_the_rate_is_that_of_least_squares_and_the_tail_has_its_own() -> None:
    rng = np.random.default_rng(0)
    y = walking(rng, -0.03, 8)
    found = attenuation(curve(y), 100)
    slopes = [np.polyfit(np.arange(20, 101), row[20:], 1)[0] for row in y]
    tails = [np.polyfit(np.arange(50, 101), row[50:], 1)[0] for row in y]
    assert found.slope is not None
    assert found.tail_slope is not None
    assert found.slope.mean == pytest.approx(np.mean(slopes), rel=1e-10)
    assert found.tail_slope.mean == pytest.approx(np.mean(tails), rel=1e-10)


def test_the_first_lags_do_not_count_for_the_rate() -> None:
    y = straight(-0.1)
    y[:, 1:20] -= 5
    found = attenuation(curve(y), 100)
    assert found.slope is not None
    assert found.slope.mean == pytest.approx(-0.1)


def test_a_straight_decay_halves_in_its_half_life() -> None:
    half_life = attenuation(curve(straight(-0.1, spread=1.0)), 100).half_life
    assert half_life is not None
    assert half_life.mean == pytest.approx(math.log(2) / 0.1)
    assert half_life.low < half_life.mean < half_life.high


@pytest.mark.parametrize("rate", [0.1, 0.0])
def test_a_gradient_that_does_not_fall_has_no_half_life(rate: float) -> None:
    assert attenuation(curve(straight(rate)), 100).half_life is None


def test_a_fall_that_may_be_none_has_no_half_life() -> None:
    assert attenuation(curve(straight(-0.001, spread=2.0)), 100).half_life is None


@pytest.mark.parametrize(
    ("bias", "half", "hundredth"), [(0, 1.0, 6.6), (1, 2.21, 14.7), (2, 5.46, 36.3), (3, 14.3, 94.8), (5, 103.2, 685.8)]
)
def test_the_horizons_of_a_forget_gate_are_those_of_its_bias(bias: int, half: float, hundredth: float) -> None:
    rate = -math.log1p(math.exp(-bias))
    found = {horizon.fraction: horizon for horizon in horizons(curve(straight(rate, lags=800, sequences=8)))}
    assert found[0.5].lag == math.ceil(half)
    assert found[0.01].lag == math.ceil(hundredth)
    assert (found[0.5].low, found[0.5].high) == (found[0.5].lag, found[0.5].lag)


def test_horizons_are_given_for_a_half_a_tenth_a_hundredth_and_float32() -> None:
    found = horizons(curve(straight(-0.1, lags=400)))
    assert [horizon.lag for horizon in found] == [7, 24, 47, 167]
    assert [horizon.fraction for horizon in found] == [0.5, 0.1, 0.01, 2.0**-24]


def test_a_horizon_that_is_not_reached_is_said_to_lie_beyond_and_is_foretold_where_the_rate_is_steady() -> None:
    half, tenth, hundredth, resolution = horizons(curve(straight(-0.03)))
    assert [str(horizon) for horizon in (half, tenth, hundredth, resolution)] == ["24", "77", ">99", ">99"]
    assert half.extrapolated is None
    assert hundredth.lag is None
    assert hundredth.extrapolated == pytest.approx(math.log(100) / 0.03)


def test_where_the_rate_changes_nothing_is_foretold() -> None:
    lags = np.arange(101)
    slowing = np.tile(-np.sqrt(lags) / 5, (32, 1)) + straight(0.0, spread=0.01)
    hundredth = horizons(curve(slowing))[2]
    assert hundredth.lag is None
    assert hundredth.extrapolated is None


def test_a_gradient_that_grows_reaches_no_horizon_and_none_is_foretold() -> None:
    for horizon in horizons(curve(straight(0.01))):
        assert (horizon.lag, horizon.extrapolated, str(horizon)) == (None, None, ">99")


def test_the_interval_of_a_horizon_may_end_beyond_the_data() -> None:
    rng = np.random.default_rng(0)
    hundredth = horizons(curve(walking(rng, -0.047, 8)))[2]
    assert hundredth.lag is not None
    assert hundredth.low is not None
    assert hundredth.low <= hundredth.lag
    assert hundredth.high is None
    assert str(hundredth) == f"{hundredth.lag} [{hundredth.low}, >99]"


def test_horizons_stop_before_a_cut() -> None:
    y = straight(-0.1)
    y[2, 30:] = -np.inf
    half, tenth, hundredth, _ = horizons(curve(y))
    assert (half.lag, tenth.lag, hundredth.lag, hundredth.longest) == (7, 24, None, 29)


@pytest.mark.parametrize("sequences", [3, 7])
def test_too_little_data_has_no_horizons(sequences: int) -> None:
    assert horizons(curve(straight(-0.1, sequences=sequences))) == ()


def test_horizons_use_every_sequence_as_far_as_it_goes() -> None:
    lengths = [100] * 10 + [30] * 22
    y = np.concatenate([straight(-0.2, sequences=10), straight(-0.02, sequences=22)])
    half, tenth, *_ = horizons(curve(y, lengths))
    # Together 0.2 * 10/32 + 0.02 * 22/32 = 0.0763 a step, 2.29 at lag 30; then ten are left, at 6.2.
    assert half.lag == math.ceil(math.log(2) / 0.07625)
    assert tenth.lag == 31
    assert half.longest == 99


def test_an_interval_of_n_is_over_n() -> None:
    value = attenuation(curve(straight(-0.1, sequences=12)), 50).value
    assert (value.n, value.mean) == (12, pytest.approx(-5))
