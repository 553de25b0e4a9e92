"""Whether training explodes: by how often a gradient is large, and never by a single one."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from gatescope.measures.gradient_norms import GradientNorms, gradient_norms
from gatescope.measures.intervals import share_interval
from gatescope.verdicts import MIN_GRADIENTS, Level, judge_training


def with_large(large: int, n: int, times: float = 50.0) -> GradientNorms:
    """`n` norms of one, the last `large` of them so many times as large."""
    return gradient_norms([1.0] * (n - large) + [times] * large, of="an update")


@pytest.mark.parametrize(
    ("large", "n", "level"),
    [
        (0, 30, Level.NOT_EXPLODING),
        (1, 30, Level.NOT_EXPLODING),
        (2, 32, Level.BORDERLINE),
        (3, 32, Level.EXPLODING),
        (2, 1000, Level.NOT_EXPLODING),
        (10, 1000, Level.BORDERLINE),
        (30, 1000, Level.EXPLODING),
    ],
)
def test_it_is_the_share_of_large_ones_that_decides(large: int, n: int, level: Level) -> None:
    verdict = judge_training(with_large(large, n))
    assert verdict.level is level
    assert f"{large} of {n} above 10 times the median" in verdict.because


@pytest.mark.parametrize("times", [20.0, 1e6, 1e300])
def test_a_single_large_one_is_not_exploding_however_large(times: float) -> None:
    verdict = judge_training(with_large(1, 100, times))
    assert verdict.level is Level.NOT_EXPLODING
    assert verdict.claim == "One of 100 gradients is more than 10 times the median; a single one is not exploding."
    assert "the largest, number 99, is" in verdict.because


def test_ten_times_the_median_is_not_yet_large() -> None:
    assert "0 of 100 above" in judge_training(with_large(5, 100, 9.99)).because
    assert "5 of 100 above" in judge_training(with_large(5, 100, 10.01)).because


@pytest.mark.parametrize(("s", "level"), [(0.5, Level.NOT_EXPLODING), (1.0, Level.BORDERLINE), (2.0, Level.EXPLODING)])
def test_lognormal_norms_are_judged_by_their_tail(s: float, level: Level) -> None:
    norms = np.exp(s * norm.ppf((np.arange(1000) + 0.5) / 1000))
    assert judge_training(gradient_norms(norms, of="an update")).level is level


def test_the_scale_of_the_loss_does_not_matter() -> None:
    small = GradientNorms(with_large(3, 40).log_norm - 2000, "a sequence")
    assert judge_training(small).level is judge_training(with_large(3, 40)).level is Level.EXPLODING


def test_a_verdict_reads_as_it_should() -> None:
    verdict = judge_training(with_large(3, 32, 20.0))
    assert verdict.claim == "3 of 32 gradients are more than 10 times as large as the median one."
    assert verdict.because == (
        "3 of 32 above 10 times the median, 9.4 %, 95 % CI [2, 25] %, above 1 %; the largest, number 29, is 20 times "
        "the median; median 1, mean 2.78; clipping at the mean would touch 9.4 %; norm of an update"
    )
    assert "Pascanu" in verdict.source
    assert judge_training(with_large(0, 32)).claim == (
        "None of 32 gradients is more than 10 times as large as the median one."
    )


def test_what_is_not_finite_comes_first_with_its_place_and_number() -> None:
    verdict = judge_training(gradient_norms([1.0, math.inf, 0.0, math.nan], of="an update"))
    assert verdict.level is Level.NON_FINITE
    assert verdict.claim == "2 of 4 gradients are no finite number."
    assert "NaN or infinity in 2 of 4 gradients, first in number 1, counted from 0" in verdict.because


def test_without_a_usual_size_there_is_no_signal_before_there_is_too_little() -> None:
    verdict = judge_training(gradient_norms([0.0, 0.0, 1.0], of="an update"))
    assert verdict.level is Level.NO_SIGNAL
    assert verdict.claim == "2 of 3 gradients are exactly zero, so that there is no usual size."
    assert "does not depend on these weights" in verdict.because


def test_too_few_gradients_say_nothing_of_a_tail() -> None:
    verdict = judge_training(with_large(3, MIN_GRADIENTS - 1))
    assert verdict.level is Level.INSUFFICIENT
    assert f"29 gradients, and {MIN_GRADIENTS} are needed" in verdict.because
    assert "ours" in verdict.source


def test_every_verdict_says_what_the_gradients_are_of() -> None:
    for norms in ([math.nan], [0.0], [1.0], [1.0] * 40):
        assert judge_training(gradient_norms(norms, of="a batch of names")).because.endswith("norm of a batch of names")


@pytest.mark.parametrize(("count", "n"), [(0, 1), (0, 30), (3, 32), (30, 30)])
def test_the_interval_of_a_share_is_exact(count: int, n: int) -> None:
    """Its ends are the shares of which so few, or so many, would come in one of forty cases (Clopper & Pearson)."""
    found = share_interval(count, n)
    assert (found.mean, found.n) == (count / n, n)
    if count < n:
        assert binomtest(count, n, found.high, alternative="less").pvalue == pytest.approx(0.025, rel=1e-6)
    if count:
        assert binomtest(count, n, found.low, alternative="greater").pvalue == pytest.approx(0.025, rel=1e-6)
    assert (found.low == 0) == (count == 0)
    assert (found.high == 1) == (count == n)
