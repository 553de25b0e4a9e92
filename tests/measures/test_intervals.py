"""The two intervals: against the printed table of Student's t, and against how often they hold the truth."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from gatescope.measures.intervals import Interval, bootstrap_interval, student_t_interval

PRINTED = {2: 12.706, 3: 4.303, 8: 2.365, 16: 2.131, 64: 1.998}
"""t with 97.5 % below it, for n - 1 degrees of freedom, as every textbook prints it."""


@pytest.mark.parametrize("n", PRINTED)
def test_the_t_interval_is_the_mean_and_the_printed_quantile_of_its_standard_error(n: int) -> None:
    values = np.random.default_rng(0).normal(3, 2, n)
    interval = student_t_interval(values)
    half = PRINTED[n] * np.std(values, ddof=1) / math.sqrt(n)
    assert interval.n == n
    assert interval.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert interval.low == pytest.approx(interval.mean - half, abs=3e-4 * half)
    assert interval.high == pytest.approx(interval.mean + half, abs=3e-4 * half)


def test_values_that_agree_leave_no_doubt() -> None:
    assert student_t_interval(np.full(8, -2.5)) == Interval(-2.5, -2.5, -2.5, 8)


def test_one_value_leaves_every_doubt_and_none_is_no_number() -> None:
    assert student_t_interval(np.array([4.0])) == Interval(4.0, -math.inf, math.inf, 1)
    nothing = student_t_interval(np.empty(0))
    assert math.isnan(nothing.mean)
    assert (nothing.low, nothing.high, nothing.n) == (-math.inf, math.inf, 0)


def test_exact_zeros_whose_logarithm_is_infinite_have_no_interval() -> None:
    interval = student_t_interval(np.array([-1.0, -np.inf, -2.0]))
    assert interval.mean == -np.inf
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_an_interval_reads_as_a_number_with_its_bounds() -> None:
    assert str(Interval(-11.42, -11.93, -10.91, 32)) == "-11.4 [-11.9, -10.9]"


def test_the_bootstrap_of_a_mean_is_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(size=200)
    low, high = bootstrap_interval(lambda drawn: values[drawn].mean(-1), 200)
    half = NormalDist().inv_cdf(0.975) * values.std() / math.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_knows_that_a_skewed_statistic_has_a_skewed_interval() -> None:
    """What BCa is for: of a variance of normal values, whose exact interval is that of chi squared, 49 degrees."""
    values = np.random.default_rng(3).normal(size=50)
    low, high = bootstrap_interval(lambda drawn: values[drawn].var(-1, ddof=1), 50)
    variance = values.var(ddof=1)
    assert high - variance > 1.2 * (variance - low)
    assert low == pytest.approx(49 * variance / 70.222, rel=0.15)
    assert high == pytest.approx(49 * variance / 31.555, rel=0.15)


def test_the_bootstrap_draws_the_same_every_time() -> None:
    values = np.random.default_rng(1).normal(size=20)
    first, again = (bootstrap_interval(lambda drawn: values[drawn].mean(-1), 20) for _ in range(2))
    assert first == again


def test_a_statistic_that_never_changes_has_no_width() -> None:
    assert bootstrap_interval(lambda drawn: np.full(drawn.shape[:-1], 7.0), 10) == (7.0, 7.0)


def test_where_no_single_sequence_matters_the_percentiles_are_taken() -> None:
    """A median of twos and threes: leaving any one out changes nothing, drawing anew does."""
    values = np.array([2.0] * 9 + [3.0] * 6)
    low, high = bootstrap_interval(lambda drawn: np.median(values[drawn], -1), 15)
    assert (low, high) == (2.0, 3.0)
