"""Runs somebody's model once for an analysis, and leaves it as it was: parameters, gradients, buffers, random numbers.

* with a loss: one forward and one backward;
* without: one forward, from which each recurrent module has its own input;
* without data: each recurrent module by itself, on noise.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..cells import Cell
from ..errors import InputError
from ..layers import kind_of
from .cell_chain import outgoing_states
from .recorder import Recorder
from .watch import Watched, recurrent_modules, unwrapped

Loss = Callable[[Any, Any], Tensor]
Cells = Mapping[type[nn.Module], Cell]

SEQUENCES, STEPS = 32, 200
"""Of noise, where there are no data."""


@dataclass(frozen=True, eq=False)
class Drive:
    """One run of a model."""

    recorder: Recorder
    loss: float | None
    """The value of the loss, if there is one."""
    output: Any = None
    """What the model returned, out of its graph."""


def drive(
    model: nn.Module,
    x: Any,
    y: Any = None,
    loss: Loss | None = None,
    *,
    lengths: Tensor | None = None,
    cells: Cells | None = None,
    seed: int = 0,
) -> Drive:
    """Runs `model(x)`, and the backward of `loss(output, y)` where there is one.

    A tuple is given as several arguments, a dict by name. Torch's own recurrent modules are given packed sequences
    where there are `lengths`.

    Raises:
        InputError: a loss that is no scalar, or from which no gradient can come.
    """
    bare = unwrapped(model)
    with left_as_it_was(bare, seed), torch.set_grad_enabled(loss is not None):
        leaves = _leaves(x)
        given = _packed(bare, leaves.data, lengths)
        with backward_in_eval_mode(bare) if loss is not None else nullcontext(), Recorder(model, cells=cells) as rec:
            output = _called(model, given)
            value = None if loss is None else _felt(loss(output, y), model, leaves.floats)
    return Drive(rec, value, _detached(output))


def drive_on_noise(model: nn.Module, *, cells: Cells | None = None, seed: int = 0) -> Drive:
    """Runs each recurrent module of a model by itself on independent standard normal inputs."""
    bare = unwrapped(model)
    noise = torch.Generator().manual_seed(seed)
    with left_as_it_was(bare, seed), torch.no_grad(), Recorder(model, cells=cells) as rec:
        for watched in recurrent_modules(bare, cells or {}).values():
            _run_on_noise(watched, noise)
    return Drive(rec, None)


@contextmanager
def backward_in_eval_mode(model: nn.Module) -> Iterator[None]:
    """CuDNN has no backward for a recurrent module in eval mode; torch's own kernels have."""
    if all(module.training for module in model.modules()):
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


@contextmanager
def left_as_it_was(model: nn.Module, seed: int) -> Iterator[None]:
    """Buffers, such as a batch norm's running means, are put back, and so are torch's random numbers."""
    before = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, was in before:
                    if not torch.equal(buffer, was):
                        buffer.copy_(was)


@dataclass(frozen=True, eq=False)
class _Leaves:
    data: Any
    floats: list[Tensor]
    """Those of its tensors that a gradient can reach, so that frozen parameters are no obstacle."""


def _leaves(x: Any) -> _Leaves:
    floats: list[Tensor] = []

    def leaf(value: Any) -> Any:
        match value:
            case PackedSequence():
                return PackedSequence(leaf(value.data), *value[1:])
            case Tensor() if value.is_floating_point():
                fresh = value.detach().requires_grad_(torch.is_grad_enabled())
                floats.append(fresh)
                return fresh
            case dict():
                return {key: leaf(one) for key, one in value.items()}
            case tuple() | list():
                return tuple(leaf(one) for one in value)
        return value

    return _Leaves(leaf(x), floats)


def _called(model: nn.Module, given: Any) -> Any:
    if isinstance(given, dict):
        return model(**given)
    return model(*given) if isinstance(given, tuple) and not isinstance(given, PackedSequence) else model(given)


def _packed(model: nn.Module, given: Any, lengths: Tensor | None) -> Any:
    if lengths is None or not isinstance(model, nn.RNNBase) or not isinstance(given, Tensor) or given.dim() != 3:
        return given
    steps, sequences = (given.shape[dim] for dim in ((1, 0) if model.batch_first else (0, 1)))
    if lengths.shape != (sequences,) or int(lengths.max()) > steps or int(lengths.min()) < 1:
        raise InputError(
            f"{len(lengths)} lengths from {int(lengths.min())} to {int(lengths.max())} were given for {sequences} "
            f"sequences of {steps} steps; give one length from 1 to {steps} for each."
        )
    return pack_padded_sequence(given, lengths.cpu(), batch_first=model.batch_first, enforce_sorted=False)


def _felt(value: Any, model: nn.Module, floats: list[Tensor]) -> float:
    if not isinstance(value, Tensor) or value.numel() != 1:
        seen = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InputError(f"The loss returned {seen}, and a tensor of one number is wanted; take its mean or sum.")
    wanted = [*(p for p in model.parameters() if p.requires_grad), *floats]
    if value.requires_grad and wanted:
        torch.autograd.grad(value, wanted, allow_unused=True)
    return float(value.detach())


def _detached(output: Any) -> Any:
    match output:
        case PackedSequence():
            return PackedSequence(output.data.detach(), *output[1:])
        case Tensor():
            return output.detach()
        case tuple() | list():
            return tuple(_detached(one) for one in output)
        case dict():
            return {key: _detached(one) for key, one in output.items()}
    return output


def _run_on_noise(watched: Watched, noise: torch.Generator) -> None:
    module = watched.module
    weight = next(module.parameters())
    features = getattr(module, "input_size", None)
    if not isinstance(features, int):
        raise InputError(
            f"{watched.title} has no input_size, so there is no telling what noise would fit it; give x, the model's "
            "own input."
        )
    x = torch.randn(STEPS, SEQUENCES, features, generator=noise).to(weight.device, weight.dtype)
    if isinstance(module, nn.RNNBase) and kind_of(module) is not None:
        module(x.transpose(0, 1) if module.batch_first else x)
        return
    state: Any = None
    for now in x:
        out = module(now) if state is None else module(now, state)
        states = outgoing_states(out)
        state = states if len(states) > 1 else states[0]
