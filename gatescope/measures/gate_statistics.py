"""How each gate of each unit is used over all steps of all sequences, in a value that can be added to another.

    saturation       left P(g < 0.1), right P(g > 0.9)          Karpathy, Johnson & Li 2015 (unverified)
    learnability     E[g (1 − g)] / ¼, 1 where the sigmoid is steepest, 0 where it is flat
    entropy          E[H₂(g)], and that of g's histogram over ten bins, in bits
    time constants   τ_geo = −1 / E[ln f]     exact: prod f = exp(−k / τ_geo)
    in steps         τ_arith = −1 / ln E[f]   Mahto et al. 2021
                     τ_leak = 1 / (1 − E[f])  Tallec & Ollivier 2018;    τ_geo ≤ τ_arith ≤ τ_leak
    coupling         corr(i, 1 − f), E|i − (1 − f)|, and the correlation of every two gates
    cell             E|c|, slope of |c_t| over t, max |c_t| / t, P(|c| > 2)

Over valid steps only, in float64 of the numbers as they were recorded (a float32 gate of exactly 1 has no finite τ).
The time constants are of the gate that keeps the memory: f, or a GRU's z. Sums, counts and central moments are kept, so
that the statistics of two parts of the data add up to those of the whole, in memory that does not grow with it. Steps
follow one another and are no independent samples: intervals are Student's t over sequences, of which each is in one
part. Every gate but a candidate (`g`, `n`) is taken for one between 0 and 1.

This is one file because all of it is one pass over the same numbers, into one value.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from operator import add
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError
from ..layers import Direction
from ..trace import Trace
from .intervals import CONFIDENCE, Interval
from .moments import Moments, moments_of
from .path_split import MEMORY_PATHS

if TYPE_CHECKING:
    import pandas

LEFT, RIGHT = 0.1, 0.9
"""Below and above, a gate counts as saturated; Karpathy, Johnson & Li 2015 (unverified)."""
ALWAYS = 0.99
"""The share of steps from which a gate is "always" open or closed, and |h| above which h is saturated; ours."""
FROZEN = 1e-3
"""The standard deviation below which a gate does not move; ours."""
TOGGLING = 0.1
"""The share of steps on either side from which a gate goes to and fro; ours."""
DEAD = 1e-6
"""A unit is dead whose h varies less than this times the median unit; ours."""
CLOSING = 2.0
"""Above this |c|, less than 1 − tanh²(2) = 0.07 of the gradient gets from h into the cell."""
BINS = 10

CANDIDATES = ("g", "n")
"""The gates between -1 and 1."""


@dataclass(frozen=True, eq=False)
class GateStatistics:
    """The statistics of one layer; `a + b` are those of the sequences of both."""

    measure: ClassVar[str] = "gate_statistics"

    layer: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    direction: Direction
    gates: tuple[str, ...]
    n: int
    """The number of sequences."""
    steps: int
    """The number of valid steps, of all sequences."""
    counts: Mapping[str, Int[np.ndarray, "_ *bin"]]
    """By quantity, such as `left f` or `histogram f`, the number of steps in which it was so."""
    sums: Mapping[str, Float[np.ndarray, "unit"]]
    """By quantity, such as `entropy f`, the sum over steps."""
    largest: Mapping[str, Float[np.ndarray, "unit"]]
    moments: Moments
    """Over steps, of the gates and of |c| and t (the step in processing order, from 1)."""
    hidden: Moments
    """Over steps, of h; its units are a projection's, where there is one."""
    sequences: Moments
    """Over sequences, of the mean of each; the last unit is the mean over units. Not of a projected h."""

    def __add__(self, other: "GateStatistics") -> "GateStatistics":
        """Of both together; the sequences of one are to be others than those of the other.

        Two calls of one module, `l0` and `l0#1`, make one `l0`.
        """
        mine, yours = ((one.layer.partition("#")[0], one.cell, one.moments.mean.shape) for one in (self, other))
        if mine != yours:
            raise InputError(
                f"Statistics of {self.layer} ({self.cell}) were to be added to those of {other.layer} ({other.cell}), "
                "and two parts of the data of one layer are wanted; add layer by layer."
            )
        return replace(
            self,
            layer=self.layer if self.layer == other.layer else mine[0],
            n=self.n + other.n,
            steps=self.steps + other.steps,
            counts=_both(self.counts, other.counts, np.add),
            sums=_both(self.sums, other.sums, np.add),
            largest=_both(self.largest, other.largest, np.maximum),
            moments=self.moments + other.moments,
            hidden=self.hidden + other.hidden,
            sequences=self.sequences + other.sequences,
        )

    @property
    def sigmoid(self) -> tuple[str, ...]:
        """The gates between 0 and 1."""
        return tuple(gate for gate in self.gates if gate not in CANDIDATES)

    @property
    def keeping(self) -> str | None:
        """The gate that keeps the memory; None for a cell that has none."""
        return _keeping(self.cell)

    def share(self, quantity: str) -> Float[np.ndarray, "unit"]:
        """The share of steps of a quantity of `counts`, such as `left f`, `right f`, `saturated h`, `beyond c`."""
        return np.asarray(self._of(self.counts, quantity) / self.steps)

    def mean(self, quantity: str) -> Float[np.ndarray, "unit"]:
        """The mean over steps of a gate, of h, of |c| (`|c|`), or of a quantity of `sums`, such as `entropy f`."""
        for moments in (self.moments, self.hidden):
            if quantity in moments.variables:
                return np.asarray(moments.mean[moments.variables.index(quantity)])
        return np.asarray(self._of(self.sums, quantity) / self.steps)

    def sd(self, name: str) -> Float[np.ndarray, "unit"]:
        """The standard deviation over steps of a gate, of h or of |c|."""
        return (self.hidden if name == "h" else self.moments).sd(name)

    def correlation(self, first: str, second: str) -> Float[np.ndarray, "unit"]:
        """Of two gates over steps, NaN where one is constant; corr(i, 1 − f) is minus that of i and f."""
        for gate in (first, second):
            if gate not in self.gates or first == second:
                raise InputError(
                    f"{self.layer}: the correlation of {first} and {second} was asked for; choose two of the gates "
                    f"{', '.join(self.gates) or '(there are none)'}."
                )
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self.moments.product(first, second) / (self.sd(first) * self.sd(second) * self.steps)
        return np.asarray(np.clip(found, -1, 1))

    def interval(self, quantity: str, unit: int | None = None) -> Interval:
        """The mean over sequences of each one's own mean, with Student's t; of one unit, or of the mean over units.

        Of sequences of different lengths each counts the same here, where `mean` and `share` count steps.
        """
        if quantity not in self.sequences.variables:
            raise InputError(
                f"{self.layer}: an interval of {quantity!r} was asked for; choose one of "
                f"{', '.join(self.sequences.variables)}."
            )
        k, at = self.sequences.variables.index(quantity), -1 if unit is None else unit
        mean, n = float(self.sequences.mean[k, at]), self.n
        if n < 2:
            return Interval(mean, -np.inf, np.inf, n)
        from scipy.stats import t

        half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.sqrt(self.sequences.squares[k, at] / (n - 1) / n))
        return Interval(mean, mean - half, mean + half, n)

    def histogram_entropy(self, gate: str) -> Float[np.ndarray, "unit"]:
        """Of the gate's values over ten equal bins, in bits: 0 for one bin, log2 10 = 3.32 for all alike."""
        share = self._of(self.counts, f"histogram {gate}") / self.steps
        return np.asarray(-np.sum(share * np.log2(np.where(share > 0, share, 1)), axis=1))

    @property
    def coupling(self) -> Float[np.ndarray, "unit"]:
        """corr(i, 1 − f) of an LSTM: 1 where it writes as much as it forgets."""
        return -self.correlation("i", "f")

    @property
    def tau_geo(self) -> Float[np.ndarray, "unit"]:
        """−1 / E[ln f] in steps: the carousel decays as exp(−k / τ_geo), exactly; inf for a gate that was always 1."""
        with np.errstate(divide="ignore"):
            return np.asarray(1 / np.abs(self.mean(f"log {self._keeps}")))

    @property
    def tau_arith(self) -> Float[np.ndarray, "unit"]:
        """−1 / ln E[f] in steps, never below `tau_geo`."""
        with np.errstate(divide="ignore"):
            return np.asarray(1 / np.abs(np.log(self.mean(self._keeps))))

    @property
    def tau_leak(self) -> Float[np.ndarray, "unit"]:
        """1 / (1 − E[f]) in steps: how far back a leaky integrator of that mean looks."""
        with np.errstate(divide="ignore"):
            return np.asarray(1 / (1 - self.mean(self._keeps)))

    @property
    def half_life(self) -> Float[np.ndarray, "unit"]:
        """τ_geo ln 2: the steps after which the carousel has half of the gradient."""
        return self.carousel_horizon(0.5)

    def carousel_horizon(self, fraction: float) -> Float[np.ndarray, "unit"]:
        """−τ_geo ln(fraction): the steps after which the carousel alone has that fraction of the gradient.

        What the recurrent weights carry is not in it: the horizon of the whole gradient is read from the lag curve.
        """
        return np.asarray(-self.tau_geo * np.log(fraction))

    @property
    def drift(self) -> Float[np.ndarray, "unit"]:
        """The least-squares slope of |c_t| over t, a step; NaN where there is one step only."""
        if "|c|" not in self.moments.variables:
            raise InputError(f"{self.layer} is a {self.cell} cell, which has no cell state; ask this of an LSTM.")
        with np.errstate(invalid="ignore"):
            squares = self.moments.squares[self.moments.variables.index("t")]
            slope: np.ndarray = self.moments.product("|c|", "t") / squares
        return slope

    def always_open(self, gate: str) -> Bool[np.ndarray, "unit"]:
        """In more than 99 % of the steps above 0.9."""
        return np.asarray(self.share(f"right {gate}") > ALWAYS)

    def always_closed(self, gate: str) -> Bool[np.ndarray, "unit"]:
        """In more than 99 % of the steps below 0.1."""
        return np.asarray(self.share(f"left {gate}") > ALWAYS)

    def frozen(self, gate: str) -> Bool[np.ndarray, "unit"]:
        """With a standard deviation over all steps below 1e-3."""
        return np.asarray(self.sd(gate) < FROZEN)

    def toggling(self, gate: str) -> Bool[np.ndarray, "unit"]:
        """In more than a tenth of the steps below 0.1 and in more than a tenth above 0.9."""
        return np.asarray((self.share(f"left {gate}") > TOGGLING) & (self.share(f"right {gate}") > TOGGLING))

    @property
    def dead(self) -> Bool[np.ndarray, "unit"]:
        """Units whose h varies less than 1e-6 times what the median unit's does, or not at all."""
        sd = self.sd("h")
        return np.asarray((sd < DEAD * np.median(sd)) | (sd == 0))

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, hidden_unit, value, low, high, unit.

        `hidden_unit` is missing where the number is of the layer: the mean over units and over sequences, each
        sequence counting the same, with the ends `low` and `high` of its 95 % interval over sequences.
        """
        import pandas

        parts: list[dict[str, object]] = []
        for quantity, values, unit in self._rows():
            parts.append({"quantity": quantity, "hidden_unit": np.arange(len(values)), "value": values, "unit": unit})
            if quantity in self.sequences.variables:
                whole = self.interval(quantity)
                ends = {"value": [whole.mean], "low": whole.low, "high": whole.high}
                parts.append({"quantity": quantity, "hidden_unit": pandas.NA, **ends, "unit": unit})
        frame = pandas.concat([pandas.DataFrame(part) for part in parts], ignore_index=True)
        frame = frame.astype({"hidden_unit": "Int64"})
        frame = frame.assign(layer=self.layer, direction=self.direction, measure=self.measure)
        columns = ["layer", "direction", "measure", "quantity", "hidden_unit", "value", "low", "high", "unit"]
        return frame.reindex(columns=columns)

    @property
    def _keeps(self) -> str:
        if self.keeping is None:
            raise InputError(
                f"{self.layer} is a {self.cell} cell, which keeps no state by a gate and has no such time constant; "
                "ask this of an LSTM or a GRU."
            )
        return self.keeping

    def _of(self, named: Mapping[str, np.ndarray], quantity: str) -> np.ndarray:
        if quantity not in named:
            raise InputError(f"{self.layer}: {quantity!r} was asked for; choose one of {', '.join(named)}.")
        return named[quantity]

    def _rows(self) -> Iterator[tuple[str, np.ndarray, str]]:
        for quantity, counts in self.counts.items():
            if counts.ndim == 1:
                yield quantity, self.share(quantity), "1"
        for name in (*self.gates, "h"):
            yield name, self.mean(name), "1"
            yield f"sd {name}", self.sd(name), "1"
        for quantity in self.sums:
            yield quantity, self.mean(quantity), _UNITS.get(quantity.split()[0], "1")
        for gate in self.sigmoid:
            yield f"histogram entropy {gate}", self.histogram_entropy(gate), "bit"
        for first, second in combinations(self.gates, 2):
            yield f"correlation {first} {second}", self.correlation(first, second), "1"
        if {"i", "f"} <= {*self.gates}:
            yield "coupling", self.coupling, "1"
        if self.keeping:
            for name in ("tau_geo", "tau_arith", "tau_leak", "half_life"):
                yield name, getattr(self, name), "step"
        if "|c|" in self.moments.variables:
            yield "|c|", self.mean("|c|"), "1"
            yield "drift", self.drift, "1/step"
            yield "|c|/t", self.largest["|c|/t"], "1/step"


def gate_statistics(trace: Trace) -> GateStatistics:
    """The statistics of one recorded layer; those of further batches can be added to them.

    Raises:
        InputError: a gate that is no candidate (`g`, `n`) leaves the range from 0 to 1.
    """
    numbers = len(trace.x) * trace.layer.hidden_size * (len(trace.layer.cell.gates) + 3)
    at_once = max(1, _AT_ONCE // numbers)
    parts = (slice(first, first + at_once) for first in range(0, len(trace.lengths), at_once))
    return reduce(add, (_of_all(_some_sequences(trace, part)) for part in parts))


_AT_ONCE = 2_000_000
"""So many numbers are held in float64 at once; a sequence is never cut."""
_UNITS = {"entropy": "bit", "log": "nats"}


def _keeping(kind: str) -> str | None:
    return MEMORY_PATHS[kind][1] if kind in MEMORY_PATHS else None


def _some_sequences(trace: Trace, part: slice) -> Trace:
    gates, states = ({name: v[:, part] for name, v in named.items()} for named in (trace.gates, trace.states))
    initial = {name: values[part] for name, values in trace.initial.items()}
    return replace(trace, x=trace.x[:, part], gates=gates, states=states, initial=initial, lengths=trace.lengths[part])


def _of_all(trace: Trace) -> GateStatistics:
    valid, cell = trace.valid, trace.layer.cell

    def chosen(values: Tensor) -> Tensor:
        """[step of a sequence, unit], no step after an end."""
        return values[valid].double()

    gates = {name: chosen(trace.gates[name]) for name in cell.gates}
    h = chosen(trace.states["h"])
    so: dict[str, Tensor] = {"saturated h": h.abs() > ALWAYS}
    histograms, amounts = {}, {}
    for name, values in gates.items():
        if name in CANDIDATES:
            so[f"saturated {name}"] = values.abs() > ALWAYS
            continue
        if bool(((values < 0) | (values > 1)).any()):
            raise InputError(
                f"{trace.name}: the gate {name} reaches from {float(values.min()):.3g} to {float(values.max()):.3g}, "
                "and one between 0 and 1 is wanted; call a candidate g or n."
            )
        so[f"left {name}"], so[f"right {name}"] = values < LEFT, values > RIGHT
        histograms[f"histogram {name}"] = _histogram(values)
        amounts[f"learnability {name}"] = 4 * values * (1 - values)
        amounts[f"entropy {name}"] = -(torch.xlogy(values, values) + torch.xlogy(1 - values, 1 - values)) / math.log(2)
        if name == _keeping(cell.kind):
            amounts[f"log {name}"] = values.log()
    if {"i", "f"} <= gates.keys():
        amounts["|i-(1-f)|"] = (gates["i"] - (1 - gates["f"])).abs()
    if "n" in gates and h.shape == gates["n"].shape:
        amounts["|h-n|"] = (chosen(trace.previous["h"]) - gates["n"]).abs()
    variables, pairs = dict(gates), [*combinations(gates, 2)]
    largest: dict[str, Tensor] = {}
    if "c" in trace.states:
        step = torch.arange(1.0, len(trace.x) + 1, device=h.device)[:, None].expand(valid.shape)
        t = chosen(trace.in_processing_order(step)[..., None])
        variables["|c|"] = chosen(trace.states["c"]).abs()
        variables["t"] = t.expand_as(variables["|c|"])
        pairs.append(("|c|", "t"))
        so["beyond c"] = variables["|c|"] > CLOSING
        largest["|c|/t"] = (variables["|c|"] / t).amax(0)
    by_sequence = {**so, **amounts, **{name: values for name, values in variables.items() if name != "t"}, "h": h}
    if h.shape[-1] != trace.layer.hidden_size:
        by_sequence = {name: values for name, values in by_sequence.items() if name not in {"h", "saturated h"}}
    return GateStatistics(
        layer=trace.name,
        cell=cell.kind,
        direction=trace.layer.direction,
        gates=cell.gates,
        n=len(trace.lengths),
        steps=int(trace.lengths.sum()),
        counts=_arrays({name: values.sum(0) for name, values in so.items()} | histograms),
        sums=_arrays({name: values.sum(0) for name, values in amounts.items()}),
        largest=_arrays(largest),
        moments=moments_of(variables or {"": h[:, :0]}, tuple(pairs)),
        hidden=moments_of({"h": h}, ()),
        sequences=moments_of(_means(by_sequence, valid), ()),
    )


def _means(named: Mapping[str, Tensor], valid: Bool[Tensor, "time sequence"]) -> dict[str, Tensor]:
    """The mean of each sequence over its steps, `[sequence, unit]`, with the mean over units as a last unit."""
    of = valid.nonzero()[:, 1]
    lengths = valid.sum(0)[:, None]

    def means(values: Tensor) -> Tensor:
        sums = torch.zeros(valid.shape[1], values.shape[1], dtype=torch.float64, device=values.device)
        each = sums.index_add_(0, of, values.double()) / lengths
        return torch.cat([each, each.mean(1, keepdim=True)], 1)

    return {name: means(values) for name, values in named.items()}


def _histogram(values: Float[Tensor, "observation unit"]) -> Int[Tensor, "unit bin"]:
    units = values.shape[1]
    which = (values * BINS).nan_to_num().long().clamp(max=BINS - 1)
    which = torch.where(values.isnan(), BINS, which)  # one bin more, for what is not a number
    which = which * units + torch.arange(units, device=values.device)
    return torch.bincount(which.flatten(), minlength=(BINS + 1) * units).view(BINS + 1, units)[:BINS].T.contiguous()


def _arrays(named: Mapping[str, Tensor]) -> Mapping[str, np.ndarray]:
    return MappingProxyType({name: values.cpu().numpy() for name, values in named.items()})


def _both(
    mine: Mapping[str, np.ndarray], yours: Mapping[str, np.ndarray], joined: Callable[..., np.ndarray]
) -> Mapping[str, np.ndarray]:
    return MappingProxyType({name: joined(values, yours[name]) for name, values in mine.items()})
