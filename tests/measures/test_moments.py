"""Moments of a stream against numpy over all of it at once."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatescope.measures.moments import Moments, moments_of

PAIRS = (("a", "b"), ("b", "c"))


def of(values: np.ndarray) -> Moments:
    """Of `[observation, variable, unit]`."""
    return moments_of({name: torch.as_tensor(values[:, k]) for k, name in enumerate("abc")}, PAIRS)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@given(cuts=st.lists(st.integers(1, 99), unique=True, max_size=5), seed=st.integers(0, 100))
def test_however_the_data_are_cut_the_parts_add_up_to_numpys(offset: float, cuts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 3, 2)) + offset
    values[:, 1] += values[:, 0] - offset
    found = reduce(add, map(of, np.split(values, sorted(cuts))))
    assert found.n == 100
    loose = 1e-12 if not offset else 1e-8  # of a million and one, nine digits of the one are left
    for k, name in enumerate("abc"):
        np.testing.assert_allclose(found.mean[k], values[:, k].mean(0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.sd(name), values[:, k].std(0), rtol=loose)
    for first, second in PAIRS:
        for unit in range(2):
            wanted = np.cov(values[:, "abc".index(first), unit], values[:, "abc".index(second), unit], ddof=0)[0, 1]
            assert found.product(first, second)[unit] / 100 == pytest.approx(wanted, rel=loose, abs=loose)
            assert found.product(second, first)[unit] == found.product(first, second)[unit]
