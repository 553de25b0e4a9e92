"""The gradient of the loss at every state and gate of every step, along a trace.

    s̃_t = g_t + J_{t+1}ᵀ s̃_{t+1},   s = (h, c)      g_t: what the loss puts directly on the state of step t

One recursion backward over time through the cell's pullback and W_hh. It is linear, so it is renormalised at every step
and the logarithm of the scale is kept: lag 1000 is a number in float32, not a zero.

Werbos 1990 (backpropagation through time); Hochreiter & Schmidhuber 1997 for the LSTM.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..cells import Cell, Named, Pullback
from ..layers import linear
from ..trace import Adjoint, Kind, Trace
from .blocks import blocks, previous_states
from .scaled import Scaled, sum_of, unit_scale

_ALL_BLOCKS = "all row blocks"


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


@torch.no_grad()
def sweep(trace: Trace, arriving: Arriving, *, preactivations: bool = True) -> Adjoint:
    """Carries what arrives back through every step of a trace.

    Without the pre-activations' adjoints only those of the states are kept, which is what a lag curve reads: three
    arrays of an LSTM's seven.
    """
    cell, w = trace.layer.cell, trace.layer.weights
    steps, sequences = trace.x.shape[:2]
    zeros, w_hh = trace.layer.zeros(sequences), w["weight_hh"].T.contiguous()
    kept: dict[tuple[Kind, str], Tensor] = {}
    log_scale = trace.x.new_empty(steps, sequences, dtype=torch.float64)
    carried = Scaled(zeros, log_scale.new_full((sequences,), -torch.inf))
    for t, slopes, here in zip(reversed(range(steps)), _slopes(trace), _from_outside(trace, arriving), strict=True):
        through = partial(cell.pull, w, slopes)
        felt = carried
        if here is not None:
            felt = _seen(here, carried, through, arriving) if arriving.whole else carried + here
        felt = felt.renormalised()
        back = through(felt.normalised)
        by_weights = linear(back.affine[1], w_hh, None)
        carried = Scaled({**zeros, **back.prev, "h": sum_of(back.prev.get("h"), by_weights)}, felt.log_scale)
        log_scale[t] = felt.log_scale
        for key, values in _left_behind(cell, felt.normalised, back, preactivations=preactivations).items():
            if key not in kept:
                kept[key] = values.new_empty(steps, *values.shape)
            kept[key][t] = values
    initial = carried.renormalised()
    for key in kept:
        kept[key] = trace.in_processing_order(kept[key])
    return Adjoint(
        trace=trace,
        normalised=_named(cell, kept),
        log_scale=trace.in_processing_order(log_scale),
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


def _slopes(trace: Trace) -> Iterator[Named]:
    """The slopes of every step, the last one processed first; those of a stretch of time are computed at once."""
    cell, w = trace.layer.cell, trace.layer.weights
    gates, states = (
        {name: trace.in_processing_order(values) for name, values in named.items()}
        for named in (trace.gates, trace.states)
    )
    for now in reversed(blocks(trace.layer, trace.x)):
        during, after = ({name: values[now] for name, values in named.items()} for named in (gates, states))
        slopes = cell.slopes(w, during, previous_states(states, trace.initial, now), after)
        for step in zip(*(reversed(values.unbind()) for values in slopes.values()), strict=True):
            yield dict(zip(slopes, step, strict=True))


def _from_outside(trace: Trace, arriving: Arriving) -> Iterator[Scaled | None]:
    """What arrives at every step, the last one processed first; None where it is nothing in any sequence."""
    steps = _at_steps(trace, arriving)
    if not arriving.at_end:
        yield from steps
        return
    at_end, last = unit_scale(arriving.at_end).renormalised(), trace.lengths - 1
    ends = set(last.tolist())
    for t, here in zip(reversed(range(len(trace.x))), steps, strict=True):
        if t not in ends:
            yield here
        else:
            end = _where(last == t, at_end)
            yield end if here is None else here + end


def _at_steps(trace: Trace, arriving: Arriving) -> Iterator[Scaled | None]:
    if not arriving.at_steps:
        yield from [None] * len(trace.x)
        return
    given = {name: trace.in_processing_order(values) for name, values in arriving.at_steps.items()}
    scale = arriving.log_scale
    if scale is None:
        scale = torch.zeros_like(trace.x[..., 0], dtype=torch.float64)
    scale = trace.in_processing_order(scale)
    for now in reversed(blocks(trace.layer, trace.x)):
        named, log_scale = Scaled({name: values[now] for name, values in given.items()}, scale[now]).renormalised()
        something = (log_scale != -torch.inf).any(-1).tolist()
        for k in reversed(range(len(something))):
            yield Scaled({name: values[k] for name, values in named.items()}, log_scale[k]) if something[k] else None


def _where(some: Tensor, scaled: Scaled) -> Scaled:
    """The vectors of some sequences, and nothing in the others."""
    return Scaled(
        {name: values.where(some[:, None], 0) for name, values in scaled.normalised.items()},
        scaled.log_scale.where(some, -torch.inf),
    )


def _left_behind(cell: Cell, felt: Named, back: Pullback, *, preactivations: bool) -> dict[tuple[Kind, str], Tensor]:
    """What is kept of a step: all row blocks in one piece, and h once, whose total is what it hands on."""
    found: dict[tuple[Kind, str], Tensor] = {("state", name): values for name, values in felt.items()}
    found |= {("total", name): back.total[name] for name in cell.memory}
    if preactivations:
        found["preactivations", _ALL_BLOCKS] = back.affine[0]
    if preactivations and cell.hidden_blocks != cell.blocks:
        hidden = zip(cell.hidden_blocks, back.affine[1].chunk(len(cell.hidden_blocks), -1), strict=True)
        found |= {("preactivations", name): values for name, values in hidden if name not in cell.blocks}
    return found


def _named(cell: Cell, kept: dict[tuple[Kind, str], Tensor]) -> dict[Kind, dict[str, Tensor]]:
    named: dict[Kind, dict[str, Tensor]] = {"total": {}, "state": {}, "preactivations": {}}
    if (rows := kept.pop(("preactivations", _ALL_BLOCKS), None)) is not None:
        named["preactivations"] |= zip(cell.blocks, rows.chunk(len(cell.blocks), -1), strict=True)
    for (kind, name), values in kept.items():
        named[kind][name] = values
    named["total"] = {"h": named["state"]["h"], **named["total"]}
    return named
