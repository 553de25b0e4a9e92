"""Lag curves made up for the verdicts to judge: straight ones, and ones that wander as real ones do."""

from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from gatescope.measures.lag_curve import LagCurve

Curves = Float[np.ndarray, "sequence lag"]

LAST = 1.7
"""The log norm at lag 0, which no verdict may depend on."""


def curve(y: Curves, lengths: list[int] | None = None, **other: Curves) -> LagCurve:
    """A lag curve with the log attenuations `y`."""
    lags = np.full(len(y), y.shape[1] - 1) if lengths is None else np.array(lengths)
    existing = np.arange(y.shape[1]) <= lags[:, None]
    named = {"pair": y, **other}
    return LagCurve(
        layer="encoder.l0",
        cell="lstm",
        direction="forward",
        loss="cross entropy at the last step",
        lengths=lags,
        log_norm=MappingProxyType({name: np.where(existing, LAST + values, np.nan) for name, values in named.items()}),
    )


def straight(rate: float, lags: int = 100, sequences: int = 32, spread: float = 0.0) -> Curves:
    """Lines through 0 whose values at the last lag have the standard deviation `spread` over sequences."""
    at_end = np.linspace(-1, 1, sequences)
    at_end *= spread / (at_end.std(ddof=1) or 1)
    return (rate + at_end[:, None] / lags) * np.arange(lags + 1)


def walking(rng: np.random.Generator, rate: float, sequences: int, lags: int = 100) -> Curves:
    """What real curves look like: a rate, a random walk of 0.15 a step, and 0.3 of noise that does not add up."""
    walk = rng.normal(0, 0.15, (sequences, lags)).cumsum(1)
    y = rate * np.arange(lags + 1) + np.pad(walk, ((0, 0), (1, 0))) + rng.normal(0, 0.3, (sequences, lags + 1))
    return np.where(np.arange(lags + 1) == 0, 0, y)
