"""Where the loss puts gradient on a layer's states directly, read off the adjoints of a whole backward pass.

    g_t = s̃_t − J_{t+1}ᵀ s̃_{t+1}        one pullback for all times at once

A difference of what autograd saw: anything below the rounding of its two terms counts as nothing.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ..trace import Adjoint
from .adjoint import Arriving

ROUNDING = 1e-5
"""Of the larger term: float32 carries 6e-8, and the sums over units of a step's Jacobian enlarge it."""


def injected(adjoint: Adjoint) -> Arriving:
    """What arrives from outside the recurrence at every step, over the scale of that step."""
    trace = adjoint.trace
    cell, w = trace.layer.cell, trace.layer.weights
    turn = trace.in_processing_order
    gates, states = ({name: turn(v) for name, v in named.items()} for named in (trace.gates, trace.states))
    felt = {name: turn(v) for name, v in adjoint.normalised["state"].items()}
    log_scale = turn(adjoint.log_scale)
    back = cell.pullback(
        w,
        {name: v[1:] for name, v in gates.items()},
        {name: v[:-1] for name, v in states.items()},
        {name: v[1:] for name, v in states.items()},
        {name: v[1:] for name, v in felt.items()},
    )
    carried = {name: back.prev.get(name, torch.zeros_like(v[1:])) for name, v in felt.items()}
    carried["h"] = carried["h"] + back.affine[1] @ w["weight_hh"]
    ratio = _ratio(log_scale)
    return Arriving({name: turn(_difference(felt[name], carried[name] * ratio)) for name in felt}, adjoint.log_scale)


def _ratio(log_scale: Float[Tensor, "time sequence"]) -> Float[Tensor, "_ sequence one"]:
    """The scale of the next step over that of this one; zero where either has no gradient."""
    alive = log_scale > -torch.inf
    both = alive[1:] & alive[:-1]
    return torch.where(both, log_scale.diff(dim=0), -torch.inf).exp()[..., None].to(torch.float64)


def _difference(felt: Tensor, carried: Tensor) -> Tensor:
    direct = felt.clone()
    direct[:-1] -= carried.to(felt.dtype)
    size = felt.abs().amax(-1, keepdim=True)
    size[:-1] = torch.maximum(size[:-1], carried.abs().amax(-1, keepdim=True).to(felt.dtype))
    return direct.where(direct.abs() > ROUNDING * size, 0)
