"""A curve of many sequences as it is drawn: their mean, and its 95 % interval as a band around it.

NaN stands where a sequence has no such value, and is left out; an exact zero is a logarithm of -inf, and stays one.
"""

import math

import numpy as np
from jaxtyping import Float, Real

from ..measures.intervals import Interval, student_t_interval
from .numbers import counted, number_from_log
from .plot import Curve

TEN = math.log(10)
"""Nats in a decade."""


def band(label: str, x: Real[np.ndarray, " point"], values: Float[np.ndarray, "sequence point"], colour: int) -> Curve:
    """The mean over sequences at each point; the band lies on the curve where there is no interval."""
    at = [of_those(values[:, place]) for place in range(len(x))]
    mean, low, high = np.array([(one.mean, one.low, one.high) for one in at]).reshape(-1, 3).T
    known = np.isfinite(low) & np.isfinite(high)
    return Curve(label, x.astype(float), mean, np.where(known, low, mean), np.where(known, high, mean), colour)


def of_those(values: Float[np.ndarray, " sequence"]) -> Interval:
    """Over the sequences that have such a value."""
    with np.errstate(invalid="ignore"):  # the interval of exact zeros
        return student_t_interval(values[~np.isnan(values)])


def said_from_log(at: Interval) -> str:
    """0.45 (95 % CI 0.40 to 0.50, 16 sequences), of a logarithm in nats."""
    sequences = counted(at.n, "sequence")
    if not (math.isfinite(at.low) and math.isfinite(at.high)):
        return f"{number_from_log(at.mean)} ({sequences})"
    return f"{number_from_log(at.mean)} (95 % CI {number_from_log(at.low)} to {number_from_log(at.high)}, {sequences})"


def log10(values: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
    """The decimal logarithm: -inf of an exact zero, NaN below it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: np.ndarray = np.log10(values)
    return logs
