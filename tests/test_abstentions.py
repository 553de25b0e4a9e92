"""When a verdict abstains: not finite, no signal, cut or too little, in this order, and it says which."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.measures.lag_curve import LagCurve, lag_curve
from gatescope.recording.recorder import Recorder
from gatescope.verdicts import Level, horizons, judge, judge_attenuation, judge_exploding
from lag_curves import curve, straight


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


def first_arriving(lags: list[int], length: int, direction: str = "forward") -> LagCurve:
    """One sequence for each of these lags, at which its first gradient arrives."""
    y = np.where(np.arange(length + 1) < np.array(lags)[:, None], -np.inf, 0.0)
    return replace(curve(y), direction=direction)


def test_a_loss_that_depends_on_nothing_here_is_said_not_to() -> None:
    verdict = judge_exploding(curve(np.full((9, 21), -np.inf)))
    assert "exactly zero at lag 0 in all 9 sequences: and at every other lag" in verdict.because
    assert "does not depend on this layer" in verdict.because


def test_a_reverse_layer_read_at_the_end_of_the_input_is_told_from_one_that_hears_nothing() -> None:
    """As `out[:, -1]` of a bidirectional layer reads it."""
    verdict = judge_attenuation(first_arriving([19] * 9, 20, "reverse"), 5)
    assert verdict.level is Level.NO_SIGNAL
    assert "the first gradient arrives 19 steps back, at the first step that this reverse layer takes" in (
        verdict.because
    )
    assert "as out[:, -1] does" in verdict.because
    assert "read h_n, which holds the last state of both directions" in verdict.because


@pytest.mark.parametrize(
    ("lags", "direction", "words"),
    [
        ([19] * 9, "forward", "arrives 19 steps back: "),
        ([3] * 9, "reverse", "arrives 3 steps back: "),
        ([1] * 9, "forward", "arrives 1 step back: "),
        ([3, 7, 5, 3, 3, 3, 3, 3, 21], "forward", "arrives 3 to 7 steps back: "),
        ([19] * 8 + [21], "reverse", "arrives 19 steps back: "),
    ],
)
def test_a_loss_that_reads_an_earlier_step_is_said_to_and_where(lags: list[int], direction: str, words: str) -> None:
    verdict = judge_exploding(first_arriving(lags, 20, direction))
    assert verdict.level is Level.NO_SIGNAL
    assert f"exactly zero at lag 0 in all 9 sequences: the first gradient {words}" in verdict.because
    assert "the loss reads an earlier step of this layer" in verdict.because
    assert "if that is padding, give lengths" in verdict.because
    assert "h_n" not in verdict.because


def test_where_only_some_sequences_are_read_earlier_they_are_left_out_with_a_hint_at_padding() -> None:
    verdict = judge_exploding(first_arriving([0] * 10 + [4, 2, 20], 30))
    assert verdict.level is Level.NOT_EXPLODING
    assert (
        "3 of 13 sequences without a gradient left out, where the first one arrives 2 to 20 steps back: if what "
        "follows is padding, give lengths" in verdict.because
    )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_real_network_read_at_the_end_of_its_input_gets_these_words(bidirectional: bool) -> None:
    gru = nn.GRU(2, 3, batch_first=True, bidirectional=bidirectional)
    with Recorder(gru) as rec:
        out, _ = gru(torch.randn(9, 14, 2))
        out[:, -1].sum().backward()
    forward = judge_exploding(lag_curve(rec.adjoints["l0"], loss="out[:, -1]"))
    assert not forward.level.abstains
    if bidirectional:
        reverse = judge_exploding(lag_curve(rec.adjoints["l0_reverse"], loss="out[:, -1]"))
        assert "13 steps back, at the first step that this reverse layer takes" in reverse.because
    else:
        with Recorder(gru) as rec:
            gru(torch.randn(9, 14, 2))[0][:, 10].sum().backward()
        padded = judge_exploding(lag_curve(rec.adjoints["l0"], loss="out[:, 10]"))
        assert "arrives 3 steps back: the loss reads an earlier step" in padded.because


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
        "In 3 of 3 sequences no gradient arrives at all from 36 steps back on: it is cut there, which is not vanishing."
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
    ("sequences", "lags", "lag", "lacks", "words"),
    [
        (7, 100, 50, "there are 7 sequences, and 8 are needed", "7 of 7 sequences reach so far back"),
        (32, 9, 5, "the longest sequence has 9 steps, and 10 are needed", "the longest has 9 steps"),
        (
            32,
            60,
            100,
            "the longest sequence has 60 steps",
            "0 of 32 sequences reach so far back, the longest has 60 steps",
        ),
    ],
)
def test_too_little_data_is_said_to_be_too_little(sequences: int, lags: int, lag: int, lacks: str, words: str) -> None:
    verdict = judge_attenuation(curve(straight(-0.1, lags=lags, sequences=sequences)), lag)
    assert verdict.level is Level.INSUFFICIENT
    assert verdict.claim == f"There is too little data to say what arrives from {lag} steps back: {lacks}."
    assert words in verdict.because
    assert "8 sequences with 10 lags are needed" in verdict.because


@pytest.mark.parametrize(("sequences", "lags"), [(4, 60), (32, 1), (2, 1)])
def test_too_little_data_is_said_once(sequences: int, lags: int) -> None:
    few = curve(straight(-0.1, lags=lags, sequences=sequences))
    assert [one.level for one in judge(few, 20)] == [Level.INSUFFICIENT]
    assert [one.level for one in judge(few)] == [Level.INSUFFICIENT]


def test_of_a_single_step_nothing_is_said_to_be_zero_steps_back() -> None:
    (verdict,) = judge(curve(straight(-0.1, lags=1)))
    assert verdict.claim == (
        "There is too little data to say how the gradient changes from step to step: the longest sequence has 1 step, "
        "and 10 are needed."
    )


def test_one_sequence_is_one() -> None:
    verdict = judge_attenuation(curve(np.zeros((1, 101))), 50)
    assert verdict.claim.endswith("from 50 steps back: there is 1 sequence, and 8 are needed.")


def test_enough_sequences_of_which_too_few_are_long_are_too_little() -> None:
    verdict = judge_attenuation(curve(straight(-0.1), [100] * 7 + [40] * 25), 90)
    assert verdict.claim.endswith("90 steps back: fewer than 8 sequences have a gradient and enough steps.")
    assert "7 of 32 sequences reach so far back, the longest has 100 steps" in verdict.because


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
