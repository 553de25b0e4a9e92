"""The reference: one step after another, in the graph, so that autograd reaches every gate."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..layers import RecurrentLayer
from ..shapes import reversed_in_time, zero_after_the_end
from ..trace import Trace


def unroll(
    layer: RecurrentLayer,
    x: Float[Tensor, "time sequence feature"],
    initial: Mapping[str, Float[Tensor, "sequence _"]],
    lengths: Int[Tensor, "sequence"],
    *,
    call: int = 0,
) -> Trace:
    """Runs a layer step by step and keeps every gate and state."""
    cell, w = layer.cell, layer.weights
    turned = layer.direction == "reverse"
    steps = reversed_in_time(x, lengths) if turned else x
    kept: list[dict[str, Tensor]] = []
    prev = dict(initial)
    for x_t in steps:
        gates, prev = cell.step(w, layer.affine(x_t, prev["h"]), prev)
        kept.append({**gates, **prev})

    def over_time(name: str) -> Tensor:
        sequences = torch.stack([step[name] for step in kept])
        return zero_after_the_end(reversed_in_time(sequences, lengths) if turned else sequences, lengths)

    return Trace(
        layer=layer,
        x=x,
        gates={name: over_time(name) for name in (*cell.gates, *cell.kept)},
        states={name: over_time(name) for name in cell.states},
        initial=dict(initial),
        lengths=lengths,
        residual=0.0,
        method="unrolled",
        call=call,
    )
