"""What a recurrent module cannot be called with, said before torch says it."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..errors import InputError


def check_input(title: str, module: nn.RNNBase | nn.RNNCellBase, given: object) -> None:
    """Raises an InputError that names the module, what it was given, what it wants and what to do."""
    x = given.data if isinstance(given, PackedSequence) else given
    if not isinstance(x, Tensor):
        return
    weight = next(iter(module.parameters()))
    stacked = isinstance(module, nn.RNNBase)
    seen = f"{title} was given {_described(x)}"
    if x.device != weight.device:
        raise InputError(f"{seen} on {x.device}, and its weights are on {weight.device}; move one of them with .to().")
    if not x.is_floating_point():
        raise InputError(
            f"{seen}, and wants {_name(weight.dtype)}; embed tokens first (nn.Embedding) or call .float()."
        )
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InputError(f"{seen}, and its weights are {_name(weight.dtype)}; convert one of them with .to().")
    dims = (2,) if isinstance(given, PackedSequence) else (2, 3) if stacked else (1, 2)
    if x.dim() not in dims:
        raise InputError(f"{seen}, and wants {' or '.join(map(str, dims))} dimensions; reshape it.")
    if x.shape[-1] != module.input_size:
        raise InputError(
            f"{seen}, and wants {module.input_size} features in the last dimension; give it "
            "the data that it was built for."
        )
    if x.numel() == 0:
        raise InputError(
            f"{seen}, which holds no {'steps or sequences' if stacked else 'sequences'}; "
            "leave empty batches out of the recording."
        )


def _described(x: Tensor) -> str:
    return f"{_name(x.dtype)} input of shape {list(x.shape)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
