"""The verdicts: how often they are right in simulation, when they abstain, and what they say."""

import math
from types import MappingProxyType

import numpy as np
import pytest

from gatescope.errors import InputError
from gatescope.measures.lag_curve import LagCurve
from gatescope.verdicts import (
    RESOLUTION,
    Level,
    Thresholds,
    Verdict,
    attenuation,
    horizons,
    judge,
    judge_attenuation,
    judge_exploding,
)

LAST = 1.7
"""The log norm at lag 0, which no verdict may depend on."""


def curve(y: np.ndarray, lengths: list[int] | None = None, **other: np.ndarray) -> LagCurve:
    """A lag curve with the log attenuations `y`, [sequence, lag]."""
    lags = np.full(len(y), y.shape[1] - 1) if lengths is None else np.array(lengths)
    existing = np.arange(y.shape[1]) <= lags[:, None]
    named = {"pair": y, **other}
    return LagCurve(
        layer="encoder.l0",
        cell="lstm",
        direction="forward",
        loss="cross entropy at the last step",
        lengths=lags,
        log_norm=MappingProxyType({name: np.where(existing, LAST + values, np.nan) for name, values in named.items()}),
    )


def straight(rate: float, lags: int = 100, sequences: int = 32, spread: float = 0.0) -> np.ndarray:
    """Lines through 0 whose values at the last lag have the standard deviation `spread` over sequences."""
    at_end = np.linspace(-1, 1, sequences)
    at_end *= spread / (at_end.std(ddof=1) or 1)
    return (rate + at_end[:, None] / lags) * np.arange(lags + 1)


def walking(rng: np.random.Generator, rate: float, sequences: int, lags: int = 100) -> np.ndarray:
    """What real curves look like: a rate, a random walk of 0.15 a step, and 0.3 of noise that does not add up."""
    walk = rng.normal(0, 0.15, (sequences, lags)).cumsum(1)
    y = rate * np.arange(lags + 1) + np.pad(walk, ((0, 0), (1, 0))) + rng.normal(0, 0.3, (sequences, lags + 1))
    return np.where(np.arange(lags + 1) == 0, 0, y)


def shares(rate: float, *, sequences: int, repetitions: int) -> dict[Level, float]:
    rng = np.random.default_rng(0)
    levels = [judge_attenuation(curve(walking(rng, rate, sequences)), 100).level for _ in range(repetitions)]
    return {level: levels.count(level) / repetitions for level in Level}


# How often they are right


def coverage(sequences: int, repetitions: int) -> float:
    rng = np.random.default_rng(sequences)
    slopes = [attenuation(curve(walking(rng, -0.03, sequences)), 100).slope for _ in range(repetitions)]
    return float(np.mean([slope is not None and slope.low <= -0.03 <= slope.high for slope in slopes]))


def test_the_interval_of_a_rate_holds_the_truth() -> None:
    assert coverage(16, 400) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 400))


@pytest.mark.slow
@pytest.mark.parametrize(("sequences", "seen"), [(8, 0.945), (16, 0.938), (32, 0.939), (64, 0.948)])
def test_the_interval_of_a_rate_holds_the_truth_in_nineteen_cases_of_twenty(sequences: int, seen: float) -> None:
    found = coverage(sequences, 2000)
    assert found == pytest.approx(0.95, abs=0.015)
    assert found == pytest.approx(seen, abs=3 * math.sqrt(2 * 0.95 * 0.05 / 2000))  # two simulations of 2000 each


@pytest.mark.parametrize(
    ("at_end", "level", "seen"), [(-6, Level.VANISHING, 0.92), (-3, Level.STABLE, 0.97), (6, Level.EXPLODING, 0.90)]
)
def test_sixteen_sequences_find_what_is_there(at_end: float, level: Level, seen: float) -> None:
    assert shares(at_end / 100, sequences=16, repetitions=300)[level] == pytest.approx(seen, abs=0.06)


@pytest.mark.parametrize("threshold", [1e-2, 1e2])
def test_at_a_threshold_the_verdict_is_almost_always_borderline(threshold: float) -> None:
    found = shares(math.log(threshold) / 100, sequences=16, repetitions=300)
    assert found[Level.BORDERLINE] > 0.9
    assert found[Level.VANISHING] + found[Level.EXPLODING] <= 0.026 + 3 * math.sqrt(0.026 * 0.974 / 300)


def test_sixty_four_sequences_are_sure() -> None:
    assert shares(-6 / 100, sequences=64, repetitions=100)[Level.VANISHING] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at_end", "wrong"),
    [
        (-6, {Level.STABLE, Level.EXPLODING, Level.DEAD}),
        (-4.6, {Level.EXPLODING, Level.DEAD}),
        (-3, {Level.VANISHING, Level.EXPLODING, Level.DEAD}),
        (0, set(Level) - {Level.STABLE}),
        (3, {Level.VANISHING, Level.EXPLODING, Level.DEAD}),
        (6, {Level.VANISHING, Level.STABLE, Level.DEAD}),
        (-25, set(Level) - {Level.DEAD}),
    ],
)
def test_away_from_the_thresholds_no_verdict_is_wrong(at_end: float, wrong: set[Level]) -> None:
    found = shares(at_end / 100, sequences=16, repetitions=2000)
    assert sum(found[level] for level in wrong) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sequences", [16, 32])
def test_the_interval_of_a_horizon_holds_the_truth(sequences: int) -> None:
    """The truth is where the mean of all curves comes down to a hundredth: after 4.6 / 0.06 = 77 steps."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        hundredth = horizons(curve(walking(rng, -0.06, sequences, lags=150)))[2]
        held.append(hundredth.low is not None and hundredth.low <= 77 <= (hundredth.high or math.inf))
    assert float(np.mean(held)) > 0.9


# What they decide


@pytest.mark.parametrize(
    ("at_end", "level"),
    [
        (-20.0, Level.DEAD),
        (-16.0, Level.VANISHING),
        (-4.7, Level.VANISHING),
        (-4.5, Level.STABLE),
        (0.0, Level.STABLE),
        (4.5, Level.STABLE),
        (4.7, Level.EXPLODING),
    ],
)
def test_the_level_is_where_the_whole_interval_lies(at_end: float, level: Level) -> None:
    assert judge_attenuation(curve(straight(at_end / 100, spread=0.05)), 100).level == level


def test_what_may_be_dead_is_surely_vanishing() -> None:
    assert judge_attenuation(curve(straight(-0.168, spread=3.0)), 100).level is Level.VANISHING


@pytest.mark.parametrize(
    ("at_end", "spread", "words"),
    [
        (-4.7, 2.0, "vanishing or stable"),
        (4.5, 2.0, "stable or exploding"),
        (0.0, 40.0, "vanishing, stable or exploding"),
    ],
)
def test_an_interval_across_a_threshold_is_borderline_and_says_between_what(
    at_end: float, spread: float, words: str
) -> None:
    verdict = judge_attenuation(curve(straight(at_end / 100, spread=spread)), 100)
    assert verdict.level is Level.BORDERLINE
    assert words in verdict.because


def test_the_lag_decides() -> None:
    """The same curve is stable at one lag and vanishing at another: no network is bad by itself."""
    measured = curve(straight(-0.1))
    assert judge_attenuation(measured, 20).level is Level.STABLE
    assert judge_attenuation(measured, 90).level is Level.VANISHING


def test_the_strength_of_the_loss_does_not_matter() -> None:
    y = straight(-0.1)
    stronger = curve(y)
    object.__setattr__(stronger, "log_norm", {"pair": stronger.log_norm["pair"] + 300})
    assert judge_attenuation(stronger, 90) == judge_attenuation(curve(y), 90)


def test_what_is_dead_depends_on_the_dtype() -> None:
    measured = curve(straight(-0.07))  # -7 at lag 100
    for dtype, level in {
        "bfloat16": Level.DEAD,
        "float16": Level.VANISHING,
        "float32": Level.VANISHING,
        "float64": Level.VANISHING,
    }.items():
        thresholds = Thresholds(dead=RESOLUTION[dtype])
        assert judge_attenuation(measured, 100, thresholds=thresholds).level == level


def test_the_resolutions_are_those_of_the_formats() -> None:
    logs = {name: round(math.log(resolution), 1) for name, resolution in RESOLUTION.items()}
    assert logs == {"float64": -36.7, "float32": -16.6, "float16": -7.6, "bfloat16": -5.5}


def test_the_thresholds_can_be_moved() -> None:
    measured = curve(straight(-0.06))
    assert judge_attenuation(measured, 100).level is Level.VANISHING
    assert judge_attenuation(measured, 100, thresholds=Thresholds(vanishing=1e-3)).level is Level.STABLE
    growing = curve(straight(0.06))
    assert judge_attenuation(growing, 100).level is Level.EXPLODING
    assert judge_attenuation(growing, 100, thresholds=Thresholds(exploding=1e4)).level is Level.STABLE
    assert judge_exploding(growing, thresholds=Thresholds(exploding=1e4)).level is Level.NOT_EXPLODING


@pytest.mark.parametrize("order", [{"vanishing": 2.0}, {"exploding": 0.5}, {"dead": 0.1}, {"dead": 0.0}])
def test_thresholds_out_of_order_are_refused(order: dict[str, float]) -> None:
    with pytest.raises(InputError, match="out of order"):
        Thresholds(**order)


@pytest.mark.parametrize("lag", [0, -3])
def test_a_lag_is_at_least_one_step_back(lag: int) -> None:
    with pytest.raises(InputError, match="choose 1 or more"):
        judge_attenuation(curve(straight(-0.1)), lag)


def test_another_quantity_can_be_judged() -> None:
    measured = curve(straight(-0.1), c=straight(-0.01))
    assert judge_attenuation(measured, 90).level is Level.VANISHING
    of_c = judge_attenuation(measured, 90, quantity="c")
    assert of_c.level is Level.STABLE
    assert "gradient of c" in of_c.because


@pytest.mark.parametrize(
    ("rate", "level"), [(0.06, Level.EXPLODING), (0.02, Level.NOT_EXPLODING), (-3.0, Level.NOT_EXPLODING)]
)
def test_exploding_is_judged_without_any_lag(rate: float, level: Level) -> None:
    assert [verdict.level for verdict in judge(curve(straight(rate)))] == [level]


def test_a_doubtful_explosion_is_borderline() -> None:
    verdict = judge_exploding(curve(straight(0.046, spread=3.0)))
    assert verdict.level is Level.BORDERLINE
    assert "stable or exploding" in verdict.because


def test_without_a_lag_nothing_is_said_of_vanishing() -> None:
    verdicts = judge(curve(straight(-1.0)))
    assert [verdict.level for verdict in verdicts] == [Level.NOT_EXPLODING]
    assert horizons(curve(straight(-1.0)))


def test_with_a_lag_both_are_said() -> None:
    verdicts = judge(curve(straight(-0.1)), 90)
    assert [verdict.level for verdict in verdicts] == [Level.VANISHING, Level.NOT_EXPLODING]


def test_at_the_longest_lag_one_verdict_says_both() -> None:
    assert [verdict.level for verdict in judge(curve(straight(-0.1)), 99)] == [Level.VANISHING]
    assert [verdict.level for verdict in judge(curve(straight(0.1)), 99)] == [Level.EXPLODING]


def test_of_sequences_of_different_length_those_count_that_reach_the_lag() -> None:
    lengths = [100] * 10 + [30] * 22
    y = np.concatenate([straight(-0.2, sequences=10), straight(-0.001, sequences=22)])
    at_50 = attenuation(curve(y, lengths), 50)
    assert (at_50.value.n, at_50.value.mean) == (10, pytest.approx(-10))
    at_20 = attenuation(curve(y, lengths), 20)
    assert at_20.value.n == 32
    # The initial state, lag 30 of the shorter ones, is a lag that they have.
    assert attenuation(curve(y, lengths), 30).value.n == 32


# When they abstain


def test_what_is_not_finite_comes_first() -> None:
    y = np.full((3, 6), -np.inf)  # too few of everything, and no signal
    y[1, 4] = np.nan
    verdict = judge_attenuation(curve(y), 5)
    assert verdict.level is Level.NON_FINITE
    assert "in 1 of 3 sequences, first at lag 4" in verdict.because


def test_an_infinite_gradient_is_not_finite() -> None:
    y = straight(0.0)
    y[7, 90:] = np.inf
    assert judge_exploding(curve(y)).level is Level.NON_FINITE


def test_a_lag_that_a_sequence_does_not_have_is_not_an_infinity() -> None:
    assert judge_attenuation(curve(straight(-0.1), [100] * 31 + [40]), 90).level is Level.VANISHING


def test_a_loss_that_sends_nothing_is_no_signal_before_it_is_cut_or_too_little() -> None:
    y = np.full((3, 6), -np.inf)
    verdict = judge_attenuation(curve(y), 5)
    assert verdict.level is Level.NO_SIGNAL
    assert "exactly zero at lag 0 in all 3 sequences" in verdict.because


def test_sequences_without_signal_are_left_out_and_counted() -> None:
    y = straight(-0.1)
    y[:5] = -np.inf
    verdict = judge_attenuation(curve(y), 90)
    assert verdict.level is Level.VANISHING
    assert "over 27 sequences" in verdict.because
    assert "5 of 32 sequences without a gradient left out" in verdict.because


def test_exact_zeros_are_a_cut_and_not_vanishing_before_they_are_too_little() -> None:
    y = straight(-0.1, sequences=3)
    y[:, 37:] = -np.inf
    y[1, 36] = -np.inf
    verdict = judge_attenuation(curve(y), 90)
    assert verdict.level is Level.CUT
    assert verdict.claim == (
        "From 36 steps back on no gradient arrives at all: it is cut there, which is not vanishing."
    )
    assert "exactly zero in 3 of 3 sequences" in verdict.because


def test_one_cut_sequence_is_enough_to_abstain_because_its_logarithm_has_no_mean() -> None:
    y = straight(-0.1)
    y[3, 50:] = -np.inf
    verdict = judge_attenuation(curve(y), 90)
    assert verdict.level is Level.CUT
    assert "in 1 of 32 sequences" in verdict.because


def test_a_cut_beyond_the_lag_does_not_matter_at_the_lag_and_is_mentioned() -> None:
    y = straight(-0.1)
    y[:4, 50:] = -np.inf
    verdict = judge_attenuation(curve(y), 49)
    assert verdict.level is Level.VANISHING
    assert "4 of 32 sequences are cut later, from 50 steps back on" in verdict.because
    exploding = judge_exploding(curve(y))
    assert exploding.level is Level.NOT_EXPLODING
    assert "49 steps back" in exploding.claim


def test_a_cut_before_the_tenth_lag_leaves_nothing_to_judge() -> None:
    y = straight(-0.1)
    y[:, 9:] = -np.inf
    assert judge(curve(y))[0].level is Level.CUT
    assert judge(curve(y), 50) == (judge_attenuation(curve(y), 50),)
    assert horizons(curve(y)) == ()


def test_a_gradient_that_is_zero_at_one_lag_and_comes_back_is_not_cut() -> None:
    """In a stack a lower layer may hear of an earlier step through the layer above it alone."""
    y = straight(-0.1)
    y[:, 50] = -np.inf
    verdict = judge_attenuation(curve(y), 90)
    assert verdict.level is Level.VANISHING
    assert "rate" not in verdict.because
    assert horizons(curve(y))[2].longest == 49
    y[:, 5] = -np.inf
    assert horizons(curve(y)) == ()


@pytest.mark.parametrize(
    ("sequences", "lags", "lag", "words"),
    [
        (7, 100, 50, "7 of 7 sequences reach so far back"),
        (32, 9, 5, "the longest has 9 steps"),
        (32, 60, 100, "0 of 32 sequences reach so far back, the longest has 60 steps"),
    ],
)
def test_too_little_data_is_said_to_be_too_little(sequences: int, lags: int, lag: int, words: str) -> None:
    verdict = judge_attenuation(curve(straight(-0.1, lags=lags, sequences=sequences)), lag)
    assert verdict.level is Level.INSUFFICIENT
    assert words in verdict.because
    assert "8 sequences with 10 lags are needed" in verdict.because


def test_eight_sequences_and_ten_lags_are_enough() -> None:
    assert not judge_attenuation(curve(straight(-0.1, lags=10, sequences=8)), 10).level.abstains


def test_a_lag_that_few_sequences_reach_is_too_little_though_there_are_many() -> None:
    verdict = judge_attenuation(curve(straight(-0.1), [100] * 7 + [60] * 25), 80)
    assert verdict.level is Level.INSUFFICIENT
    assert "7 of 32 sequences reach so far back, the longest has 100 steps" in verdict.because


def test_exploding_is_judged_where_enough_sequences_reach() -> None:
    verdict = judge_exploding(curve(straight(0.1), [100] * 7 + [60] * 25))
    assert verdict.level is Level.EXPLODING
    assert "59 steps back" in verdict.claim


def test_what_abstains_says_so() -> None:
    assert {level for level in Level if level.abstains} == {
        Level.NON_FINITE,
        Level.NO_SIGNAL,
        Level.CUT,
        Level.INSUFFICIENT,
    }


# What they say


def test_a_verdict_reads_as_it_should() -> None:
    assert judge_attenuation(curve(straight(-0.114, spread=1.387)), 100) == Verdict(
        Level.VANISHING,
        "A signal 100 steps back arrives with 1e-5 of the strength of the last step's.",
        because=(
            "mean log attenuation -11.40, 95 % CI [-11.90, -10.90] over 32 sequences, below ln 0.01 = -4.61; "
            "rate -0.114 [-0.119, -0.109] per step; in the tail -0.114 [-0.119, -0.109] per step; "
            "gradient of the whole recurrent state, layer encoder.l0 (lstm), loss: cross entropy at the last step"
        ),
        source="threshold: ours, see verdicts.py; Bengio, Simard & Frasconi 1994 for the effect",
        layer="encoder.l0",
    )


@pytest.mark.parametrize(
    ("at_end", "amount"),
    [
        (math.log(0.034), "0.034 of the strength"),
        (math.log(0.5), "0.5 of the strength"),
        (0.0, "1 times the strength"),
        (math.log(25), "25 times the strength"),
        (math.log(2.6e-5), "3e-5 of the strength"),
        (math.log(9.7e-5), "1e-4 of the strength"),
        (math.log(4e7), "4e7 times the strength"),
        (-2302.585, "1e-1000 of the strength"),
        (2302.586, "1e1000 times the strength"),
    ],
)
def test_a_claim_says_how_much_arrives_however_little(at_end: float, amount: str) -> None:
    assert amount in judge_attenuation(curve(straight(at_end / 100)), 100).claim


def test_one_step_is_one_step() -> None:
    assert "A signal 1 step back" in judge_attenuation(curve(straight(-0.1)), 1).claim


def test_a_rate_needs_three_lags() -> None:
    assert "rate" not in judge_attenuation(curve(straight(-0.1)), 2).because
    assert "rate -0.100" in judge_attenuation(curve(straight(-0.1)), 4).because


def test_every_threshold_names_its_source() -> None:
    assert "Pascanu" in judge_exploding(curve(straight(0.1))).source
    assert "Pascanu" in judge_exploding(curve(straight(-0.1))).source
    assert "Bengio" in judge_attenuation(curve(straight(-0.1)), 50).source
    assert "ours" in judge_attenuation(curve(straight(-0.1, sequences=2)), 50).source


# Rates and horizons


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
    half, *_ = horizons(curve(y, lengths))
    # Together 0.2 * 10/32 + 0.02 * 22/32 = 0.0763 a step.
    assert half.lag == math.ceil(math.log(2) / 0.07625)
    assert half.longest == 99


def test_an_interval_of_n_is_over_n() -> None:
    value = attenuation(curve(straight(-0.1, sequences=12)), 50).value
    assert (value.n, value.mean) == (12, pytest.approx(-5))
