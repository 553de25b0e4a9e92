"""Runs the layers of a checkpoint without the model's code: each stack by itself, on data or on noise, in float64."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.found import FoundLayer
from ..errors import CheckpointError, GatescopeError, InputError
from ..layers import RecurrentLayer, Stack
from ..recording.driving import SEQUENCES, STEPS
from ..recording.linearised import LinearisedCall
from ..recording.played import PlayedStack
from ..recording.setting import Setting
from ..shapes import full_lengths
from .ran import Ran

_SUFFIX = re.compile(r"(?:^|\.)l\d+(?:_reverse)?$")


def ran_checkpoint(
    checkpoint: Checkpoint, how: Setting, *, layer: str | None = None, device: str | torch.device = "cpu"
) -> Ran:
    """The stacks of a checkpoint, each driven by itself from the zero state and read by a random readout.

    `layer` is the name of a layer, or of the module that holds it, to which alone the data go.

    Raises:
        CheckpointError: opening the file elsewhere would run a program.
        InputError: it holds no layer that could be run, or none that the data fit.
    """
    if checkpoint.dangers:
        raise CheckpointError(
            f"{Path(checkpoint.path).name} would call {', '.join(checkpoint.dangers[:3])} if it were opened elsewhere, "
            "so it is not analysed; do not open it, and get the weights as safetensors from whoever made it."
        )
    if how.y is not None or how.loss is not None:
        raise InputError("A file holds no model for a loss to read; give the model itself, with its weights loaded.")
    chosen = [stack for stack in _stacks(checkpoint.layers) if layer is None or _named(stack, layer)]
    if not chosen:
        there = ", ".join(found.name for found in checkpoint.layers) or "none"
        wanted = "a recurrent layer" if layer is None else f"the layer {layer}"
        raise InputError(f"{Path(checkpoint.path).name} was asked for {wanted}, and the layers in it are: {there}.")
    if how.x is not None:
        chosen = [_that_fits(chosen, how.x)]
    noise = torch.Generator().manual_seed(how.seed)
    calls: list[LinearisedCall] = []
    refused: dict[str, GatescopeError] = {}
    for stack in chosen:
        try:
            played = _played(stack, how, noise, torch.device(device))
        except GatescopeError as reason:
            refused |= {found.name: reason for depth in stack for found in depth}
            continue
        calls.append(LinearisedCall(call=played, readout=how.seed, given_lengths=None, dtype=how.dtype))
    return Ran(calls, how.data_in_words, how.loss_in_words, _facts(checkpoint), refused)


def _stacks(layers: Sequence[FoundLayer]) -> list[list[list[FoundLayer]]]:
    """The layers of each module, for each depth one a direction, where the file shows that they are a stack."""
    modules: dict[str, list[FoundLayer]] = {}
    for layer in layers:
        modules.setdefault(_module(layer), []).append(layer)
    found: list[list[list[FoundLayer]]] = []
    for of_a_module in modules.values():
        depths: dict[int, list[FoundLayer]] = {}
        for layer in sorted(of_a_module, key=lambda one: (one.index, one.direction == "reverse")):
            depths.setdefault(layer.index, []).append(layer)
        stack: list[list[FoundLayer]] = []
        for depth in depths.values():
            if stack and not _drives(stack[-1], depth):
                found.append(stack)
                stack = []
            stack.append(depth)
        found.append(stack)
    return found


def _drives(below: list[FoundLayer], above: list[FoundLayer]) -> bool:
    given = sum(layer.proj_size or layer.hidden_size for layer in below)
    return above[0].index == below[0].index + 1 and all(layer.input_size == given for layer in above)


def _module(layer: FoundLayer) -> str:
    return _SUFFIX.sub("", layer.name)


def _named(stack: Iterable[Iterable[FoundLayer]], name: str) -> bool:
    return any(name in (layer.name, _module(layer), *layer.aliases) for depth in stack for layer in depth)


def _that_fits(stacks: list[list[list[FoundLayer]]], x: Any) -> list[list[FoundLayer]]:
    if not isinstance(x, Tensor) or x.dim() != 3:
        seen = f"a tensor of shape {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise InputError(f"The data are {seen}, and a file's layers take [sequence, time, feature]; reshape them.")
    fitting = [stack for stack in stacks if stack[0][0].input_size == x.shape[2]]
    if len(fitting) == 1:
        return fitting[0]
    takes = ", ".join(f"{stack[0][0].name} {stack[0][0].input_size}" for stack in fitting or stacks)
    raise InputError(
        f"The data have {x.shape[2]} features, and {'more than one layer takes' if fitting else 'no layer takes'} so "
        f"many ({takes}); {'say which by layer=' if fitting else 'give data of one of these widths'}."
    )


def _played(found: list[list[FoundLayer]], how: Setting, noise: torch.Generator, device: torch.device) -> PlayedStack:
    stack: Stack = tuple(tuple(_on(device, layer.layer()) for layer in depth) for depth in found)
    stored_in = stack[0][0].weights["weight_hh"].dtype
    if how.x is None:
        x = torch.randn(STEPS, SEQUENCES, stack[0][0].input_size, generator=noise, dtype=torch.float64)
    else:
        x = how.x.transpose(0, 1).to(torch.float64)
    lengths = full_lengths(x) if how.lengths is None else how.lengths
    if lengths.shape != (x.shape[1],) or int(lengths.min()) < 1 or int(lengths.max()) > len(x):
        raise InputError(
            f"{len(lengths)} lengths from {int(lengths.min())} to {int(lengths.max())} were given for {x.shape[1]} "
            f"sequences of {len(x)} steps; give one length from 1 to {len(x)} for each."
        )
    return PlayedStack(stack, x.to(device), lengths.to(device), stored_in)


def _on(device: torch.device, layer: RecurrentLayer) -> RecurrentLayer:
    return replace(layer, weights={name: weight.to(device) for name, weight in layer.weights.items()})


def _facts(checkpoint: Checkpoint) -> dict[str, str]:
    path = Path(checkpoint.path)
    notes = "; ".join(checkpoint.warnings)
    return {
        "file": f"{path.name}, {checkpoint.format}",
        **({"sha256": _sha256(path)} if path.is_file() else {}),
        **({"of the file": notes} if notes else {}),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
