"""The verdicts: what they decide, and what they say."""

import math

import numpy as np
import pytest

from gatescope.errors import InputError
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
from lag_curves import curve, straight


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


@pytest.mark.parametrize("rate", [0.045, 0.048])
def test_a_doubtful_explosion_is_borderline(rate: float) -> None:
    verdict = judge_exploding(curve(straight(rate, spread=3.0)))
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


def test_a_verdict_reads_as_it_should() -> None:
    assert judge_attenuation(curve(straight(-0.114, spread=1.387)), 100) == Verdict(
        Level.VANISHING,
        "A signal 100 steps back arrives with 1.1e-5 of the strength of the last step's.",
        because=(
            "mean log attenuation -11.40, 95 % CI [-11.90, -10.90] over 32 sequences, below ln 0.01 = -4.61; "
            "rate -0.114 [-0.119, -0.109] per step; in the tail -0.114 [-0.119, -0.109] per step; "
            "gradient of the whole recurrent state, layer encoder.l0 (lstm), loss: cross entropy at the last step"
        ),
        source="threshold: ours, see verdicts/thresholds.py; Bengio, Simard & Frasconi 1994 for the effect",
        layer="encoder.l0",
    )


@pytest.mark.parametrize(
    ("at_end", "amount"),
    [
        (math.log(0.034), "0.034 of the strength"),
        (math.log(0.5), "0.5 of the strength"),
        (0.0, "1 times the strength"),
        (math.log(25), "25 times the strength"),
        (math.log(2.6e-5), "2.6e-5 of the strength"),
        (math.log(9.7e-5), "9.7e-5 of the strength"),
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
