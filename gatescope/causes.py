"""Why a gradient reaches as far back as it does: what the other measures of a layer say beside its verdict, in words.

Only what the numbers say, with their intervals: nothing here calls anything good or bad.

    λ_1                    the rate at which nearby states come together or part, against the slope of the lag curve
    |K| / |dc| at the lag  what the memory's own gate carried, against what went through the recurrent weights
    τ_geo                  how long each unit's gate alone would keep a gradient, against the curve's horizon
    saturation             how often the gates are nearly shut or nearly open
    |W_hh|, as an operator a bound, and no rate
    K(0.1)                 steps of backpropagation that keep 90 % of the gradient of the weights
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .errors import InputError
from .measures.gate_statistics import ALWAYS, LEFT, RIGHT, GateStatistics
from .measures.intervals import Interval, bootstrap_interval
from .measures.lag_curve import LagCurve
from .measures.lyapunov import Lyapunov
from .measures.path_split import MEMORY_PATHS, PathSplit
from .measures.truncation import Truncation
from .measures.weights import LayerWeights
from .verdicts import attenuation, horizons
from .verdicts.reach import reach
from .verdicts.words import count

T = TypeVar("T")

HORIZON = 0.01
"""The fraction of the gradient whose horizons are compared."""
BIAS = 0.1
"""The relative bias for which a truncation length is said."""


def causes(measurements: Iterable[object], lag: int | None = None) -> tuple[str, ...]:
    """What the measurements of one layer say of its gradient, a sentence each; those that are absent say nothing.

    `lag` is the lag that the task needs; without it, or where the data do not reach it, the longest that they have.

    Raises:
        InputError: measurements of different layers.
    """
    one = _Layer.of(measurements)
    return (
        *_of_the_exponent(one, lag),
        *_of_the_paths(one, lag),
        *_of_the_time_constants(one, lag),
        *_of_saturation(one),
        *_of_the_bound(one),
        *_of_truncation(one),
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """The measurements of one layer that say something here."""

    curve: LagCurve | None = None
    lyapunov: Lyapunov | None = None
    split: PathSplit | None = None
    gates: GateStatistics | None = None
    weights: LayerWeights | None = None
    truncation: Truncation | None = None

    @classmethod
    def of(cls, measurements: Iterable[object]) -> "_Layer":
        known = [one for one in measurements if isinstance(one, _KINDS)]
        layers = sorted({one.layer for one in known})
        if len(layers) > 1:
            raise InputError(
                f"The measurements are of {', '.join(layers)}, and those of one layer are wanted; choose one."
            )
        return cls(
            _first(LagCurve, known),
            _first(Lyapunov, known),
            _first(PathSplit, known),
            _first(GateStatistics, known),
            _first(LayerWeights, known),
            _first(Truncation, known),
        )


_KINDS = (LagCurve, Lyapunov, PathSplit, GateStatistics, LayerWeights, Truncation)


def _first(kind: type[T], known: Iterable[object]) -> T | None:
    return next((one for one in known if isinstance(one, kind)), None)


def _of_the_exponent(one: _Layer, lag: int | None) -> Iterator[str]:
    if one.lyapunov is None:
        return
    exponents, steps = one.lyapunov.exponents, one.lyapunov.steps
    leading = int(exponents.mean(0).argmax())
    values = exponents[:, leading]
    if not np.isfinite(values).all():
        yield "The leading Lyapunov exponent is -inf: some step left nothing of a small difference in the state."
        return
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else one.lyapunov.standard_error[0, leading]
    within = "" if math.isnan(error) else f" ± {error:.2g} (standard error)"
    of = count(len(values), "sequence")
    found = (
        f"The leading Lyapunov exponent of this layer is {values.mean():.3g}{within} nats a step, over {of} of "
        f"{count(int(steps.max()), 'step')}"
    )
    rate = _rate(one, lag)
    if rate is None:
        yield f"{found}: at long lags the gradient changes at that rate."
        return
    first, last, slope = rate
    yield (
        f"{found}; the slope of the lag curve over lags {first} to {last} is {slope}: at long lags the two agree, "
        "unless a layer above keeps more."
    )


def _rate(one: _Layer, lag: int | None) -> tuple[int, int, Interval] | None:
    """The first and the last lag of the tail of the lag curve, and its slope."""
    if one.curve is None:
        return None
    longest = reach(one.curve, "pair")
    last = min(lag or longest, longest)
    slope = attenuation(one.curve, last).tail_slope
    return None if slope is None or slope.n < 2 else (math.ceil(last / 2), last, slope)


def _of_the_paths(one: _Layer, lag: int | None) -> Iterator[str]:
    if one.split is None:
        return
    split = one.split
    longest = int(np.sort(split.lengths)[len(split.lengths) // 2]) - 1
    at = max(1, min(lag or longest, longest))
    share = split.share[split.lengths >= at, at]
    share = share[~np.isnan(share)]
    if not len(share):
        return
    median = f"{_percent(float(np.median(share)))} %"
    if len(share) > 1 and np.ptp(share) > 0:
        low, high = bootstrap_interval(lambda drawn: np.median(share[drawn], axis=-1), len(share))
        median += f" [{_percent(low)}, {_percent(high)}]"
    kept = "cell state" if split.state == "c" else "old state"
    rest = (
        "other paths cancel a part of that"
        if np.median(share) > 1
        else "the rest went through the recurrent weights, or came from a layer above"
    )
    yield (
        f"Of the gradient of {split.state} {count(at, 'step')} back, what the {kept} alone carried, through the gate "
        f"{split.gate}, is {median} (median over {count(len(share), 'sequence')}); {rest}."
    )


def _of_the_time_constants(one: _Layer, lag: int | None) -> Iterator[str]:
    if one.gates is None or one.gates.keeping is None:
        return
    gates, gate = one.gates, one.gates.keeping
    tau = gates.tau_geo
    order = np.argsort(tau)
    middle, slowest = int(order[len(order) // 2]), int(order[-1])
    log = gates.interval(f"log {gate}", middle)
    ends = "" if gates.n < 2 else f" [{_steps(_tau(log.low))}, {_steps(_tau(log.high))}]"
    above = "" if lag is None else f"; in {int((tau > lag).sum())} of {len(tau)} units it is above the lag of {lag}"
    yield (
        f"Left to itself, the gate {gate} keeps 1/e of a gradient for {_steps(_tau(log.mean))}{ends} steps (time "
        f"constant of the median unit, over {count(gates.n, 'sequence')}){above}."
    )
    state, _ = MEMORY_PATHS[gates.cell]
    reached = () if one.curve is None else horizons(one.curve, quantity=state)
    horizon = next((found for found in reached if found.fraction == HORIZON), None)
    alone = gates.carousel_horizon(HORIZON)
    found = (
        f"By that gate alone a hundredth would be left after {_steps(alone[middle])} steps in that unit, "
        f"{_steps(alone[slowest])} in the slowest"
    )
    if horizon is None:
        yield f"{found}."
        return
    measured = f"{found}; measured, a hundredth of the gradient of {state} is left {horizon} steps back"
    reach = horizon.longest if horizon.lag is None else horizon.lag
    carries = reach > alone[slowest]
    yield measured + (": what reaches further is carried by the recurrent weights." if carries else ".")


_SIDES = ("left", "right")


def _of_saturation(one: _Layer) -> Iterator[str]:
    if one.gates is None:
        return
    gates = one.gates
    if gates.sigmoid:
        saturated = [gate for gate in gates.sigmoid if any(gates.counts[f"{side} {gate}"].any() for side in _SIDES)]
        if not saturated:
            never = f"is ever below {LEFT:g} or above {RIGHT:g}, over {count(gates.n, 'sequence')}"
            yield f"None of the gates {', '.join(gates.sigmoid)} {never}."
            return
        shares = (
            f"{gate} below {LEFT:g} in {_share(gates, f'left {gate}')} and above {RIGHT:g} in "
            f"{_share(gates, f'right {gate}')}"
            for gate in saturated
        )
        yield f"Of all steps and units, over {count(gates.n, 'sequence')}: {'; '.join(shares)}."
    elif one.gates.cell != "rnn-relu" and "saturated h" in gates.sequences.variables:
        yield (
            f"In {_share(gates, 'saturated h')} of all steps and units, over {count(gates.n, 'sequence')}, |h| is "
            f"above {ALWAYS:g}, where tanh is flat and lets little gradient through."
        )


def _of_the_bound(one: _Layer) -> Iterator[str]:
    if one.weights is None or (bound := one.weights.step_bound) is None:
        return
    largest = float(one.weights.blocks["h"].singular_values[0])
    found = f"The largest singular value of the recurrent weights is {largest:.4g}"
    if bound < 0:
        yield f"{found}, below 1, so that a gradient shrinks at every step, by a factor of {largest:.4g} at least."
        return
    yield (
        f"{found}, not below 1: as a bound this is inconclusive, since a gradient may then grow and need not, and it "
        "says nothing of the rate."
    )


def _of_truncation(one: _Layer) -> Iterator[str]:
    if one.truncation is None:
        return
    curve = one.truncation
    steps, each = curve.steps_for_sum(BIAS), curve.steps_for(BIAS)
    if steps < 0:
        return
    each = each[each >= 0]
    span = f" ({each.min()} to {each.max()} in single sequences)" if each.min() < each.max() else ""
    yield (
        f"Of {count(int(curve.lengths.max()), 'step')} of backpropagation the last {steps}{span} give the gradient of "
        f"the weights, summed over {count(curve.n, 'sequence')}, to within {100 * BIAS:g} %."
    )


def _tau(log: float) -> float:
    """The time constant of a mean logarithm of a gate."""
    return -1 / log if log < 0 else math.inf


def _share(gates: GateStatistics, quantity: str) -> str:
    whole = gates.interval(quantity)
    if gates.n < 2 or whole.low == whole.high:
        return f"{_percent(whole.mean)} %"
    return f"{_percent(whole.mean)} % [{_percent(max(0.0, whole.low))}, {_percent(min(1.0, whole.high))}]"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.3g}"


def _steps(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"
