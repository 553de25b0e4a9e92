"""How long the sums of the first, and of the last, few of many matrices are, when each is a sum of outer products.

    C_k = exp(s_k) left_kᵀ right_k       head_K = Σ_{k<K} C_k       tail_K = Σ_{k≥K} C_k       g = head_K + tail_K

Gram form: |tail_K|² = Σ_{j,k≥K} ⟨C_j, C_k⟩, summed up from the last k; T² (G + R) for T matrices of G rows and R
columns. Where forming each C_k is cheaper, T G R, or where it has several outer products, that is done. Frobenius norms
as natural logarithms, under a scale that moves along, so that a tail of 1e-100 of the whole is a number. The difference
|g|² − 2 ⟨g, head_K⟩ + |head_K|² would lose everything below 1e-8; so does the Gram form where the terms of one tail
cancel to less than that part of themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Pairs = Sequence[tuple[Float[Tensor, "lag member _"], Float[Tensor, "lag member _"]]]


@dataclass(frozen=True)
class PartialSums:
    """Of C_0, C_1, …: log norms of each, of the sums before (head) and from (tail) each K, and ⟨g, g_K⟩ over |g|."""

    log_step: np.ndarray
    log_head: np.ndarray
    log_tail: np.ndarray
    inner: np.ndarray
    """Over |g| and exp(inner_scale)."""
    inner_scale: np.ndarray

    @property
    def log_norm(self) -> float:
        return float(self.log_tail[0])

    @property
    def log_bias(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # no gradient at all
            relative: np.ndarray = self.log_tail - self.log_norm
        return relative

    @property
    def cosine(self) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.clip(self.inner * np.exp(self.inner_scale - self.log_head), -1, 1))


def partial_sums(pairs: Pairs, log_scale: Float[Tensor, "lag member"]) -> PartialSums:
    """Of C_0, C_1, …, each of as many blocks as there are pairs (left, right), each block summed over its members."""
    lags, members = log_scale.shape
    gram = lags * sum(left.shape[-1] + right.shape[-1] for left, right in pairs)
    formed = sum(left.shape[-1] * right.shape[-1] for left, right in pairs)
    return _from_gram(pairs, log_scale) if members == 1 and gram < _FORMING * formed else _from_sums(pairs, log_scale)


_FORMING = 10
"""How much longer an element of C_k takes, in passes over memory, than a product within a matrix multiplication:
5 to 20 times where it was measured."""


def _from_gram(pairs: Pairs, log_scale: Float[Tensor, "lag one"]) -> PartialSums:
    """By the inner products of the contributions of one sequence."""
    gram = sum((left[:, 0] @ left[:, 0].T) * (right[:, 0] @ right[:, 0].T) for left, right in pairs)
    assert isinstance(gram, Tensor)
    products, scale = gram.cpu().numpy(), log_scale[:, 0].cpu().numpy()
    log_tail = _log_norms_of_sums(products[::-1, ::-1], scale[::-1])[::-1]
    largest = scale.max() if np.isfinite(scale.max()) else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        log_step = np.log(products.diagonal()) / 2 + scale
        with_g = products @ np.exp(scale - largest) * np.exp(largest - log_tail[0])
    inner, inner_scale = _sums(with_g, scale)
    return PartialSums(log_step, _log_norms_of_sums(products, scale), log_tail, inner, inner_scale)


def _log_norms_of_sums(products: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Log norm of the sum of the first 0, 1, … vectors, of which the inner products are given over their scales."""
    log_norms = np.full(len(scale) + 1, -np.inf)
    square, under = 0.0, -np.inf
    for m, own in enumerate(scale):
        over = max(under, own)
        if over != -np.inf:
            weight = math.exp(own - over)
            mixed = products[m, :m] @ np.exp(scale[:m] - over)
            square = square * math.exp(2 * (under - over)) + weight * (weight * products[m, m] + 2 * mixed)
            under = over
            log_norms[m + 1] = math.log(square) / 2 + over if square > 0 else -np.inf
            if math.isnan(square):
                log_norms[m + 1] = np.nan
    return log_norms


def _sums(values: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the first 0, 1, … numbers `values · exp(scale)`, each over the exp of a scale of its own."""
    sums, scales = np.zeros(len(scale) + 1), np.zeros(len(scale) + 1)
    scales[1:] = np.maximum.accumulate(np.maximum(scale, np.finfo(float).min))
    for m, own in enumerate(scale):
        kept = sums[m] * math.exp(scales[m] - scales[m + 1]) if m else 0.0
        sums[m + 1] = kept + values[m] * math.exp(own - scales[m + 1]) if own != -np.inf else kept
    return sums, scales


def _from_sums(pairs: Pairs, log_scale: Float[Tensor, "lag member"]) -> PartialSums:
    """By forming the contributions, each summed over its members, one after the other."""
    lags = len(log_scale)
    largest = log_scale.amax(1).clamp(min=torch.finfo(torch.float64).min)
    weights = (log_scale - largest[:, None]).exp()[..., None]
    scale = largest.cpu().numpy()
    log_step, log_head, log_tail = (np.full(lags + n, -np.inf) for n in (0, 1, 1))
    inner, inner_scale = np.zeros((2, lags + 1))

    def add(sums: list[Tensor], under: float, lag: int) -> float:
        over = max(under, float(scale[lag]))
        for kept, (left, right) in zip(sums, pairs, strict=True):
            kept.addmm_(
                (left[lag] * weights[lag]).T, right[lag], beta=math.exp(under - over), alpha=math.exp(scale[lag] - over)
            )
        return over

    def empty() -> list[Tensor]:
        return [left.new_zeros(left.shape[-1], right.shape[-1]) for left, right in pairs]

    g, under = empty(), float(scale[-1])
    for lag in reversed(range(lags)):
        under = add(g, under, lag)
        log_tail[lag] = _log_norm(g) + under
    length = math.exp(_log_norm(g)) or math.nan
    head, under = empty(), float(scale[0])
    for lag in range(lags):
        under = add(head, under, lag)
        log_head[lag + 1] = _log_norm(head) + under
        inner[lag + 1] = sum(float((a * b).sum()) for a, b in zip(g, head, strict=True)) / length
        inner_scale[lag + 1] = under
    squares = sum((((left * weights) @ (left * weights).mT) * (right @ right.mT)).sum((1, 2)) for left, right in pairs)
    assert isinstance(squares, Tensor)
    log_step = (squares.clamp(min=0).log() / 2).cpu().numpy() + scale
    return PartialSums(log_step, log_head, log_tail, inner, inner_scale)


def _log_norm(sums: Sequence[Tensor]) -> float:
    square = sum(float(kept.norm()) ** 2 for kept in sums)
    return math.log(square) / 2 if square > 0 else (-math.inf if square == 0 else math.nan)
