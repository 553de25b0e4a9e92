"""One recurrent layer in one direction: its cell, its weights in torch's order, and its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .cells import CELLS, Affine, Cell
from .errors import InputError

Direction = Literal["forward", "reverse"]
Stack = tuple[tuple["RecurrentLayer", ...], ...]
"""The layers of one module: for each depth, one layer a direction."""


@dataclass(frozen=True, eq=False)
class RecurrentLayer:
    """One layer, one direction of a recurrent network."""

    name: str
    """Module path and torch's own suffix: `encoder.l0`, `encoder.l1_reverse`; a cell has its module path."""
    cell: Cell
    weights: Mapping[str, Tensor]
    """Torch's names without suffix: `weight_ih`, `weight_hh`, and if there, `bias_ih`, `bias_hh`, `weight_hr`."""
    direction: Direction = "forward"
    aliases: tuple[str, ...] = ()
    """The other names of a layer whose module is shared."""

    @property
    def input_size(self) -> int:
        """Features of the input of one step."""
        return self.weights["weight_ih"].shape[1]

    @property
    def output_size(self) -> int:
        """Units of h: the projection's where there is one."""
        return self.weights["weight_hh"].shape[1]

    @property
    def hidden_size(self) -> int:
        """Units of the gates and of the cell state."""
        return self.weights["weight_hr"].shape[1] if "weight_hr" in self.weights else self.output_size

    @property
    def state_sizes(self) -> dict[str, int]:
        """Units of each recurrent state."""
        return {"h": self.output_size} | dict.fromkeys(self.cell.memory, self.hidden_size)

    def affine(self, x: Float[Tensor, "*time sequence feature"], h: Float[Tensor, "*time sequence unit"]) -> Affine:
        """The two terms that a step reads, `W_ih x + b_ih` and `W_hh h + b_hh`."""
        w = self.weights
        return linear(x, w["weight_ih"], w.get("bias_ih")), linear(h, w["weight_hh"], w.get("bias_hh"))

    def zeros(self, sequences: int) -> dict[str, Float[Tensor, "sequence unit"]]:
        """The states before the first step when none are given."""
        like = self.weights["weight_hh"]
        return {name: like.new_zeros(sequences, units) for name, units in self.state_sizes.items()}

    def to(self, dtype: torch.dtype) -> "RecurrentLayer":
        """The same layer with its weights in another dtype."""
        return replace(self, weights={name: weight.to(dtype) for name, weight in self.weights.items()})


def kind_of(module: nn.Module) -> str | None:
    """The kind of cell in one of torch's recurrent modules; None for any other module."""
    match module:
        case nn.LSTM() | nn.LSTMCell():
            return "lstm"
        case nn.GRU() | nn.GRUCell():
            return "gru"
        case nn.RNN() | nn.RNNCell():
            return f"rnn-{module.nonlinearity}"
    return None


def stack_of(
    module: nn.RNNBase,
    path: str = "",
    aliases: tuple[str, ...] = (),
    snapshot: Callable[[Tensor], Tensor] = torch.Tensor.detach,
) -> Stack:
    """The layers of an `nn.LSTM`, `nn.GRU` or `nn.RNN`, from the first to the last, one a direction each.

    `snapshot` decides what becomes of each weight; the weights are those which the kernel reads.
    """
    kind = kind_of(module)
    if kind is None:
        raise InputError(f"{type(module).__name__} is no nn.LSTM, nn.GRU or nn.RNN; give one of these.")
    kernel_weights = dict(zip(module._flat_weights_names, module._flat_weights, strict=True))

    def layer(depth: int, direction: Direction) -> RecurrentLayer:
        suffix = f"l{depth}" + ("_reverse" if direction == "reverse" else "")
        weights = {
            name.removesuffix(f"_{suffix}"): snapshot(weight)
            for name, weight in kernel_weights.items()
            if name.removesuffix(f"_{suffix}") in _TORCH_NAMES and weight is not None
        }
        return RecurrentLayer(
            _joined(path, suffix), CELLS[kind], weights, direction, tuple(_joined(alias, suffix) for alias in aliases)
        )

    directions: tuple[Direction, ...] = ("forward", "reverse") if module.bidirectional else ("forward",)
    return tuple(tuple(layer(depth, direction) for direction in directions) for depth in range(module.num_layers))


def layer_of_cell(
    module: nn.Module,
    path: str = "",
    aliases: tuple[str, ...] = (),
    snapshot: Callable[[Tensor], Tensor] = torch.Tensor.detach,
    cell: Cell | None = None,
) -> RecurrentLayer:
    """The layer of an `nn.LSTMCell`, `nn.GRUCell`, `nn.RNNCell`, or of a user's own module of a given `cell`."""
    spec = cell or CELLS[kind_of(module) or ""]
    if cell is None:  # by torch's names, whatever stands behind them: a parameter, a tied one, a parametrization
        named = {name: getattr(module, name, None) for name in _TORCH_NAMES}
    else:
        named = {**dict(module.named_buffers()), **dict(module.named_parameters(remove_duplicate=False))}
    own_names = {own: torch_name for torch_name, own in spec.parameters.items()}
    weights = {own_names.get(name, name): snapshot(w) for name, w in named.items() if isinstance(w, Tensor)}
    missing = {"weight_ih", "weight_hh"} - weights.keys()
    if missing:
        raise InputError(
            f"{type(module).__name__} at {path or 'the root'} has the parameters {', '.join(weights) or 'none'}, "
            f"among which gatescope needs {' and '.join(sorted(missing))}; "
            "say in the cell's `parameters` which of them these are."
        )
    return RecurrentLayer(path or "cell", spec, weights, "forward", tuple(alias or "cell" for alias in aliases))


def linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W v + b; outside autograd by oneDNN's product, which torch's fused kernels use and torch's own linear does not.

    Measured on two AMD cores: 450 against 215 GFLOP/s.
    """
    if _ONEDNN is None or torch.is_grad_enabled() or values.dtype != torch.float32 or values.device.type != "cpu":
        return nn.functional.linear(values, weight, bias)
    product: Tensor = _ONEDNN(values, weight, bias, "none", [], "")
    return product


_TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def _joined(path: str, suffix: str) -> str:
    return f"{path}.{suffix}" if path else suffix


def _onednn() -> Callable[..., Tensor] | None:
    """Torch's operator for it, where this build has one."""
    operators = getattr(torch.ops, "mkldnn", None)
    return getattr(operators, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


_ONEDNN = _onednn()
