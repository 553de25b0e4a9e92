"""A statistic over sequences with its 95 % interval: Student's t for a mean, the bootstrap for what is not one.

mean ± t_{0.975, n−1} · sd / √n                      Student 1908
exact binomial interval of a share k / n             Clopper & Pearson 1934
BCa bootstrap: bias-corrected and accelerated        Efron 1987; DiCiccio & Efron 1996
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number and the 95 % interval around it."""

    mean: float
    low: float
    high: float
    n: int
    """The number of independent values behind it."""

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def student_t_interval(values: Float[np.ndarray, "sequence"]) -> Interval:
    """The mean of independent values; the interval is everything for fewer than two, NaN for infinite ones."""
    n = len(values)
    mean = float(values.mean()) if n else math.nan
    if n < 2:
        return Interval(mean, -math.inf, math.inf, n)
    from scipy.stats import t

    with np.errstate(invalid="ignore"):  # of infinite values there is no spread
        half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * values.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def share_interval(count: int, n: int) -> Interval:
    """The share of `count` among `n` independent trials; its interval is exact, and holds the truth at least so often.

    `n` is to be at least 1.
    """
    from scipy.stats import binomtest

    ends = binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return Interval(count / n, float(ends.low), float(ends.high), n)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray], n: int, *, resamples: int = 2000
) -> tuple[float, float]:
    """The 95 % interval of a statistic of n sequences, resampled with a fixed seed.

    `statistic` takes the numbers of the drawn sequences, `[..., n]`, and returns one value for each drawing. Where BCa
    is undefined, because leaving out any one sequence changes nothing, the percentiles are taken.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = bootstrap(
            (np.arange(n),),
            lambda drawn, axis: statistic(np.moveaxis(drawn, axis, -1)),
            n_resamples=resamples,
            batch=100,
            confidence_level=CONFIDENCE,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(0),
        )
    low, high = result.confidence_interval
    if math.isnan(low) or math.isnan(high):
        low, high = np.quantile(result.bootstrap_distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
