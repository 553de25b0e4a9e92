"""The part of a trace that lies within given lengths, where the padding after it was run through the layer too.

A forward layer ends there sooner. A reverse layer began with the padding: what it remembers of that is its initial
state, and what it still felt there is the gradient of that state.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import InputError
from ..shapes import zero_after_the_end
from ..trace import Adjoint, Trace


def within(trace: Trace, lengths: Tensor) -> Int[Tensor, "sequence"]:
    """The number of valid steps of each sequence: as given, and never more than the trace has.

    Raises:
        InputError: lengths that are not one for each sequence, from 1 to the number of steps.
    """
    steps, sequences = trace.x.shape[:2]
    given = torch.as_tensor(lengths, device=trace.lengths.device)
    if given.shape != (sequences,) or given.is_floating_point() or int(given.min()) < 1 or int(given.max()) > steps:
        raise InputError(
            f"The lengths of {trace.name} were given as {_shown(given)}, and there are {sequences} sequences of up to "
            f"{steps} steps; give one whole number from 1 to {steps} for each sequence."
        )
    return torch.minimum(given.to(torch.int64), trace.lengths)


def valid_part(trace: Trace, lengths: Int[Tensor, "sequence"]) -> Trace:
    """The trace of the first `lengths` steps of the input; sequences that are shorter by themselves stay so."""
    lengths = within(trace, lengths)
    if bool((lengths == trace.lengths).all()):
        return trace

    def cut(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: zero_after_the_end(values, lengths) for name, values in named.items()}

    initial = dict(trace.initial)
    if trace.layer.direction == "reverse":
        initial = {name: _before(trace.states[name], initial[name], lengths, trace.lengths) for name in initial}
    x = zero_after_the_end(trace.x, lengths)
    return replace(trace, x=x, gates=cut(trace.gates), states=cut(trace.states), initial=initial, lengths=lengths)


def valid_part_of_adjoint(adjoint: Adjoint, lengths: Int[Tensor, "sequence"]) -> Adjoint:
    """The adjoint within the first `lengths` steps, of the same loss: what was read after them is felt at their end."""
    trace = valid_part(adjoint.trace, lengths)
    if trace is adjoint.trace:
        return adjoint
    lengths = trace.lengths
    initial, log_scale_initial = dict(adjoint.normalised_initial), adjoint.log_scale_initial
    if trace.layer.direction == "reverse":
        whole = adjoint.lengths
        state = adjoint.normalised["state"]
        initial = {name: _before(state[name], initial[name], lengths, whole) for name in initial}
        log_scale_initial = _before(adjoint.log_scale[..., None], log_scale_initial[:, None], lengths, whole)[:, 0]
    ended = torch.arange(len(trace.x), device=lengths.device)[:, None] >= lengths
    return replace(
        adjoint,
        trace=trace,
        normalised={
            kind: {name: zero_after_the_end(values, lengths) for name, values in named.items()}
            for kind, named in adjoint.normalised.items()
        },
        log_scale=adjoint.log_scale.masked_fill(ended, -torch.inf),
        normalised_initial=initial,
        log_scale_initial=log_scale_initial,
    )


def _before(
    after_step: Float[Tensor, "time sequence _"],
    initial: Float[Tensor, "sequence _"],
    lengths: Int[Tensor, "sequence"],
    whole: Int[Tensor, "sequence"],
) -> Float[Tensor, "sequence _"]:
    """What stood before a reverse layer's first valid step: after the padding, or at the beginning if there is none."""
    rows = torch.arange(len(lengths), device=lengths.device)
    padded = after_step[lengths.clamp(max=len(after_step) - 1), rows]
    return torch.where((lengths < whole)[:, None], padded, initial)


def _shown(lengths: Tensor) -> str:
    values = lengths.flatten().tolist()
    return f"{values[:6]}" if len(values) <= 6 else f"{values[:6]} and {len(values) - 6} more"
