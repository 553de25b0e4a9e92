"""A stack run layer by layer in place of its fused kernel, so that the dropout between its layers can be seen."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..layers import kind_of
from .layout import Layout, data_of

_MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn-tanh": nn.RNN, "rnn-relu": nn.RNN}


def run_layerwise(
    module: nn.RNNBase, x: Tensor | PackedSequence, hx: Any
) -> tuple[tuple[Any, Any], tuple[tuple[Tensor, Tensor], ...]]:
    """The module's own outputs, through its own weights and in its own graph, and each inner (output, mask).

    On the CPU the masks are those which the fused kernel draws from the same random numbers.
    """
    layout = Layout.of(x, module.batch_first)
    names = list(module._flat_weights_names)
    per_layer = len(names) // module.num_layers
    directions = 2 if module.bidirectional else 1
    states = None if hx is None else (tuple(hx) if isinstance(hx, tuple | list) else (hx,))
    finals, seen = [], []
    for depth in range(module.num_layers):
        weights = module._flat_weights[depth * per_layer : (depth + 1) * per_layer]
        layer = _single(module, depth)
        rows = slice(depth * directions, (depth + 1) * directions)
        given = None if states is None else tuple(state[rows] for state in states)
        layer._flat_weights = weights
        x, final = layer(x, given if given is None or len(given) > 1 else given[0])
        finals.append(final if isinstance(final, tuple) else (final,))
        if depth + 1 < module.num_layers:
            data = data_of(x)
            # The kernel drops out time-major data; so does this, to draw the same numbers at the same places.
            turned = layout.packing is None and layout.batch_first and not layout.unbatched
            ones = torch.ones_like(data.transpose(0, 1) if turned else data, memory_format=torch.contiguous_format)
            drawn = nn.functional.dropout(ones, module.dropout)
            mask = drawn.transpose(0, 1) if turned else drawn
            seen.append((layout.time_major(data), layout.time_major(mask)))
            x = x._replace(data=data * mask) if isinstance(x, PackedSequence) else data * mask
    ends = tuple(torch.cat(state) for state in zip(*finals, strict=True))
    return (x, ends if len(ends) > 1 else ends[0]), tuple(seen)


def _single(module: nn.RNNBase, depth: int) -> nn.RNNBase:
    """A module of one layer without weights of its own."""
    size = module.input_size if depth == 0 else (module.proj_size or module.hidden_size) * (1 + module.bidirectional)
    kind = kind_of(module)
    assert kind is not None
    options: dict[str, Any] = {"proj_size": module.proj_size} if kind == "lstm" else {}
    if kind.startswith("rnn"):
        options["nonlinearity"] = kind.removeprefix("rnn-")
    layer = _MODULES[kind](
        size, module.hidden_size, 1, module.bias, module.batch_first, 0.0, module.bidirectional, device="meta", **options
    )
    assert isinstance(layer, nn.RNNBase)
    return layer.train(module.training)
