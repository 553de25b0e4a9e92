"""Partial sums of outer products against the very matrices, where these can be held and where they cannot."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from gatescope.measures import partial_sums as module
from gatescope.measures.partial_sums import PartialSums, partial_sums

SCALES = {
    "alike": np.zeros(30),
    "vanishing": -3.0 * np.arange(30),
    "exploding": 3.0 * np.arange(30),
    "to and fro": 40.0 * np.sin(np.arange(30)),
    "with gaps": np.where(np.arange(30) % 3 == 0, -np.inf, 0.0),
}


def by(form: str, pairs: module.Pairs, scale: Float[Tensor, "lag member"], patch: pytest.MonkeyPatch) -> PartialSums:
    patch.setattr(module, "_FORMING", {"formed": 0, "by gram": math.inf}[form])
    return partial_sums(pairs, scale)


def blocks(members: int) -> list[tuple[Tensor, Tensor]]:
    """Two blocks, 5 by 3 and 2 by 4, for each of thirty lags."""
    return [
        (torch.randn(30, members, rows, dtype=torch.float64), torch.randn(30, members, columns, dtype=torch.float64))
        for rows, columns in ((5, 3), (2, 4))
    ]


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize(("form", "members"), [("by gram", 1), ("formed", 1), ("formed", 4)])
def test_they_are_those_of_the_matrices_themselves(
    scales: str, form: str, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = blocks(members)
    scale = torch.as_tensor(SCALES[scales])[:, None] + torch.linspace(-1, 0, members, dtype=torch.float64)
    found = by(form, pairs, scale, monkeypatch)
    each = torch.cat(
        [torch.einsum("kmr,kmc,km->krc", left, right, scale.exp()).flatten(1) for left, right in pairs], 1
    ).numpy()
    nothing = np.zeros((1, each.shape[1]))
    head = np.concatenate([nothing, np.cumsum(each, 0)])
    tail = np.concatenate([np.cumsum(each[::-1], 0)[::-1], nothing])
    norms = [np.linalg.norm(vectors, axis=1) for vectors in (each, head, tail)]
    for log_norm, wanted in zip((found.log_step, found.log_head, found.log_tail), norms, strict=True):
        np.testing.assert_allclose(log_norm[wanted > 0], np.log(wanted[wanted > 0]), rtol=0, atol=1e-10)
        assert (log_norm[wanted == 0] == -np.inf).all()
    some = norms[1] > 0
    cosine = head[some] @ head[-1] / norms[1][some] / norms[1][-1]
    np.testing.assert_allclose(found.cosine[some], cosine, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.log_bias[norms[2] > 0], np.log(norms[2][norms[2] > 0] / norms[1][-1]), atol=1e-10)


@pytest.mark.parametrize("rate", [-50.0, 50.0])
@pytest.mark.parametrize("form", ["by gram", "formed"])
def test_sums_that_no_float_could_hold_are_numbers(form: str, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones(30, 1, 1, dtype=torch.float64)
    found = by(form, [(ones, ones)], rate * torch.arange(30.0, dtype=torch.float64)[:, None], monkeypatch)
    whole = max(0.0, 29 * rate)
    np.testing.assert_allclose(found.log_tail[:30], rate * np.arange(30) if rate < 0 else whole, atol=1e-10)
    np.testing.assert_allclose(found.log_head[1:], 0.0 if rate < 0 else rate * np.arange(30), atol=1e-10)
    np.testing.assert_allclose(found.cosine[1:], 1.0, atol=1e-10)


@pytest.mark.parametrize("form", ["by gram", "formed"])
def test_what_is_no_number_stays_seen(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = blocks(1)
    pairs[0][0][10] = math.nan
    found = by(form, pairs, torch.zeros(30, 1, dtype=torch.float64), monkeypatch)
    assert np.isnan(found.log_tail[:11]).all()
    assert np.isfinite(found.log_tail[11:30]).all()
    assert np.isnan(found.log_head[11:]).all()
    assert np.isnan(found.log_bias[:11]).all()
