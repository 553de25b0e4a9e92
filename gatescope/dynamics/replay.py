"""The gates behind the hidden states that a fused kernel returned, and the proof that they are the ones.

Every hidden state is known, so the affine terms of all steps are two matrix products; the gates follow elementwise, and
a memory that the kernel keeps to itself is scanned over time. The gates must give back the h that ran:

    residual = max |h_replayed - h_returned| / max |h_returned|

Above the tolerance of the kernel's arithmetic, the user's own kernel is run one step at a time for the true c_t; if its
h still differs, the trace is refused. Time is worked through in blocks that fit the cache.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace as changed

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..cells import Named
from ..errors import ReplayError
from ..kernels import fused
from ..layers import RecurrentLayer
from ..shapes import last_step, reversed_in_time, valid_steps, zero_after_the_end
from ..trace import Trace
from .blocks import blocks, previous_states

TOLERANCE = {
    torch.float64: 1e-10,  # sums in another order, 1000 steps of a memory that forgets nothing: seen 1e-13
    torch.float32: 1e-4,  # likewise: seen 3e-5 at worst, over 5000 steps with a forget bias of 6
    torch.float16: 5e-3,  # 2^-11 on h and on every pre-activation: seen 1e-3, and 3e-3 with a forget bias of 3
    torch.bfloat16: 3e-2,  # 2^-8 likewise: seen 4e-3, and 2e-2; TF32 products round to 2^-11 as float16 does
}
"""The largest residual with which a trace is accepted, by the dtype in which the kernel multiplied."""


def replay(
    layer: RecurrentLayer,
    x: Float[Tensor, "time sequence feature"],
    h: Float[Tensor, "time sequence unit"],
    initial: Mapping[str, Float[Tensor, "sequence _"]],
    lengths: Int[Tensor, "sequence"],
    final: Mapping[str, Float[Tensor, "sequence _"]] | None = None,
) -> Trace:
    """The trace of a layer from its input and its hidden states, all in one dtype.

    `final`, the states after the last step as the kernel returned them, is held against the replayed ones too.
    """
    cell, turned = layer.cell, layer.direction == "reverse"
    steps = len(x)
    x_run, h_run = (reversed_in_time(v, lengths) if turned else v for v in (x, h))
    valid = None if bool((lengths == steps).all()) else valid_steps(lengths, steps)
    kept: dict[str, Tensor] = {}
    gap = 0.0
    memory, before = {name: initial[name] for name in cell.memory}, initial["h"]
    for now in blocks(layer, x):
        h_prev = torch.cat([before[None], h_run[now][:-1]])
        before = h_run[now][-1]
        gates, states = cell.replay(layer.weights, layer.affine(x_run[now], h_prev), h_prev, memory)
        memory = {name: states[name][-1] for name in cell.memory}
        _keep(kept, now, {**gates, **{name: states[name] for name in cell.memory}}, len(x))
        gap = max(gap, _largest_gap(states["h"], h_run[now], None if valid is None else valid[now]))
    for name in kept:
        if turned:
            kept[name] = reversed_in_time(kept[name], lengths)
        if valid is not None:
            kept[name].masked_fill_(~valid[..., None], 0)
    states = {"h": h, **{name: kept.pop(name) for name in cell.memory}}
    residual = gap / (_largest(h) or 1.0)
    trace = Trace(layer, x, kept, states, dict(initial), lengths, residual)
    return changed(trace, residual=max(residual, _final_gap(trace, final or {})))


def replay_known(
    layer: RecurrentLayer,
    x: Float[Tensor, "time sequence feature"],
    states: Mapping[str, Float[Tensor, "time sequence _"]],
    initial: Mapping[str, Float[Tensor, "sequence _"]],
    lengths: Int[Tensor, "sequence"],
    tolerance: float,
) -> Trace:
    """The trace of a cell all of whose states are known: one step, for all times at once."""
    gates: dict[str, Tensor] = {}
    gaps = dict.fromkeys(states, 0.0)
    for now, here, replayed in _stepped(layer, x, states, initial):
        _keep(gates, now, here, len(x))
        gaps = {name: max(gap, _largest_gap(replayed[name], states[name][now])) for name, gap in gaps.items()}
    residual = max(gap / (_largest(states[name]) or 1.0) for name, gap in gaps.items())
    return _accepted(Trace(layer, x, gates, dict(states), dict(initial), lengths, residual), tolerance)


def gates_along(
    layer: RecurrentLayer,
    x: Float[Tensor, "time sequence feature"],
    states: Mapping[str, Float[Tensor, "time sequence _"]],
    initial: Mapping[str, Float[Tensor, "sequence _"]],
    lengths: Int[Tensor, "sequence"],
) -> dict[str, Float[Tensor, "time sequence _"]]:
    """The gates that a layer has along states that are all known, whatever it would have made of its own."""
    turned = layer.direction == "reverse"
    x_run, *known = (reversed_in_time(v, lengths) if turned else v for v in (x, *states.values()))
    gates: dict[str, Tensor] = {}
    for now, here, _ in _stepped(layer, x_run, dict(zip(states, known, strict=True)), initial):
        _keep(gates, now, here, len(x))
    for name in gates:
        gates[name] = zero_after_the_end(reversed_in_time(gates[name], lengths) if turned else gates[name], lengths)
    return gates


def proven(trace: Trace, kernel_layer: RecurrentLayer, tolerance: float, final: Mapping[str, Tensor]) -> Trace:
    """The trace itself if its gates give back the h that ran; else the one found by stepping the user's kernel."""
    if trace.residual <= tolerance:
        return trace
    return _accepted(_stepwise(trace, kernel_layer, final) if trace.layer.cell.memory else trace, tolerance)


def _stepped(
    layer: RecurrentLayer, x: Tensor, states: Mapping[str, Tensor], initial: Mapping[str, Tensor]
) -> Iterator[tuple[slice, Named, Named]]:
    """For each stretch of time, the gates and states that one step makes of the known states before it."""
    for now in blocks(layer, x):
        prev = previous_states(states, initial, now)
        yield now, *layer.cell.step(layer.weights, layer.affine(x[now], prev["h"]), prev)


def _keep(kept: dict[str, Tensor], now: slice, values: Mapping[str, Tensor], steps: int) -> None:
    for name, here in values.items():
        if name not in kept:
            kept[name] = here.new_empty(steps, *here.shape[1:])
        kept[name][now] = here


def _accepted(trace: Trace, tolerance: float) -> Trace:
    if trace.residual <= tolerance:
        return trace
    raise ReplayError(
        f"{trace.name}: what its weights give differs from what it returned by {100 * trace.residual:.2g} %, where "
        f"{100 * tolerance:.0g} % is accepted, so its gates are not known; most often something changes the output or "
        "the state in place (a subclass, a hook, the loop itself) or the weights within the forward: leave that out, "
        "or use gatescope.RecordingLSTM, RecordingGRU or RecordingRNN in its place."
    )


def _stepwise(trace: Trace, kernel_layer: RecurrentLayer, final: Mapping[str, Tensor]) -> Trace:
    """c_t from the user's own kernel, run one step at a time from the h that was recorded."""
    cell, dtype = trace.layer.cell, kernel_layer.weights["weight_hh"].dtype
    one_step = changed(kernel_layer, direction="forward")
    x, h = (trace.in_processing_order(values) for values in (trace.x, trace.states["h"]))
    ones = torch.ones_like(trace.lengths)
    prev = {name: values.to(dtype) for name, values in trace.initial.items()}
    stepped: dict[str, list[Tensor]] = {name: [] for name in cell.states}
    for x_t, h_t in zip(x, h, strict=True):
        _, (state,) = fused([one_step], x_t[None].to(dtype), [prev], ones)
        for name in cell.states:
            stepped[name].append(state[name].to(x.dtype))
        prev = {**state, "h": h_t.to(dtype)}
    states = {
        name: zero_after_the_end(trace.in_processing_order(torch.stack(values)), trace.lengths)
        for name, values in stepped.items()
    }
    known = {**states, "h": trace.states["h"]}
    gap = _relative_gap(states["h"], trace.states["h"])
    found = changed(trace, states=known, residual=gap, method="stepwise")
    return changed(found, residual=max(gap, _final_gap(found, final)))


def _final_gap(trace: Trace, final: Mapping[str, Tensor]) -> float:
    """How far the states after the last step are from those which the kernel returned, relative to these."""
    gaps = [0.0]
    for name, returned in final.items():
        last = last_step(trace.in_processing_order(trace.states[name]), trace.lengths)
        gaps.append(_relative_gap(last, returned))
    return max(gaps)


def _relative_gap(replayed: Tensor, returned: Tensor) -> float:
    return _largest_gap(replayed, returned) / (_largest(returned) or 1.0)


def _largest_gap(replayed: Tensor, returned: Tensor, valid: Tensor | None = None) -> float:
    """The largest difference of finite numbers; infinity where one is finite and the other is not.

    Where both are not, they agree as far as anybody can tell: their place is reported, not their size.
    """
    if valid is not None:
        replayed, returned = (values.masked_fill(~valid[..., None], 0) for values in (replayed, returned))
    difference = replayed - returned
    low, high = (float(end) for end in difference.aminmax())
    if math.isfinite(low) and math.isfinite(high):
        return max(-low, high, 0.0)
    if bool((replayed.isfinite() != returned.isfinite()).any()):
        return math.inf
    return _largest(difference)


def _largest(values: Tensor) -> float:
    """The largest finite magnitude."""
    low, high = (float(end) for end in values.aminmax())
    if math.isfinite(low) and math.isfinite(high):
        return max(-low, high, 0.0)
    return float(values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).abs().amax())
