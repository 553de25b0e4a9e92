"""What cannot be recorded or called, said in one sentence before anything is done with it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells import Cell
from ..errors import InputError

TorchModule = nn.RNNBase | nn.RNNCellBase


def check_input(title: str, module: TorchModule, given: object, hx: object = None) -> None:
    """Raises an InputError that names the module, what it was given, what it wants and what to do."""
    x = given.data if isinstance(given, PackedSequence) else given
    if not isinstance(x, Tensor):
        return
    weight = next(iter(module.parameters()))
    seen = f"{title} was given {_described(x)}"
    if x.device != weight.device:
        raise InputError(f"{seen} on {x.device}, and its weights are on {weight.device}; move one of them with .to().")
    if not x.is_floating_point():
        raise InputError(
            f"{seen}, and wants {_name(weight.dtype)}; embed tokens first (nn.Embedding) or call .float()."
        )
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InputError(f"{seen}, and its weights are {_name(weight.dtype)}; convert one of them with .to().")
    dims = (2,) if isinstance(given, PackedSequence) else (2, 3) if isinstance(module, nn.RNNBase) else (1, 2)
    if x.dim() not in dims:
        raise InputError(f"{seen}, and wants {' or '.join(map(str, dims))} dimensions; reshape it.")
    if x.shape[-1] != module.input_size:
        raise InputError(
            f"{seen}, and wants {module.input_size} features in the last dimension; give it "
            "the data that it was built for."
        )
    if isinstance(module, nn.RNNBase) and _steps_of(module, given, x) == 0:
        raise InputError(f"{seen}, which has no steps; leave empty sequences out.")
    _check_state(title, module, given, x, hx)


def check_options(model: Any, every: Any, cells: Any, dropout: Any) -> None:
    """Raises an InputError for a Recorder's argument that means nothing."""
    if not isinstance(model, nn.Module):
        raise InputError(f"A {type(model).__name__} was given, and an nn.Module is wanted; give the model itself.")
    if not isinstance(every, int) or every < 1:
        raise InputError(f"every={every} was given, and a whole number from 1 is wanted; every=1 records all.")
    if dropout not in {None, "layerwise"}:
        raise InputError(f'dropout={dropout!r} was given, and "layerwise" or None is wanted.')
    for module, cell in dict(cells or {}).items():
        if not (isinstance(module, type) and isinstance(cell, Cell)):
            raise InputError(f"cells was given {module!r}: {cell!r}, and a module's class and a Cell are wanted.")


def given_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The input and the state with which a recurrent module was called."""
    rest = list(kwargs.values())
    x = args[0] if args else kwargs.get("input", rest[0] if rest else None)
    if len(args) > 1:
        return x, args[1]
    states = [value for value in rest if value is not x]
    return x, states[0] if states else None


def _check_state(title: str, module: TorchModule, given: object, x: Tensor, hx: object) -> None:
    states = [hx] if isinstance(hx, Tensor) else list(hx) if isinstance(hx, tuple | list) else []
    for name, state, units in zip("hc", states, (getattr(module, "proj_size", 0), 0), strict=False):
        wanted = [*_leading(module, given, x), units or module.hidden_size]
        if isinstance(state, Tensor) and list(state.shape) != wanted:
            raise InputError(
                f"{title} was given a state {name} of shape {list(state.shape)}, and wants {wanted}; "
                "give it one state for each sequence."
            )


def _leading(module: TorchModule, given: object, x: Tensor) -> list[int]:
    """The dimensions of a state before that of its units."""
    if not isinstance(module, nn.RNNBase):
        return list(x.shape[:-1])
    layers = module.num_layers * (2 if module.bidirectional else 1)
    if isinstance(given, PackedSequence):
        return [layers, int(given.batch_sizes[0])]
    return [layers] if x.dim() == 2 else [layers, x.shape[0 if module.batch_first else 1]]


def _steps_of(module: nn.RNNBase, given: object, x: Tensor) -> int:
    if isinstance(given, PackedSequence):
        return len(given.batch_sizes)
    return x.shape[1 if module.batch_first and x.dim() == 3 else 0]


def _described(x: Tensor) -> str:
    return f"{_name(x.dtype)} input of shape {list(x.shape)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
