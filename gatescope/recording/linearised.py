"""One recorded call in float64, some sequences at a time: what its layers did, and what they felt of a gradient.

Three ways in which the gradient enters:

* as the loss sent it, all at once;
* from one step of the output alone, one source after the other: where a loss reads many steps, one backward pass mixes
  the lags of all, and the sum of the sources is that pass;
* from a random linear readout of h_n, where there is no loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from ..dynamics.adjoint import Arriving
from ..dynamics.precise import in_dtype
from ..dynamics.stack_sweep import sweep_stack
from ..dynamics.valid_part import valid_part, valid_part_of_adjoint
from ..trace import Adjoint, Trace
from .arrivals import from_one_step
from .kept import Call, Refused
from .played import PlayedStack
from .read_call import ReadCall
from .recorder import Recorder
from .stack_call import StackCall

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
    """The calls of a recording, in their order."""
    paths, calls = recorder._kept.paths, dict[int, LinearisedCall]()
    for place, call in reversed([*enumerate(recorder._kept.calls)]):
        upper = calls.get(paths.reader.get(place, -1)) if readout is None else None
        read = {int(name.partition("@")[2]) for name in paths.read.get(place, ()) if "@" in name}
        itself = place in paths.feeds_itself
        calls[place] = LinearisedCall(
            call=_straight(call, dtype),
            readout=readout,
            given_lengths=lengths,
            upper=upper,
            read=frozenset(read),
            feeds_itself=itself,
            dtype=dtype,
        )
    return [calls[place] for place in sorted(calls)]


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearisedCall(ReadCall):
    """One call, ready to be looked at in float64, or in another dtype."""

    dtype: torch.dtype = torch.float64
    """In which it is linearised."""

    @property
    def parts(self) -> list[slice]:
        """Sequences that may be looked at together."""
        trace = self.call.traces[0][0]
        widest = max(layer.hidden_size for layer in (one.layer for one in self.recorded))
        size = max(1, min(self.sequences, MEMORY // _bytes_of_a_sequence(trace.x, widest, self.dtype)))
        return [slice(start, min(start + size, self.sequences)) for start in range(0, self.sequences, size)]

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

    def traces(self, sequences: slice = ALL) -> Iterator[Trace]:
        """The traces, one layer after the other, from the first to the last."""
        for depth in self.call.traces:
            for trace in depth:
                yield valid_part(in_dtype(trace, self.dtype, sequences), self.ends[sequences])

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
            if self.readout is not None and depth + 1 < depths:
                return Arriving()
            whole = self._arriving(depth, d)
            arriving = whole if source is None else from_one_step(whole, self.call.traces[depth][d], source)
            scale = arriving.log_scale
            return replace(
                arriving,
                at_steps={name: values[:, sequences].to(self.dtype) for name, values in arriving.at_steps.items()},
                log_scale=None if scale is None else scale[:, sequences],
                at_end={name: values[sequences].to(self.dtype) for name, values in arriving.at_end.items()},
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
