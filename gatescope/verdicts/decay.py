"""How much of the gradient is left at a lag, how fast it falls on the way there, and where it has fallen so far.

    y_bk = log |s̃_{T−k}| − log |s̃_T|     log attenuation of sequence b over k steps, in nats
    A_b  = y_bL                           at the lag L
    interval: mean over sequences ± Student's t, 95 %; of a horizon, the bootstrap over sequences

The sequence is the unit: the noise of y_b is a random walk over lags, so the residuals of a line through all points
would give "95 %" intervals that hold the truth one time in three.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..measures.intervals import Interval, bootstrap_interval, student_t_interval
from ..measures.lag_curve import LagCurve
from .abstaining import abstention
from .reach import has_signal, reach
from .thresholds import FRACTIONS, ROUNDING


@dataclass(frozen=True)
class Attenuation:
    """The log attenuation at one lag L, in nats, and the rates on the way there, in nats a step."""

    lag: int
    value: Interval
    slope: Interval | None
    """Over the lags from max(2, L/5) to L, one least-squares line a sequence; None for fewer than 3 lags, or an
    exact zero among them."""
    tail_slope: Interval | None
    """The same over the lags from L/2 to L."""

    @property
    def half_life(self) -> Interval | None:
        """Steps in which the gradient halves at the rate of the tail; None unless that rate is surely negative."""
        tail = self.tail_slope
        if tail is None or tail.high >= 0:
            return None
        mean, low, high = (-math.log(2) / rate for rate in (tail.mean, tail.low, tail.high))
        return Interval(mean, low, high, tail.n)


@dataclass(frozen=True)
class Horizon:
    """The first lag at which the mean log attenuation is below a fraction; None stands for "not within `longest`"."""

    fraction: float
    lag: int | None
    low: int | None
    high: int | None
    """The ends of the 95 % interval, by bootstrap over sequences."""
    longest: int
    """The longest lag that could be looked at."""
    extrapolated: float | None
    """Where it would be at the rate of the tail, if not reached and if the rate does not change along the curve."""

    def __str__(self) -> str:
        lag, low, high = (f">{self.longest}" if end is None else str(end) for end in (self.lag, self.low, self.high))
        return lag if lag == low == high else f"{lag} [{low}, {high}]"


def attenuation(curve: LagCurve, lag: int, *, quantity: str = "pair") -> Attenuation:
    """The attenuation over all sequences that have this lag and whose loss sends a gradient."""
    y = curve.log_attenuation(quantity)[has_signal(curve, quantity) & (curve.lengths >= lag)]

    def slope(first: int) -> Interval | None:
        stretch = y[:, first : lag + 1]
        if lag - first < 2 or not len(y) or not np.isfinite(stretch).all():
            return None
        lags = np.arange(first, lag + 1) - (first + lag) / 2
        return student_t_interval(stretch @ lags / (lags @ lags))

    value = student_t_interval(y[:, lag] if len(y) else np.empty(0))
    return Attenuation(lag, value, slope(max(2, math.ceil(lag / 5))), slope(math.ceil(lag / 2)))


def horizons(curve: LagCurve, *, quantity: str = "pair") -> tuple[Horizon, ...]:
    """How far back a half, a tenth, a hundredth, and what float32 resolves, are left; empty where nobody can tell.

    Lags are looked at as far as enough sequences have them and no gradient is cut.
    """
    longest = reach(curve, quantity)
    y = curve.log_attenuation(quantity)[has_signal(curve, quantity), : longest + 1]
    if abstention(curve, quantity, longest) or (y == -np.inf).any():
        return ()
    rates = attenuation(curve, longest, quantity=quantity)
    exists = ~np.isnan(y)
    sequences = np.arange(len(y))

    def horizon(fraction: float) -> Horizon:
        def crossing(drawn: np.ndarray) -> np.ndarray:
            # How often each sequence was drawn; as a float, for integers have no fast product.
            times = (drawn[..., None] == sequences).sum(-2, dtype=float)
            with np.errstate(invalid="ignore"):  # none was drawn that has such a lag
                return _crossing(times @ np.where(exists, y, 0) / (times @ exists.astype(float)), math.log(fraction))

        ends = (float(crossing(sequences)), *bootstrap_interval(crossing, len(y)))
        lag, low, high = (None if end > longest else math.ceil(end) for end in ends)
        return Horizon(fraction, lag, low, high, longest, None if lag else _extrapolated(rates, math.log(fraction)))

    return tuple(horizon(fraction) for fraction in FRACTIONS)


def _crossing(mean: np.ndarray, level: float) -> np.ndarray:
    """Where a curve over lags first comes down to a level, between two lags; one beyond its end if it does not."""
    down = mean <= level + ROUNDING  # a decay by exactly a half each step has half-life 1, however it was rounded
    first = down.argmax(-1)[..., None]
    before, after = (np.take_along_axis(mean, np.maximum(lag, 0), -1) for lag in (first - 1, first))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.clip((before - level) / (before - after), ROUNDING, 1)
    crossing: np.ndarray = np.where(down.any(-1), (first - 1 + part)[..., 0], mean.shape[-1])
    return crossing


def _extrapolated(rates: Attenuation, level: float) -> float | None:
    full, tail = rates.slope, rates.tail_slope
    if full is None or tail is None or tail.high >= 0:
        return None
    if max(tail.low - full.high, full.low - tail.high) > ROUNDING:
        return None
    return rates.lag + (level - rates.value.mean) / tail.mean
