"""The gradient of the loss at every state and gate of every step, along a trace.

    s̃_t = g_t + J_{t+1}ᵀ s̃_{t+1},   s = (h, c)      g_t: what the loss puts directly on the state of step t

One recursion backward over time through the cell's pullback and W_hh. It is linear, so it is renormalised at every step
and the logarithm of the scale is kept: lag 1000 is a number in float32, not a zero.

Werbos 1990 (backpropagation through time); Hochreiter & Schmidhuber 1997 for the LSTM.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..cells import Named, Pullback
from ..shapes import last_step
from ..trace import Adjoint, Kind, Trace
from .scaled import Scaled, unit_scale


@dataclass(frozen=True, eq=False)
class Arriving:
    """The gradient that arrives at the states of a layer from outside its recurrence."""

    at_steps: Mapping[str, Float[Tensor, "time sequence _"]] = field(default_factory=dict)
    """On `h` (and `c`) after each step, over `exp(log_scale)`."""
    log_scale: Float[Tensor, "time sequence"] | None = None
    """The natural logarithm of the scale of `at_steps`; None: a scale of one."""
    at_end: Mapping[str, Float[Tensor, "sequence _"]] = field(default_factory=dict)
    """On the states after each sequence's last step: dL/dh_n, dL/dc_n."""
    floor: float = 0.0
    """The norm below which what autograd saw, where it saw the whole, has lost its digits."""
    whole: Kind | None = None
    """Set where `at_steps` holds the whole adjoint, recurrence included, as autograd saw it in a loop of cells: the
    `"total"` of every state, or the pair that is the `"state"`."""


def sweep(trace: Trace, arriving: Arriving) -> Adjoint:
    """Carries what arrives back through every step of a trace."""
    cell, w = trace.layer.cell, trace.layer.weights
    turn = trace.in_processing_order
    gates, states = ({name: turn(v) for name, v in named.items()} for named in (trace.gates, trace.states))
    direct = _direct(trace, arriving)
    arrives = _arrives(direct)
    steps, sequences = trace.x.shape[:2]
    kept: dict[tuple[Kind, str], Tensor] = {}
    log_scale = trace.x.new_empty(steps, sequences, dtype=torch.float64)
    carried = Scaled(zeros := trace.layer.zeros(sequences), log_scale.new_full((sequences,), -torch.inf))
    for t in reversed(range(steps)):
        now = {name: v[t] for name, v in gates.items()}
        after = {name: v[t] for name, v in states.items()}
        before = {name: states[name][t - 1] if t else trace.initial[name] for name in states}
        through = partial(cell.pullback, w, now, before, after)
        felt = carried
        if arrives[t]:
            here = Scaled({name: v[t] for name, v in direct.normalised.items()}, direct.log_scale[t]).renormalised()
            felt = _seen(here, carried, through, arriving) if arriving.whole else carried + here
        felt = felt.renormalised()
        back = through(felt.normalised)
        prev = {name: back.prev.get(name, zero) for name, zero in zeros.items()}
        prev["h"] = torch.addmm(prev["h"], back.affine[1], w["weight_hh"])
        carried = Scaled(prev, felt.log_scale)
        log_scale[t] = felt.log_scale
        for key, values in _named(trace, felt.normalised, back.total, back.affine):
            if key not in kept:
                kept[key] = values.new_empty(steps, *values.shape)
            kept[key][t] = values
    initial = carried.renormalised()
    return Adjoint(
        trace=trace,
        normalised=_grouped({key: turn(values) for key, values in kept.items()}),
        log_scale=turn(log_scale),
        normalised_initial=initial.normalised,
        log_scale_initial=initial.log_scale,
    )


def at_input(adjoint: Adjoint) -> tuple[Float[Tensor, "time sequence feature"], Float[Tensor, "time sequence"]]:
    """dL/dx of every step, over `exp` of the second tensor."""
    blocks = [adjoint.normalised["preactivations"][name] for name in adjoint.layer.cell.blocks]
    return torch.cat(blocks, -1) @ adjoint.layer.weights["weight_ih"], adjoint.log_scale


def _seen(seen: Scaled, carried: Scaled, through: Callable[[Named], Pullback], arriving: Arriving) -> Scaled:
    """What autograd saw at a state, and the recurrence alone where that had become too small for it to see."""
    if arriving.whole == "total":
        # The pair holds h fixed in the others: take out what reached them through h, and what is only rounding then.
        nothing = {name: torch.zeros_like(values) for name, values in seen.normalised.items() if name != "h"}
        by_h = through({**nothing, "h": seen.normalised["h"]}).total
        pair = {name: _difference(seen.normalised[name], by_h[name]) for name in nothing}
        seen = Scaled({**seen.normalised, **pair}, seen.log_scale)
    lost = seen.log_scale < math.log(arriving.floor)
    return Scaled(
        {name: torch.where(lost[:, None], carried.normalised[name], seen.normalised[name]) for name in seen.normalised},
        torch.where(lost, carried.log_scale, seen.log_scale),
    )


def _difference(total: Tensor, part: Tensor) -> Tensor:
    rest = total - part
    return rest.where(rest.abs() > 8 * torch.finfo(rest.dtype).eps * part.abs(), 0)


def _direct(trace: Trace, arriving: Arriving) -> Scaled:
    """What arrives from outside, in processing order."""
    given = dict(arriving.at_steps)
    for name in arriving.at_end.keys() - given.keys():
        given[name] = torch.zeros_like(trace.states[name])
    if not given:
        given["h"] = torch.zeros_like(trace.states["h"])
    named = {name: trace.in_processing_order(values) for name, values in given.items()}
    scale = arriving.log_scale
    steps = Scaled(
        named,
        torch.zeros_like(trace.x[..., 0], dtype=torch.float64) if scale is None else trace.in_processing_order(scale),
    )
    return steps if not arriving.at_end else _with_end(steps, trace, arriving.at_end)


def _arrives(direct: Scaled) -> list[bool]:
    """For each step, whether anything arrives there in any sequence."""
    nonzero = torch.stack([(values != 0).flatten(1).any(1) for values in direct.normalised.values()])
    return [bool(here) for here in nonzero.any(0)]


def _with_end(steps: Scaled, trace: Trace, at_end: Mapping[str, Tensor]) -> Scaled:
    """The same with what arrives at each sequence's last step added there."""
    rows = torch.arange(len(trace.lengths), device=trace.lengths.device)
    last = Scaled(
        {name: last_step(values, trace.lengths) for name, values in steps.normalised.items()},
        last_step(steps.log_scale, trace.lengths),
    )
    both = last + unit_scale(at_end)
    named = {name: values.clone() for name, values in steps.normalised.items()}
    log_scale = steps.log_scale.clone()
    log_scale[trace.lengths - 1, rows] = both.log_scale
    for name, values in both.normalised.items():
        named[name][trace.lengths - 1, rows] = values
    return Scaled(named, log_scale)


def _named(
    trace: Trace, state: Named, total: Named, affine: tuple[Tensor, Tensor]
) -> list[tuple[tuple[Kind, str], Tensor]]:
    cell = trace.layer.cell
    found: list[tuple[tuple[Kind, str], Tensor]] = [(("state", name), values) for name, values in state.items()]
    found += [(("total", name), values) for name, values in total.items()]
    inner, hidden = (term.chunk(len(cell.blocks), -1) for term in affine)
    found += [(("preactivations", name), values) for name, values in zip(cell.blocks, inner, strict=True)]
    found += [
        (("preactivations", name), values)
        for name, values in zip(cell.hidden_blocks, hidden, strict=True)
        if name not in cell.blocks
    ]
    return found


def _grouped(kept: Mapping[tuple[Kind, str], Tensor]) -> dict[Kind, dict[str, Tensor]]:
    kinds: tuple[Kind, ...] = ("total", "state", "preactivations")
    return {kind: {name: values for (of, name), values in kept.items() if of == kind} for kind in kinds}
