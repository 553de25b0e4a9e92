"""A stack run layer by layer, in the user's own graph and layout, by whatever runs one layer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells import Named
from ..layers import RecurrentLayer, stack_of
from .layout import Layout, data_of

RunDepth = Callable[[Sequence[RecurrentLayer], Tensor, list[Named], Tensor], tuple[Tensor, list[Named]]]
"""(layers of one depth, x, initial states a direction, lengths) -> (joined output, final states a direction)."""


class Inner(NamedTuple):
    """What went from one layer to the next."""

    output: Tensor
    mask: Tensor | None
    """What dropout multiplied the output by."""


def run_stack(
    module: nn.RNNBase, given: Tensor | PackedSequence, hx: Any, run_depth: RunDepth
) -> tuple[tuple[Any, Any], list[Inner]]:
    """What `module(given, hx)` returns, and what went from layer to layer, `[time, sequence, unit]`.

    Active dropout draws from torch's random numbers what the fused kernel on the CPU would draw from them.
    """
    layout = Layout.of(given, batch_first=module.batch_first)
    x = layout.arranged(data_of(given))
    lengths = layout.lengths(x)
    stack = stack_of(module, snapshot=lambda weight: weight)
    states = None if hx is None else [layout.with_sequences(state) for state in states_of(hx)]
    finals: list[Named] = []
    inner: list[Inner] = []
    for layers in stack:
        rows = range(len(finals), len(finals) + len(layers))
        x, ends = run_depth(
            layers, x, [_initial(layer, states, row, x) for layer, row in zip(layers, rows, strict=True)], lengths
        )
        finals += ends
        if len(finals) < len(stack) * len(layers):
            mask = layout.dropout_mask(x, module.dropout) if module.training and module.dropout else None
            inner.append(Inner(x, mask))
            x = x if mask is None else x * mask
    ends_by_name = [torch.stack([final[name] for final in finals]) for name in stack[0][0].cell.states]
    h_n, *c_n = [end[:, 0] if layout.unbatched else end for end in ends_by_name]
    return (layout.restored(x), (h_n, *c_n) if c_n else h_n), inner


def states_of(hx: Any) -> tuple[Tensor, ...]:
    """h_0, or (h_0, c_0), as a tuple."""
    return tuple(hx) if isinstance(hx, tuple | list) else (hx,)


def _initial(layer: RecurrentLayer, states: list[Tensor] | None, row: int, x: Tensor) -> Named:
    if states is None:
        return layer.zeros(x.shape[1])
    return {name: state[row] for name, state in zip(layer.cell.states, states, strict=True)}
