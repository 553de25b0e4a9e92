"""Curves of many sequences: the mean of those that have a value, with Student's interval where there is one."""

import math

import numpy as np
import pytest

from gatescope.report.bands import band, of_those, said_from_log


def test_the_mean_is_over_those_that_have_a_value() -> None:
    values = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0]])
    drawn = band("LSTM", np.arange(2), values, 3)
    assert drawn.y == pytest.approx([3.0, 3.0])
    assert drawn.low is not None
    assert drawn.y[0] - drawn.low[0] == pytest.approx(4.3027 * 2 / math.sqrt(3), rel=1e-4)  # t for two degrees
    assert drawn.colour == 3


def test_one_value_has_no_band_and_none_is_a_gap() -> None:
    drawn = band("LSTM", np.arange(2), np.array([[1.0, np.nan], [np.nan, np.nan]]), 0)
    assert drawn.low is not None
    assert drawn.low[0] == drawn.y[0] == 1
    assert np.isnan(drawn.y[1])


def test_an_exact_zero_stays_one() -> None:
    drawn = band("LSTM", np.arange(1), np.array([[-np.inf], [-1.0]]), 0)
    assert drawn.y[0] == -np.inf


def test_a_logarithm_is_said_as_its_number_with_its_interval() -> None:
    assert said_from_log(of_those(np.log([0.5, 0.5, 0.5]))) == "0.50 (95 % CI 0.50 to 0.50, 3 sequences)"
    assert said_from_log(of_those(np.log([0.5]))) == "0.50 (1 sequence)"
