"""Predict the next value of a sine wave from a window of past values.

    s_t = sin ωt + noise · ξ_t,   ω = 2π / period,   ξ_t ~ N(0, 1);   x = s_{t-W+1} … s_t,   y = s_{t+1}

Without noise two values are enough, s_{t+1} = 2 cos ω · s_t − s_{t-1}: the needed lag is 1. A longer window pays only
with noise, when every value in it helps to average the noise away. Errors are mean squared errors. The best one is that
of the best linear predictor, from the autocovariance K of the window and k between the window and the next value:

    ½ + noise² − kᵀ K⁻¹ k,   K_ij = ½ cos ω(i−j) + noise² [i = j];   without noise ½ sin² ω for W = 1, 0 for W ≥ 2

With noise a predictor that knows the amplitude to be 1 can do a little better: there it bounds the Bayes error from
above.
"""

import math

import numpy as np
import torch

from ..errors import InputError
from .task import Task


def sine(
    *,
    period: float = 50,
    points: int = 1000,
    window: int = 20,
    noise: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Every window of `window` values of a series of `points` values, and the value after it, in the order of time.

    `noise` is the standard deviation of what is added to every value, `seed` decides it. Windows overlap, and without
    noise they repeat with the period: they are not independent of each other.
    """
    if not 1 <= window < points:
        raise InputError(
            f"A window of {window} does not fit {points} points with one more to predict; choose 1 <= window < points."
        )
    if not period > 2:
        raise InputError(f"A period of {period} is not resolved by steps of 1; choose one above 2.")
    series = torch.sin(2 * math.pi / period * torch.arange(points, dtype=torch.float64))
    series = series + noise * torch.randn(points, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    windows = series.unfold(0, window + 1, 1).to(dtype)
    return Task(
        name="sine",
        x=windows[:, :-1, None],
        y=windows[:, -1:],
        lengths=torch.full((len(windows),), window),
        needed_lag=window - 1 if noise else min(1, window - 1),
        chance=0.5 + noise**2,
        bayes=_best_linear_error(period, window, noise),
    )


def _best_linear_error(period: float, window: int, noise: float) -> float:
    lags = np.arange(window)
    covariance = np.cos(2 * np.pi / period * (lags[:, None] - lags)) / 2 + noise**2 * np.eye(window)
    with_next = np.cos(2 * np.pi / period * (window - lags)) / 2
    weights = np.linalg.lstsq(covariance, with_next, rcond=1e-10)[0]  # rank 2 without noise
    return max(0.0, 0.5 + noise**2 - float(with_next @ weights))
