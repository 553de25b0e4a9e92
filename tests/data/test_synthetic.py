"""Random numbers on request: as many as are asked for, the same for the same seed."""

import numpy as np
import pytest

from gatescope.data.reading import data
from gatescope.errors import InputError


def test_as_many_numbers_as_asked_for_with_mean_zero_and_variance_one() -> None:
    x = data("synthetic:normal,B=50,T=200,F=10").x
    assert x.shape == (50, 200, 10)
    assert abs(x.mean()) < 4 / np.sqrt(x.size)  # four standard errors
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / x.size)


def test_the_features_are_the_layers_where_the_spec_does_not_say() -> None:
    assert data("synthetic:normal,B=2,T=3", features=5).x.shape == (2, 3, 5)
    with pytest.raises(InputError, match="has 4 features where the layer takes 5"):
        data("synthetic:normal,B=2,T=3,F=4", features=5)


def test_the_seed_decides_and_is_said() -> None:
    a, b, c = (data("synthetic:normal,B=2,T=3,F=1", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.x, b.x)
    assert (a.x != c.x).all()
    assert a.what == b.what != c.what
    assert a.what.startswith("synthetic:normal,B=2,T=3,F=1: 2 sequences of 3 steps, 1 feature; seed 1; sha256 ")


@pytest.mark.parametrize(
    ("spec", "saw"),
    [
        ("synthetic:normal,B=2,T=3", r"does not say F \(features\); give all, as in synthetic:normal,B=32,T=200,F=8"),
        ("synthetic:normal", r"does not say B \(sequences\) and T \(steps\) and F \(features\)"),
        ("synthetic:cauchy,B=2,T=3,F=1", "asks for 'cauchy'; there is only normal"),
        ("synthetic:", "asks for ''"),
        ("synthetic:normal,B=0,T=3,F=1", "says 'B=0'"),
        ("synthetic:normal,B=2,T=-3,F=1", "says 'T=-3'"),
        ("synthetic:normal,B=2,T=3,F=1,B=2", "says 'B=2'; give B, T and F once each"),
        ("synthetic:normal,B=2,H=3", "says 'H=3'"),
        ("synthetic:normal,B=²,T=3", "says 'B=²'"),
        ("synthetic:normal,B=100000,T=100000,F=9", "asks for 90000000000 numbers, above"),
    ],
)
def test_a_spec_that_does_not_say_how_many_is_refused(spec: str, saw: str) -> None:
    with pytest.raises(InputError, match=saw):
        data(spec)
