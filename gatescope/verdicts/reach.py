"""How far back the data behind a lag curve allow to look, and where its gradient is silent or cut."""

import numpy as np

from ..measures.lag_curve import LagCurve
from .thresholds import MIN_LAGS, MIN_SEQUENCES


def has_signal(curve: LagCurve, quantity: str) -> np.ndarray:
    """True for each sequence whose loss sends a gradient at all."""
    signal: np.ndarray = curve.log_norm[quantity][:, 0] > -np.inf
    return signal


def first_arrivals(curve: LagCurve, quantity: str) -> np.ndarray:
    """For each sequence without a gradient at lag 0 but with one later, the first lag that has it."""
    alive = curve.log_norm[quantity] > -np.inf  # and no NaN, where a sequence has no such lag
    arrivals: np.ndarray = alive.argmax(1)[alive.any(1) & ~alive[:, 0]]
    return arrivals


def lags_of_enough(curve: LagCurve, quantity: str) -> int:
    """How many lags, the initial state not counted, enough sequences have."""
    lengths = np.sort(curve.lengths[has_signal(curve, quantity)])
    return int(lengths[-MIN_SEQUENCES:][:1].sum())


def reach(curve: LagCurve, quantity: str) -> int:
    """The longest lag that enough sequences have; short of the first cut, if that leaves enough lags."""
    longest = max(0, lags_of_enough(curve, quantity) - 1)
    cut = (curve.log_norm[quantity][has_signal(curve, quantity), : longest + 1] == -np.inf).any(0)
    before_cut = int(cut.argmax()) - 1 if cut.any() else longest
    return before_cut if before_cut + 1 >= MIN_LAGS else longest


def cut_since(curve: LagCurve, quantity: str, lag: int) -> list[int]:
    """For each sequence whose gradient is exactly zero at `lag`, or at its own end before that: since which lag."""
    cuts = []
    for curve_of_one, length in zip(curve.log_norm[quantity], curve.lengths, strict=True):
        alive = np.flatnonzero(curve_of_one[: min(lag, length) + 1] > -np.inf)
        if 0 < len(alive) <= min(lag, length) and alive[-1] < min(lag, length):
            cuts.append(int(alive[-1]) + 1)
    return cuts
