"""Seconds of work, and the mean of ratios."""

import math
import statistics
import time
from collections.abc import Callable, Sequence


def seconds(work: Callable[[], object]) -> float:
    """How long it took, by the clock on the wall."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean that a ratio and its inverse agree on."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


def median_ratio(work: Sequence[float], yardstick: Sequence[float]) -> float:
    """The median of the ratios pair by pair, which a machine that slows down in between does not disturb."""
    return statistics.median(mine / theirs for mine, theirs in zip(work, yardstick, strict=True))
