"""Layers that came without a module, such as those of a file, run on an input from the zero state.

Each depth is run by torch's own kernel for its cell where there is one, else step by step; the layer above is driven by
what the one below gives.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..cells import CELLS
from ..dynamics.adjoint import Arriving
from ..dynamics.replay import TOLERANCE, proven, replay
from ..dynamics.unroll import unroll
from ..kernels import KERNELS, fused
from ..layers import RecurrentLayer, Stack
from ..shapes import reversed_in_time
from ..trace import Adjoint, Trace
from .arithmetic import Arithmetic
from .felt import Felt


@dataclass(frozen=True, eq=False)
class PlayedStack:
    """A stack of layers and the input that it is run on; nothing was lost on it, so nothing is felt."""

    stack: Stack
    x: Float[Tensor, "time sequence feature"]
    lengths: Int[Tensor, "sequence"]
    stored_in: torch.dtype
    """The dtype of the weights where they came from."""
    felt: Felt = field(default_factory=Felt)

    @property
    def names(self) -> list[list[str]]:
        """For each depth, the name of each direction."""
        return [[layer.name for layer in depth] for depth in self.stack]

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic(self.x.dtype, self.x.device.type)

    @cached_property
    def traces(self) -> list[list[Trace]]:
        """For each depth, the trace of each direction."""
        x, found = self.x, []
        with torch.inference_mode(False), torch.no_grad():
            for depth in self.stack:
                layers = [layer.to(self.x.dtype) for layer in depth]
                traces = [_run(layer, x, self.lengths) for layer in layers]
                found.append(traces)
                x = torch.cat([trace.states["h"] for trace in traces], -1)
        return found

    @property
    def masks(self) -> list[Tensor | None]:
        """No dropout."""
        return [None] * (len(self.stack) - 1)

    def adjoints(self) -> list[list[Adjoint]]:
        """None: no loss was taken."""
        return []

    def arriving(self, depth: int, direction: int) -> Arriving:
        """Nothing."""
        return Arriving()


def _run(layer: RecurrentLayer, x: Tensor, lengths: Tensor) -> Trace:
    initial = layer.zeros(x.shape[1])
    kind = layer.cell.kind
    if layer.cell is not CELLS.get(kind) or kind not in KERNELS:  # a cell of one's own may bear a known kind's name
        return unroll(layer, x, initial, lengths)
    turned = layer.direction == "reverse"
    out, (final,) = fused([layer], reversed_in_time(x, lengths) if turned else x, [initial], lengths)
    h = reversed_in_time(out, lengths) if turned else out
    return proven(replay(layer, x, h, initial, lengths, final), layer, TOLERANCE[x.dtype], final)
