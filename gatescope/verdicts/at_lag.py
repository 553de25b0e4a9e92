"""Whether a gradient vanishes or explodes over a lag.

First abstain, then judge *at lag L*: nearly every network has lost the gradient at some lag, and it matters only if the
task needs that lag. Without a lag there is no verdict on vanishing, only horizons; exploding is always judged.
"""

import math
from collections.abc import Callable

from ..errors import InputError
from ..measures.intervals import Interval
from ..measures.lag_curve import LagCurve
from .abstaining import abstention, left_out
from .decay import attenuation
from .reach import reach
from .thresholds import DEFAULT, EXPLODING_SOURCE, VANISHING_SOURCE, Thresholds
from .verdict import Level, Verdict
from .words import factor, object_of, steps


def judge(curve: LagCurve, lag: int | None = None, *, thresholds: Thresholds = DEFAULT) -> tuple[Verdict, ...]:
    """The attenuation at the lag that the task needs, if one is given, and exploding, always."""
    exploding = judge_exploding(curve, thresholds=thresholds)
    if lag is None:
        return (exploding,)
    at_lag = judge_attenuation(curve, lag, thresholds=thresholds)
    said = at_lag == exploding or lag == reach(curve, "pair") or at_lag.level is exploding.level is Level.INSUFFICIENT
    return (at_lag,) if said else (at_lag, exploding)


def judge_attenuation(
    curve: LagCurve, lag: int, *, quantity: str = "pair", thresholds: Thresholds = DEFAULT
) -> Verdict:
    """Vanishing, dead, exploding, stable or borderline at `lag`, or why there is no telling."""
    if lag < 1:
        raise InputError(f"The lag to judge was given as {lag}; lags count steps back from the last: choose 1 or more.")
    return abstention(curve, quantity, lag) or _verdict(curve, quantity, lag, _level_at_lag, thresholds)


def judge_exploding(curve: LagCurve, *, quantity: str = "pair", thresholds: Thresholds = DEFAULT) -> Verdict:
    """Exploding, not exploding or borderline at the longest lag that the data allow, or why there is no telling."""
    lag = reach(curve, quantity)
    return abstention(curve, quantity, lag) or _verdict(curve, quantity, lag, _level_exploding, thresholds)


def _level_at_lag(value: Interval, at: Thresholds) -> tuple[Level, str]:
    dead, vanishing, exploding = math.log(at.dead), math.log(at.vanishing), math.log(at.exploding)
    if value.high < dead:
        return Level.DEAD, f"below ln {at.dead:.2g} = {dead:.2f}, the resolution of the dtype"
    if value.high < vanishing:
        return Level.VANISHING, f"below ln {at.vanishing:g} = {vanishing:.2f}"
    if value.low > exploding:
        return Level.EXPLODING, f"above ln {at.exploding:g} = {exploding:.2f}"
    if value.low >= vanishing and value.high <= exploding:
        return Level.STABLE, f"within ln {at.vanishing:g} = {vanishing:.2f} and ln {at.exploding:g} = {exploding:.2f}"
    if value.high <= exploding:
        return Level.BORDERLINE, f"across ln {at.vanishing:g} = {vanishing:.2f}: vanishing or stable"
    if value.low >= vanishing:
        return Level.BORDERLINE, f"across ln {at.exploding:g} = {exploding:.2f}: stable or exploding"
    return Level.BORDERLINE, f"across {vanishing:.2f} and {exploding:.2f}: vanishing, stable or exploding"


def _level_exploding(value: Interval, at: Thresholds) -> tuple[Level, str]:
    exploding = math.log(at.exploding)
    if value.low > exploding:
        return Level.EXPLODING, f"above ln {at.exploding:g} = {exploding:.2f}"
    if value.high <= exploding:
        return Level.NOT_EXPLODING, f"below ln {at.exploding:g} = {exploding:.2f}"
    return Level.BORDERLINE, f"across ln {at.exploding:g} = {exploding:.2f}: stable or exploding"


def _verdict(
    curve: LagCurve,
    quantity: str,
    lag: int,
    level_of: Callable[[Interval, Thresholds], tuple[Level, str]],
    thresholds: Thresholds,
) -> Verdict:
    found = attenuation(curve, lag, quantity=quantity)
    mean, low, high, n = found.value.mean, found.value.low, found.value.high, found.value.n
    level, place = level_of(found.value, thresholds)
    because = [f"mean log attenuation {mean:.2f}, 95 % CI [{low:.2f}, {high:.2f}] over {n} sequences, {place}"]
    for name, rate in (("rate", found.slope), ("in the tail", found.tail_slope)):
        if rate is not None:
            because.append(f"{name} {rate.mean:.3f} [{rate.low:.3f}, {rate.high:.3f}] per step")
    because += left_out(curve, quantity)
    because.append(object_of(curve, quantity))
    amount = f"{factor(mean)} of" if mean < 0 else f"{factor(mean)} times"
    claim = f"A signal {steps(lag)} back arrives with {amount} the strength of the last step's."
    about_exploding = level is Level.EXPLODING or level_of is _level_exploding
    source = EXPLODING_SOURCE if about_exploding else VANISHING_SOURCE
    return Verdict(level, claim, "; ".join(because), source, curve.layer)
