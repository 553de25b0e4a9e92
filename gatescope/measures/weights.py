"""What the weights alone say of a layer, before any data: sizes, singular values, radii, bounds and time constants.

For each gate: the Frobenius norms of its block of W_ih and W_hh; and of the block that leads from the state back to it
(W_hh, times W_hr where there is a projection) the singular values and the spectral radius, the largest |eigenvalue|.

    g = sigmoid(b)      how far the memory gate is open at rest, with b = b_ih + b_hh: f of an LSTM, z of a GRU
    −1 / ln g           steps in which such a gate lets 1/e through; the input and the hidden path do not count
    1 / (1 − g)         steps that a leaky average with this gate covers (Tallec & Ollivier 2018)

For a plain RNN, the logarithm of the largest singular value of W_hh bounds what one step can do to a gradient, because
no slope of tanh or relu is above 1. Below 0 is sufficient for vanishing, above 0 necessary for exploding; neither is a
rate (Pascanu, Mikolov & Bengio 2013).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..layers import Direction, RecurrentLayer

if TYPE_CHECKING:
    import pandas

MEMORY_GATE = {"lstm": "f", "gru": "z", "gru-reset-before": "z"}
"""The gate that keeps the old state, by kind of cell."""


@dataclass(frozen=True, eq=False)
class Block:
    """The weights of one gate."""

    input_norm: float
    """Frobenius, of its rows of W_ih."""
    recurrent_norm: float
    """Frobenius, of its rows of W_hh."""
    singular_values: Float[np.ndarray, "unit"]
    """Of the recurrent block, from the largest down."""
    spectral_radius: float
    bias: Float[np.ndarray, "unit"]
    """b_ih + b_hh, zero where the layer has none. In a GRU's n the second one stands behind the reset gate."""


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The weights of one layer and direction in numbers."""

    measure: ClassVar[str] = "weights"

    layer: str
    cell: str
    direction: Direction
    blocks: Mapping[str, Block]
    """By gate; `h` for a plain RNN."""
    memory_gate: str | None
    """Which gate keeps the old state; None for a cell without one."""

    @property
    def open_at_rest(self) -> Float[np.ndarray, "unit"] | None:
        """The memory gate, 0 to 1, for each unit, while input and state are zero."""
        if self.memory_gate is None:
            return None
        opened: np.ndarray = 1 / (1 + np.exp(-self.blocks[self.memory_gate].bias))
        return opened

    @property
    def time_constant(self) -> Float[np.ndarray, "unit"] | None:
        """−1 / ln g of the memory gate at rest in steps, for each unit; times ln 2 it is a half-life."""
        if self.memory_gate is None:
            return None
        constant: np.ndarray = 1 / np.logaddexp(0, -self.blocks[self.memory_gate].bias)
        return constant

    @property
    def leak_time(self) -> Float[np.ndarray, "unit"] | None:
        """1 / (1 − g) of the memory gate at rest in steps, for each unit."""
        if self.memory_gate is None:
            return None
        leak: np.ndarray = 1 + np.exp(self.blocks[self.memory_gate].bias)
        return leak

    @property
    def step_bound(self) -> float | None:
        """Nats by which no step of a plain RNN lets a gradient grow more; a bound, no rate. None for other cells."""
        if not self.cell.startswith("rnn-"):
            return None
        largest = float(self.blocks["h"].singular_values[0])
        return math.log(largest) if largest else -math.inf

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, gate, unit index (missing: of all), value, unit."""
        import pandas

        rows: list[tuple[str, str, int | None, float, str]] = []
        for gate, block in self.blocks.items():
            rows += [
                ("input norm", gate, None, block.input_norm, "1"),
                ("recurrent norm", gate, None, block.recurrent_norm, "1"),
                ("spectral radius", gate, None, block.spectral_radius, "1"),
                *(("singular value", gate, j, value, "1") for j, value in enumerate(block.singular_values.tolist())),
                *(("bias", gate, j, value, "1") for j, value in enumerate(block.bias.tolist())),
            ]
        of_units = {"open at rest": (self.open_at_rest, "1"), "time constant": (self.time_constant, "steps")}
        for quantity, (values, unit) in (of_units | {"leak time": (self.leak_time, "steps")}).items():
            if values is not None and self.memory_gate is not None:
                rows += [(quantity, self.memory_gate, j, value, unit) for j, value in enumerate(values.tolist())]
        if self.step_bound is not None:
            rows.append(("step bound", "h", None, self.step_bound, "nats / step"))
        columns = ("quantity", "gate", "index", "value", "unit")
        frame = pandas.DataFrame.from_records(rows, columns=columns).astype({"index": "Int64"})
        for position, name in enumerate(("layer", "direction", "measure")):
            frame.insert(position, name, getattr(self, name))
        return frame


def weights(layer: RecurrentLayer) -> LayerWeights:
    """Reads the weights of one layer, in float64.

    Raises:
        InputError: a weight that is not finite.
    """
    w, gates = finite(layer).weights, layer.cell.gates or ("h",)
    absent = w["weight_ih"].new_zeros(len(w["weight_ih"]))
    bias = w.get("bias_ih", absent) + w.get("bias_hh", absent)
    parts = zip(gates, *(part.chunk(len(gates)) for part in (w["weight_ih"], w["weight_hh"], bias)), strict=True)
    blocks = {gate: _block(inner, hidden, at_rest, w.get("weight_hr")) for gate, inner, hidden, at_rest in parts}
    return LayerWeights(
        layer=layer.name,
        cell=layer.cell.kind,
        direction=layer.direction,
        blocks=MappingProxyType(blocks),
        memory_gate=MEMORY_GATE.get(layer.cell.kind),
    )


def finite(layer: RecurrentLayer) -> RecurrentLayer:
    """The same layer in float64.

    Raises:
        InputError: a weight that is not finite.
    """
    for name, weight in layer.weights.items():
        if not bool(weight.isfinite().all()):
            bad = int((~weight.isfinite()).sum())
            raise InputError(
                f"{layer.name}: {bad} of the {weight.numel()} numbers in {name} are not finite; mend them."
            )
    return layer.to(torch.float64)


def _block(weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, weight_hr: Tensor | None) -> Block:
    loop = weight_hh if weight_hr is None else weight_hh @ weight_hr
    return Block(
        input_norm=float(weight_ih.norm()),
        recurrent_norm=float(weight_hh.norm()),
        singular_values=_frozen(torch.linalg.svdvals(loop)),
        spectral_radius=float(torch.linalg.eigvals(loop).abs().max()),
        bias=_frozen(bias),
    )


def _frozen(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.cpu().numpy()
    array.setflags(write=False)
    return array
