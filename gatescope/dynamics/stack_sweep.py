"""The adjoint sweep of a whole stack: what the loss felt at each layer is what the layer above felt at its input.

g_t of layer l  +=  δa_t of layer l+1 · W_ih        through the mask of the dropout between them, if any
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from ..trace import Adjoint, Trace
from .adjoint import Arriving, at_input, sweep
from .scaled import Scaled

TraceAt = Callable[[int, int], Trace]
"""(depth, direction) -> the trace to sweep along, asked for when it is needed."""
ArrivingAt = Callable[[int, int], Arriving]
"""(depth, direction) -> what arrives there from outside the stack."""


def sweep_stack(
    depths: int,
    directions: int,
    trace_at: TraceAt,
    arriving_at: ArrivingAt,
    masks: Sequence[Tensor | None],
    *,
    preactivations: bool = True,
) -> Iterator[list[Adjoint]]:
    """The adjoints of each depth, one a direction, from the top down; no more than one depth is held at once.

    `masks[depth]` is what the output of that depth was multiplied by on its way to the next. The ground floor may do
    without the adjoints of its pre-activations; the others hand on through theirs.
    """
    from_above: list[tuple[Tensor, Tensor]] | None = None
    for depth in reversed(range(depths)):
        here = []
        for d in range(directions):
            arriving = arriving_at(depth, d)
            if from_above is not None:
                values, log_scale = from_above[d]
                arriving = replace(arriving, at_steps={"h": values}, log_scale=log_scale)
            here.append(sweep(trace_at(depth, d), arriving, preactivations=preactivations or depth > 0))
        yield here
        if depth:
            from_above = _through(here, masks[depth - 1])


def _through(above: list[Adjoint], mask: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """What arrives at each direction of the layer below, and the logarithm of its scale."""
    parts = [Scaled({"h": values}, scale) for values, scale in map(at_input, above)]
    joined = parts[0] + parts[1] if len(parts) > 1 else parts[0]
    values = joined.normalised["h"] if mask is None else joined.normalised["h"] * mask
    return [(part.contiguous(), joined.log_scale) for part in values.chunk(len(above), -1)]
