"""The distribution of gradient norms, against numpy, a lognormal's closed form, and autograd for one sequence."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from gatescope.errors import InputError
from gatescope.measures import MEASURES
from gatescope.measures.gradient_norms import (
    CLIPS,
    GradientNorms,
    gradient_norms,
    gradient_norms_of_sequences,
)
from gatescope.measures.truncation import truncation
from gatescope.recording.recorder import Recorder
from problems import Problem


def test_it_is_listed_among_the_measures() -> None:
    assert GradientNorms in MEASURES


def test_of_a_lognormal_clipping_touches_what_its_closed_form_says() -> None:
    quantiles = (np.arange(1_000_000) + 0.5) / 1_000_000  # a million equal parts of it, no drawing
    found = gradient_norms(np.exp(norm.ppf(quantiles)), of="an update")
    percents = [100 * found.clipped[c] for c in CLIPS]
    assert percents == pytest.approx([57.7, 30.9, 11.6, 1.75, 0.25], abs=0.05)
    assert found.mean == pytest.approx(math.exp(0.5), rel=1e-4)
    assert found.median == pytest.approx(1, rel=1e-5)
    assert found.share_above(math.log(10)) == pytest.approx(norm.sf(math.log(10)), abs=1e-6)


def test_mean_median_and_quantiles_are_numpys() -> None:
    norms = np.random.default_rng(3).gamma(1.3, 2.0, 37)
    found = gradient_norms(norms, of="an update")
    assert found.mean == pytest.approx(norms.mean(), rel=1e-12)
    assert found.median == pytest.approx(np.median(norms), rel=1e-12)
    for q in (0.0, 0.01, 0.333, 0.5, 0.95, 1.0):
        assert found.quantile(q) == pytest.approx(np.quantile(norms, q), rel=1e-12)
    even = gradient_norms(norms[:36], of="an update")
    assert even.median == pytest.approx(np.median(norms[:36]), rel=1e-12)
    np.testing.assert_allclose(found.times_median(), norms / np.median(norms), rtol=1e-12)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    found = gradient_norms([1.0, math.nan, 3.0, math.inf, 0.0], of="an update")
    assert (found.n, found.nonfinite) == (5, 2)
    assert (found.mean, found.median) == (pytest.approx(4 / 3), pytest.approx(1))
    assert found.clipped[1.0] == pytest.approx(1 / 3)
    np.testing.assert_allclose(found.times_median(), [1, np.nan, 3, np.nan, 0], rtol=1e-12)


def test_of_nothing_finite_nothing_is_said() -> None:
    found = gradient_norms([math.nan, math.inf], of="an update")
    assert (found.n, found.nonfinite) == (2, 2)
    assert math.isnan(found.mean)
    assert math.isnan(found.median)
    assert all(math.isnan(share) for share in found.clipped.values())


def test_gradients_of_zero_have_a_distribution() -> None:
    found = gradient_norms([0.0, 0.0, 0.0], of="an update")
    assert (found.mean, found.median, found.nonfinite) == (0, 0, 0)
    assert set(found.clipped.values()) == {0.0}


def test_norms_too_small_to_be_floats_have_one_too() -> None:
    found = GradientNorms(np.array([-1000.0, -999.0, -998.0, -990.0]), "a sequence")
    scaled = gradient_norms(np.exp([0.0, 1.0, 2.0, 10.0]), of="a sequence")
    assert found.mean == 0
    assert found.log_quantile(0.5) == pytest.approx(scaled.log_quantile(0.5) - 1000, rel=1e-12)
    assert dict(found.clipped) == dict(scaled.clipped)
    np.testing.assert_allclose(found.times_median(), scaled.times_median(), rtol=1e-9)
    with np.errstate(over="raise"):
        assert GradientNorms(np.array([1000.0]), "a sequence").mean == math.inf


def test_of_single_sequences_it_is_what_autograd_gives_for_each_by_itself() -> None:
    problem = Problem("lstm", layers=2, layout="packed-unsorted")
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss("h_n and c_n", *problem.call(module)).backward()
    found = gradient_norms_of_sequences([truncation(one, loss="the final states") for one in rec.adjoints.values()])
    assert found.n == problem.sequences
    for sequence in range(problem.sequences):
        module.zero_grad()
        output, states = problem.call(module)
        alone = torch.zeros(problem.sequences, dtype=torch.float64)
        alone[sequence] = 1
        seen = tuple(state * alone[:, None] for state in states)
        problem.loss("h_n and c_n", output, seen).backward()
        whole = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()
        assert math.exp(found.log_norm[sequence]) == pytest.approx(whole.item(), rel=1e-10)
    assert found.of == "one sequence's part of the loss (the final states) by the weights of l0, l1"


def test_layers_of_different_passes_are_not_added() -> None:
    found = []
    for steps in (4, 5):
        module = torch.nn.GRU(2, 3)
        with Recorder(module) as rec:
            module(torch.randn(steps, 2, 2))[0][-1].sum().backward()
        found.append(truncation(rec.adjoints["l0"], loss="the last state"))
    with pytest.raises(InputError, match="give the layers of one pass"):
        gradient_norms_of_sequences(found)
    with pytest.raises(InputError, match="no layer were given"):
        gradient_norms_of_sequences([])


@pytest.mark.parametrize(("norms", "words"), [([], "no number"), ([1.0, -2.0], "1 negative numbers")])
def test_what_is_no_norm_is_refused(norms: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        gradient_norms(norms, of="an update")


def test_the_frame_is_tidy() -> None:
    frame = gradient_norms([1.0, 2.0, math.nan], of="an update of the model").to_frame()
    assert list(frame.columns) == ["layer", "measure", "of", "quantity", "update", "value", "unit"]
    assert set(frame["of"]) == {"an update of the model"}
    each = frame[frame.quantity == "log norm"]
    assert each["update"].tolist() == [0, 1, 2]
    assert each["value"].tolist()[:2] == [0.0, math.log(2.0)]
    named = frame.set_index("quantity")["value"]
    assert named["mean"] == pytest.approx(1.5)
    assert named["quantile 0.5"] == pytest.approx(1.5)
    assert named["non-finite"] == 1
    assert named["clipped at 1 x mean"] == 0.5
