"""What one recording has kept so far: its calls, in their order, and what is needed to number and share them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..dynamics.adjoint import Arriving
from ..errors import GatescopeError
from ..trace import Adjoint, Trace
from .cell_chain import CellChain
from .felt import Felt
from .paths import Paths, paths
from .stack_call import StackCall
from .watch import Watched


@dataclass(frozen=True, eq=False)
class Refused:
    """A call that cannot be recorded, and why."""

    watched: Watched
    error: GatescopeError
    call: int
    felt: Felt = field(default_factory=Felt)

    @property
    def names(self) -> list[list[str]]:
        path, again = self.watched.path, f"#{self.call}" if self.call else ""
        if not self.watched.is_stack:
            return [[(path or "cell") + again]]
        return [[(f"{path}.l0" if path else "l0") + again]]

    @property
    def traces(self) -> list[list[Trace]]:
        raise self.error

    def adjoints(self) -> list[list[Adjoint]]:
        raise self.error

    @property
    def masks(self) -> list[Tensor | None]:
        raise self.error

    def arriving(self, depth: int, direction: int) -> Arriving:
        raise self.error


Call = StackCall | CellChain | Refused
"""One call of a recurrent module, or one loop over a cell."""


@dataclass(eq=False)
class Kept:
    """What one recording has kept so far."""

    calls: list[Call] = field(default_factory=list)
    passes: dict[int, int] = field(default_factory=dict)
    """How often each watched module, and the model, was called."""
    called: dict[int, int] = field(default_factory=dict)
    """How many calls of each module were kept."""
    open: dict[int, CellChain] = field(default_factory=dict)
    """The loops that may go on, by the identity of the h that they gave last."""
    weights: dict[int, Tensor] = field(default_factory=dict)
    checked: dict[int, object] = field(default_factory=dict)
    swept: dict[int, tuple[int, list[list[Adjoint]]]] = field(default_factory=dict)
    rng: Tensor | None = None
    elsewhere: int = 0
    paths: Paths = field(default_factory=Paths)
    """How the loss comes to the calls, where it was looked for."""

    def count(self, module: nn.Module) -> int:
        """The number of this call of a module, and one more for the next."""
        call = self.called.get(id(module), 0)
        self.called[id(module)] = call + 1
        return call

    def copy_of(self, weight: Tensor) -> Tensor:
        """A copy of a weight, shared by all calls between two changes of it."""
        before = self.weights.get(id(weight))
        same = before is not None and (before.dtype, before.device) == (weight.dtype, weight.device)
        if before is None or not same or not torch.equal(before, weight):
            before = self.weights[id(weight)] = weight.detach().clone()
        return before

    def follow(self, loss: Tensor) -> None:
        """Looks how a loss comes to each of the calls, and lets go of its graph."""
        self.paths = paths(loss, [call.felt.places for call in self.calls])
        for call in self.calls:
            call.felt.places.forget()

    def stop(self) -> None:
        """Listens to no more gradients."""
        for call in self.calls:
            call.felt.stop()
