"""How often verdicts and intervals are right, where the truth is known because it was made up."""

import math

import numpy as np
import pytest

from gatescope.verdicts import Level, attenuation, horizons, judge_attenuation
from lag_curves import curve, walking


def shares(rate: float, *, sequences: int, repetitions: int) -> dict[Level, float]:
    rng = np.random.default_rng(0)
    levels = [judge_attenuation(curve(walking(rng, rate, sequences)), 100).level for _ in range(repetitions)]
    return {level: levels.count(level) / repetitions for level in Level}


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
