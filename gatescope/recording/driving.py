"""Runs somebody's model once for an analysis, and leaves it as it was: parameters, gradients, buffers, random numbers.

* with a loss: one forward and one backward;
* without: one forward, from which each recurrent module has its own input;
* without data: each recurrent module by itself, on noise.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..cells import Cell
from ..errors import InputError
from ..layers import kind_of, layer_of_cell
from .cell_chain import outgoing_states
from .left_as_it_was import left_as_it_was
from .paths import following
from .recorder import Recorder
from .watch import Watched, recurrent_modules, unwrapped

Loss = Callable[[Any, Any], Tensor]
Cells = Mapping[type[nn.Module], Cell]

SEQUENCES, STEPS = 32, 200
"""Of noise, where there are no data."""


def loss_name(loss: Loss) -> str:
    """The name that a loss was given, in words; "your loss" where it has none."""
    name: str = getattr(loss, "__name__", type(loss).__name__)
    return "your loss" if name in {"<lambda>", "partial"} else name


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

    A tuple is given as several arguments, a dict by name. A model that is itself one of torch's recurrent modules is
    given packed sequences where there are `lengths`, and what it returns is padded again to the steps of `x`. Frozen
    parameters and inference mode are no obstacle to the gradient.

    Raises:
        InputError: a loss that is no scalar, or one of torch's, which take a tensor, where the model returns none.
    """
    bare = unwrapped(model)
    recurrent = [watched.module for watched in recurrent_modules(bare, cells or {}).values()]
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(loss is not None),
        left_as_it_was(bare, seed, given=(x, y)),
        _felt_though_frozen(recurrent),
    ):
        given = _packed(bare, x, lengths)
        with (
            backward_in_eval_mode(bare) if loss is not None else nullcontext(),
            Recorder(model, cells=cells) as rec,
            following(),
        ):
            output = _called(model, given)
            output = output if given is x else _padded(bare, output, x)
            value = None if loss is None else _felt(_loss_of(loss, output, y), rec, model)
    return Drive(rec, value, _detached(output))


def drive_on_noise(model: nn.Module, *, cells: Cells | None = None, seed: int = 0) -> Drive:
    """Runs each recurrent module of a model by itself on independent standard normal inputs."""
    bare = unwrapped(model)
    noise = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad(), left_as_it_was(bare, seed), Recorder(model, cells=cells) as rec:
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
def _felt_though_frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """The outputs of recurrent modules whose parameters are all frozen, on tokens, would have no gradient."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    frozen = [one for one in parameters if not one.requires_grad and one.is_floating_point() and not one.is_inference()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


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


def _padded(module: nn.Module, output: Any, x: Tensor) -> Any:
    """What a module returned of packed sequences, as it would return it of `x`, with zeros after each sequence."""
    assert isinstance(module, nn.RNNBase)
    steps = x.shape[1 if module.batch_first else 0]
    whole, _ = pad_packed_sequence(output[0], batch_first=module.batch_first, total_length=steps)
    return whole, output[1]


def _loss_of(loss: Loss, output: Any, y: Any) -> Any:
    """The loss; of torch's own, which can only take a tensor, the mistake is named before it is made."""
    if not isinstance(output, Tensor) and str(getattr(loss, "__module__", "")).startswith("torch.nn."):
        called = f"{loss_name(loss)}()" if isinstance(loss, nn.Module) else loss_name(loss)
        raise InputError(
            f"The model returned {_in_words(output)}, and {loss_name(loss)} takes one tensor; choose one, as in "
            f"loss=lambda output, y: {called}(output[0], y)."
        )
    return loss(output, y)


def _in_words(output: Any) -> str:
    match output:
        case Tensor():
            return f"a tensor {list(output.shape)}"
        case tuple() | list():
            return f"a {type(output).__name__} of {', '.join(map(_in_words, output))}"
    return f"a {type(output).__name__}"


def _felt(value: Any, recorder: Recorder, model: nn.Module) -> float:
    if not isinstance(value, Tensor) or value.numel() != 1:
        seen = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InputError(f"The loss returned {seen}, and a tensor of one number is wanted; take its mean or sum.")
    recorder._kept.follow(value)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
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
    state = _first_state(watched)
    for now in x:
        out = module(now) if state is None else module(now, state)
        states = outgoing_states(out)
        state = states if len(states) > 1 else states[0]


def _first_state(watched: Watched) -> Any:
    """None where a cell begins by itself; zeros where its forward demands a state."""
    _, *others = inspect.signature(watched.module.forward).parameters.values()
    if not others or others[0].default is not inspect.Parameter.empty or others[0].kind is others[0].VAR_POSITIONAL:
        return None
    states = tuple(layer_of_cell(watched.module, watched.path, cell=watched.cell).zeros(SEQUENCES).values())
    return states if len(states) > 1 else states[0]
