"""One recorded call, and where its loss reads it: at which steps a gradient enters, and through which other call.

What has to be known before a lag can be counted: a lag runs from the step that the loss reads, in the order in which a
direction works.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..dynamics.adjoint import Arriving
from ..dynamics.injected import injected
from ..dynamics.valid_part import within
from ..errors import GatescopeError
from ..layers import Direction
from ..trace import Trace
from .arrivals import last_processed, random_readout
from .cell_chain import CellChain
from .kept import Call
from .played import PlayedStack

NOTICEABLE = 1e-4
"""Of the gradient that is felt at a step of a loop of cells: what enters there and is less is taken for rounding."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadCall:
    """One call, and what reads it."""

    call: Call | PlayedStack
    readout: int | None
    """The seed of a random readout; None: the gradient is the loss's own."""
    given_lengths: Int[Tensor, "sequence"] | None
    """Where each sequence really ends, if the model was not told."""
    upper: "ReadCall | None" = None
    """The call through which alone the loss comes to this one, where that is known."""
    read: frozenset[int] = frozenset()
    """Of a loop of cells, the steps to which the loss has a path of their own; empty where that is not known."""
    feeds_itself: bool = False
    """Whether the input of a loop of cells comes from its own output."""

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
    def directions(self) -> tuple[Direction, ...]:
        return tuple(trace.layer.direction for trace in self.call.traces[-1])

    @cached_property
    def enters(self) -> Bool[Tensor, "time sequence"]:
        """Where the gradient enters, in any direction of the last layer."""
        return torch.stack([self._enters(d) for d in range(self._directions)]).any(0)

    @property
    def mixes_lags(self) -> bool:
        """Whether one backward pass adds up the lags of several steps that the loss reads."""
        return self._enters_many_steps and self.reader is None

    @cached_property
    def reader(self) -> "ReadCall | None":
        """The call that read this one's steps, where the loss comes through it alone, and from one of its steps.

        Two modules, one reading what the other gives, are then a stack like any other: the gradient that enters the
        lower one at every step is felt as that of the one step which the loss reads of the upper one.
        """
        upper = self.upper
        if upper is None or not self._enters_many_steps or not upper.recorded or upper.mixes_lags:
            return None
        return upper if upper.recorded[0].x.shape[:2] == self.recorded[0].x.shape[:2] else None

    @property
    def entangled(self) -> bool:
        """Whether what comes back to one step cannot be told from what comes back to others.

        So it is in a loop that feeds itself and whose loss reads many of its steps: the gradient at an output is that
        of the loss there and of all later steps, by way of the input, where no one step can be taken by itself.
        """
        return self.readout is None and self.feeds_itself and len(self.read) > 1

    def reads_the_end(self, direction: Direction) -> bool:
        """Whether the loss reads a direction of the last layer after its last step, in any sequence."""
        if self.reader is not None:
            return direction in self.reader.directions and self.reader.reads_the_end(direction)
        at = self.directions.index(direction)
        rows = torch.arange(self.sequences, device=self.ends.device)
        return bool(self._enters(at)[last_processed(self.call.traces[-1][at], self.ends), rows].any())

    @property
    def reads_ends_alone(self) -> bool:
        """Whether the loss reads each direction after its last step and nowhere else, as by h_n."""
        rows = torch.arange(self.sequences, device=self.ends.device)
        rest = self.enters.clone()
        for d, _ in enumerate(self.directions):
            rest[last_processed(self.call.traces[-1][d], self.ends), rows] = False
        return not bool(rest.any())

    @property
    def unread(self) -> tuple[Direction, ...]:
        """The directions that the loss does not read after their last step, if it reads one step alone."""
        return () if self.mixes_lags else tuple(d for d in self.directions if not self.reads_the_end(d))

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

    @cached_property
    def _enters_many_steps(self) -> bool:
        """In some direction of some sequence; in a stack in both together, for they meet in the layers below."""
        if len(self.call.names) > 1:
            return int(self.enters.sum(0).max()) > 1
        return any(int(self._enters(d).sum(0).max()) > 1 for d in range(self._directions))

    @property
    def _directions(self) -> int:
        return len(self.call.names[0])

    def _arriving(self, depth: int, direction: int) -> Arriving:
        """What arrives at a layer from outside the call."""
        if self.readout is not None:
            h = self.call.traces[depth][direction].states["h"]
            return Arriving(at_end={"h": random_readout(*h.shape[1:], seed=self.readout)[direction].to(h.device)})
        whole = self.call.arriving(depth, direction)
        return self._injected if isinstance(self.call, CellChain) and not self.feeds_itself else whole

    @cached_property
    def _injected(self) -> Arriving:
        return injected(self.call.adjoints()[0][0])

    def _enters(self, direction: int) -> Bool[Tensor, "time sequence"]:
        """Where the gradient enters one direction of the last layer; what comes after an end enters at the end."""
        trace = self.call.traces[-1][direction]
        there = torch.zeros_like(trace.valid)
        if self.feeds_itself and self.readout is None:
            there[sorted(self.read)] = True
            return there
        arriving = self._arriving(len(self.call.names) - 1, direction)
        for values in arriving.at_steps.values():
            size = values.abs().amax(-1)
            there |= ~(size <= (0 if arriving.log_scale is None else NOTICEABLE))  # NaN enters too
        if self.read and self.readout is None:  # of a slice of all steps, all are in the graph; zero enters at most
            there &= torch.isin(
                torch.arange(len(there), device=there.device), torch.tensor(sorted(self.read), device=there.device)
            )[:, None]
        time, sequence = there.nonzero(as_tuple=True)
        enters = torch.zeros_like(there)
        enters[time.minimum(self.ends[sequence] - 1), sequence] = True
        if arriving.at_end:
            enters[last_processed(trace, self.ends), torch.arange(len(self.ends), device=enters.device)] = True
        return enters
