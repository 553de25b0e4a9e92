"""One recorded call in float64, some sequences at a time: what its layers did, and what they felt of a gradient.

Three ways in which the gradient enters:

* as the loss sent it, all at once;
* from one step of the output alone, one source after the other: where a loss reads many steps, one backward pass mixes
  the lags of all, and the sum of the sources is that pass;
* from a random linear readout of h_n, where there is no loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..dynamics.adjoint import Arriving
from ..dynamics.injected import injected
from ..dynamics.precise import in_dtype
from ..dynamics.stack_sweep import sweep_stack
from ..dynamics.valid_part import valid_part, valid_part_of_adjoint, within
from ..errors import GatescopeError
from ..layers import Direction
from ..trace import Adjoint, Trace
from .cell_chain import CellChain
from .kept import Call, Refused
from .played import PlayedStack
from .recorder import Recorder
from .stack_call import StackCall

NOTICEABLE = 1e-4
"""Of the gradient that is felt at a step of a loop of cells: what enters there and is less is taken for rounding."""
MEMORY = 512 << 20
"""Bytes that the traces and adjoints of one layer may take at once; more sequences than fit are taken in turn."""
ALL = slice(None)


def linearised_calls(
    recorder: Recorder,
    *,
    readout: int | None = None,
    lengths: Int[Tensor, "sequence"] | None = None,
    dtype: torch.dtype = torch.float64,
) -> "list[LinearisedCall]":
    """The calls of a recording, in their order; each knows the next that its output may have gone into."""
    calls: list[LinearisedCall] = []
    after = None
    for call in reversed(recorder._kept.calls):
        here = LinearisedCall(_straight(call, dtype), readout, lengths, dtype, after if readout is None else None)
        after = here if here.felt else after
        calls.insert(0, here)
    return calls


def random_readout(sequences: int, units: int, *, seed: int) -> Float[Tensor, "direction sequence unit"]:
    """One random direction for each sequence and direction of a layer, the same on every device, of mean length 1."""
    drawn = torch.randn(2, sequences, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    readout: Tensor = drawn / units**0.5
    return readout


@dataclass(frozen=True, eq=False)
class LinearisedCall:
    """One call, ready to be looked at in float64, or in another dtype."""

    call: Call | PlayedStack
    readout: int | None
    """The seed of a random readout; None: the gradient is the loss's own."""
    given_lengths: Int[Tensor, "sequence"] | None
    """Where each sequence really ends, if the model was not told."""
    dtype: torch.dtype = torch.float64
    """In which it is linearised."""
    next: "LinearisedCall | None" = None
    """The next call that felt anything of the loss."""

    @property
    def names(self) -> list[str]:
        """The names of its layers."""
        return [name for depth in self.call.names for name in depth]

    @property
    def module(self) -> str:
        """The path of the module that was called; of layers without one, the first one's name."""
        return self.names[0] if isinstance(self.call, PlayedStack) else self.call.watched.path

    @property
    def felt(self) -> bool:
        """Whether there is any gradient to speak of."""
        return self.readout is not None or bool(self.call.felt)

    @property
    def sequences(self) -> int:
        return int(self.call.traces[0][0].x.shape[1])

    @property
    def ends(self) -> Int[Tensor, "sequence"]:
        """The number of valid steps of each sequence."""
        trace = self.call.traces[0][0]
        return trace.lengths if self.given_lengths is None else within(trace, self.given_lengths)

    @property
    def recorded(self) -> list[Trace]:
        """The traces as they were recorded; none of a call that could not be."""
        try:
            return [trace for depth in self.call.traces for trace in depth]
        except GatescopeError:
            return []

    @property
    def ran_in(self) -> torch.dtype:
        """The dtype in which the kernel multiplied."""
        return self.recorded[0].x.dtype if isinstance(self.call, Refused) else self.call.arithmetic.kernel

    @property
    def trained_in(self) -> torch.dtype:
        """The dtype of the parameters, in which their gradients are kept."""
        if isinstance(self.call, PlayedStack):
            return self.call.stored_in
        return next((p.dtype for p in self.call.watched.module.parameters()), self.recorded[0].x.dtype)

    @property
    def parts(self) -> list[slice]:
        """Sequences that may be looked at together."""
        trace = self.call.traces[0][0]
        widest = max(layer.hidden_size for layer in (one.layer for one in self.recorded))
        size = max(1, min(self.sequences, MEMORY // _bytes_of_a_sequence(trace.x, widest, self.dtype)))
        return [slice(start, min(start + size, self.sequences)) for start in range(0, self.sequences, size)]

    def traces(self, sequences: slice = ALL) -> Iterator[Trace]:
        """The traces, one layer after the other, from the first to the last."""
        for depth in self.call.traces:
            for trace in depth:
                yield valid_part(in_dtype(trace, self.dtype, sequences), self.ends[sequences])

    @cached_property
    def enters(self) -> Bool[Tensor, "time sequence"]:
        """Where the gradient enters, in any direction of the last layer."""
        return torch.stack([self._enters(d) for d in range(self._directions)]).any(0)

    @property
    def directions(self) -> tuple[Direction, ...]:
        return tuple(trace.layer.direction for trace in self.call.traces[-1])

    @cached_property
    def reader(self) -> "LinearisedCall | None":
        """The call of another module that read this one's steps, where the loss comes through it from one step alone.

        Two modules, one reading what the other gives, are then a stack like any other: the gradient that enters the
        lower one at every step is felt as that of the one step which the loss reads of the upper one.
        """
        upper = self.next
        if upper is None or not self._enters_many_steps or not upper.recorded or upper.mixes_lags:
            return None
        other = _module_of(upper.call) is not _module_of(self.call)
        as_long = upper.recorded[0].x.shape[:2] == self.recorded[0].x.shape[:2]
        return upper if other and as_long and (upper.next is None or upper.reader is not None) else None

    def reads_the_end(self, direction: Direction) -> bool:
        """Whether the loss reads a direction of the last layer after its last step, in any sequence."""
        if self.reader is not None:
            return direction in self.reader.directions and self.reader.reads_the_end(direction)
        at = self.directions.index(direction)
        rows = torch.arange(self.sequences, device=self.ends.device)
        return bool(self._enters(at)[_last_processed(self.call.traces[-1][at], self.ends), rows].any())

    @property
    def unread(self) -> tuple[Direction, ...]:
        """The directions that the loss does not read after their last step, if it reads one step alone."""
        return () if self.mixes_lags else tuple(d for d in self.directions if not self.reads_the_end(d))

    @property
    def mixes_lags(self) -> bool:
        """Whether one backward pass adds up the lags of several steps that the loss reads."""
        return self._enters_many_steps and self.reader is None

    @cached_property
    def _enters_many_steps(self) -> bool:
        """In some direction of some sequence."""
        return any(int(self._enters(d).sum(0).max()) > 1 for d in range(self._directions))

    def sources(self, direction: Direction, number: int, lag: int = 0) -> list[Int[Tensor, "sequence"]]:
        """Steps of the output that the loss reads, of each sequence one, evenly spread, with many lags before them.

        They lie within the last half of the shortest sequence, in the order in which the direction works, and leave
        room for `lag`.
        """
        shortest = int(self.ends.min())
        last = max(0, shortest - 1 - max(lag, shortest // 2))
        rows = torch.arange(self.sequences, device=self.ends.device)
        at = [self.ends - 1 - back if direction == "forward" else 0 * self.ends + back for back in range(last + 1)]
        read = [steps for steps in at if bool(self.enters[steps, rows].any())] or [self.last_read(direction)]
        places = torch.linspace(0, len(read) - 1, min(number, len(read))).round().int().tolist()
        return [read[place] for place in places]

    def last_read(self, direction: Direction) -> Int[Tensor, "sequence"]:
        """The step of each sequence that is the last, in the order in which a direction works, to be read."""
        found = self.enters.flip(0) if direction == "forward" else self.enters
        first = found.int().argmax(0)
        return len(found) - 1 - first if direction == "forward" else first

    @torch.no_grad()
    def adjoints(
        self, sequences: slice = ALL, *, source: Int[Tensor, "sequence"] | None = None, preactivations: bool = True
    ) -> Iterator[Adjoint]:
        """The adjoints, one layer after the other, from the last to the first.

        `source` is, for each of all sequences, the one step of the output from which a gradient is to enter. Without
        `preactivations` the first layer has the adjoints of its states alone, which is enough for a lag curve.
        """
        depths = len(self.call.names)

        def arriving_at(depth: int, d: int) -> Arriving:
            above = source is not None or self.readout is not None
            if above and depth + 1 < depths:
                return Arriving()
            whole = self._arriving(depth, d)
            arriving = whole if source is None else _from_one_step(whole, self.call.traces[depth][d], source)
            return Arriving(
                {name: values[:, sequences].to(self.dtype) for name, values in arriving.at_steps.items()},
                None if arriving.log_scale is None else arriving.log_scale[:, sequences],
                {name: values[sequences].to(self.dtype) for name, values in arriving.at_end.items()},
            )

        with torch.inference_mode(False):
            top_down = sweep_stack(
                depths,
                self._directions,
                lambda depth, d: in_dtype(self.call.traces[depth][d], self.dtype, sequences),
                arriving_at,
                [None if mask is None else mask[:, sequences].to(self.dtype) for mask in self.call.masks],
                preactivations=preactivations,
            )
            for depth in top_down:
                for adjoint in reversed(depth):
                    yield valid_part_of_adjoint(adjoint, self.ends[sequences])

    def of_the_last_step(self, sequences: slice = ALL) -> Iterator[Adjoint]:
        """The adjoints; where the loss reads many steps, of the last alone, in each layer's own direction."""
        if not self.mixes_lags:
            yield from self.adjoints(sequences)
            return
        for direction in self.directions:
            for adjoint in self.adjoints(sequences, source=self.last_read(direction)):
                if adjoint.layer.direction == direction:
                    yield adjoint

    @property
    def _directions(self) -> int:
        return len(self.call.names[0])

    def _arriving(self, depth: int, direction: int) -> Arriving:
        """What arrives at a layer from outside the call."""
        if self.readout is not None:
            h = self.call.traces[depth][direction].states["h"]
            return Arriving(at_end={"h": random_readout(*h.shape[1:], seed=self.readout)[direction].to(h.device)})
        return self._injected if isinstance(self.call, CellChain) else self.call.arriving(depth, direction)

    @cached_property
    def _injected(self) -> Arriving:
        return injected(self.call.adjoints()[0][0])

    def _enters(self, direction: int) -> Bool[Tensor, "time sequence"]:
        """Where the gradient enters one direction of the last layer; what comes after an end enters at the end."""
        trace = self.call.traces[-1][direction]
        arriving = self._arriving(len(self.call.names) - 1, direction)
        there = torch.zeros_like(trace.valid)
        for values in arriving.at_steps.values():
            size = values.abs().amax(-1)
            there |= ~(size <= (0 if arriving.log_scale is None else NOTICEABLE))  # NaN enters too
        time, sequence = there.nonzero(as_tuple=True)
        enters = torch.zeros_like(there)
        enters[time.minimum(self.ends[sequence] - 1), sequence] = True
        if arriving.at_end:
            enters[_last_processed(trace, self.ends), torch.arange(len(self.ends), device=enters.device)] = True
        return enters


def _module_of(call: Call | PlayedStack) -> object:
    return call if isinstance(call, PlayedStack) else call.watched.module


def _straight(call: Call, dtype: torch.dtype) -> Call:
    """The call replayed in `dtype` at once, where that fits; else each part of it is widened when its turn comes."""
    if not isinstance(call, StackCall):
        return call
    layers = [layer for depth in call.stack for layer in depth]
    widest = max(layer.hidden_size for layer in layers)
    whole = len(layers) * call.x.shape[1] * _bytes_of_a_sequence(call.x, widest, dtype)
    return call.in_dtype(dtype) if whole <= MEMORY else call


def _bytes_of_a_sequence(x: Tensor, units: int, dtype: torch.dtype) -> int:
    """What the trace and the adjoint of one sequence take."""
    return int(dtype.itemsize * len(x) * (x.shape[2] + _KEPT * units))


_KEPT = 16
"""About so many numbers a unit and step: gates, states and their adjoints."""


def _last_processed(trace: Trace, ends: Int[Tensor, "sequence"]) -> Int[Tensor, "sequence"]:
    return ends - 1 if trace.layer.direction == "forward" else torch.zeros_like(ends)


def _from_one_step(whole: Arriving, trace: Trace, source: Int[Tensor, "sequence"]) -> Arriving:
    """What arrives at one step of each sequence, and nothing else."""
    source = source.to(trace.lengths.device)
    here = torch.arange(len(trace.x), device=source.device)[:, None] == source
    at_the_end = source == _last_processed(trace, trace.lengths)
    return Arriving(
        {name: values.where(here[..., None], 0) for name, values in whole.at_steps.items()},
        whole.log_scale,
        {name: values.where(at_the_end[:, None], 0) for name, values in whole.at_end.items()},
    )
