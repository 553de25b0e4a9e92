"""Checkpoints made in memory, as a reader would hand them over."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatescope.checkpoints.checkpoint import Checkpoint, StoredArray
from gatescope.checkpoints.found import FoundLayer
from gatescope.dynamics.unroll import unroll


def checkpoint_of(arrays: Mapping[str, Any], **fields: Any) -> Checkpoint:
    """A checkpoint that holds these arrays."""
    return Checkpoint("made.pt", "made", {name: stored(values) for name, values in arrays.items()}, **fields)


def stored(values: Any) -> StoredArray:
    array = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return StoredArray(array.shape, array.dtype.name, array.copy)


def outputs(layer: FoundLayer, x: Tensor) -> Tensor:
    """What the layer gives at every step, from the zero state."""
    ready = layer.layer()
    x = x.to(ready.weights["weight_hh"].dtype)
    every = torch.full((x.shape[1],), len(x))
    with torch.no_grad():
        return unroll(ready, x, ready.zeros(x.shape[1]), every).states["h"]


def stack_outputs(layers: tuple[FoundLayer, ...] | list[FoundLayer], x: Tensor) -> Tensor:
    """What a stack gives whose layers are in the order of depth, then direction."""
    for depth in sorted({layer.index for layer in layers}):
        x = torch.cat([outputs(layer, x) for layer in layers if layer.index == depth], -1)
    return x


def torchs_outputs(module: nn.Module, x: Tensor) -> Tensor:
    """What torch's own module gives: all steps of a stack, or a cell in a loop."""
    with torch.no_grad():
        if isinstance(module, nn.RNNBase):
            return module(x)[0]
        state, given = None, []
        for x_t in x:
            state = module(x_t, state)
            given.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(given)
