"""A recurrent layer as a file shows it, and what only might be one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import CheckpointError, InputError
from .checkpoint import StoredArray

if TYPE_CHECKING:
    from ..layers import RecurrentLayer

CellName = Literal["lstm", "gru", "gru-reset-before", "rnn-tanh", "rnn-relu", "rnn"]
"""`rnn` where the file does not say whether it is tanh or relu."""


@dataclass(frozen=True)
class Clip:
    """What a cell clamps to [-bound, bound] at every step; None where it does not."""

    preactivation: float | None = None
    """Whatever enters a sigmoid or a tanh."""
    cell: float | None = None
    """The cell state c."""
    output: float | None = None
    """The hidden state h, after the projection where there is one."""


@dataclass(frozen=True, eq=False)
class FoundLayer:
    """One layer, one direction, as a file holds it; its numbers are read when they are asked for."""

    name: str
    """As a recording of the live model names it: `encoder.l0`, `encoder.l1_reverse`; a cell is its module's path."""
    cell: CellName
    input_size: int
    hidden_size: int
    """Units of the gates and of the cell state."""
    proj_size: int
    """Units of the projected hidden state; 0 without a projection."""
    bias: bool
    direction: Literal["forward", "reverse"]
    index: int
    """Its depth in its stack, from 0."""
    parameters: tuple[str, ...]
    """The names in the file of the arrays that it is made of."""
    why: str
    """On what evidence this is believed to be a recurrent layer."""
    sources: Mapping[str, StoredArray] = field(repr=False)
    """Torch's names without suffix, to arrays in torch's shape and order."""
    clip: Clip | None = None
    batch_first: bool | None = None
    """None where the file does not say."""
    aliases: tuple[str, ...] = ()
    """The other names of a layer whose module is shared."""

    def weights(self) -> dict[str, np.ndarray]:
        """The numbers, by torch's names, in torch's block order: `weight_ih` [gates * hidden, input] and so on.

        Raises:
            CheckpointError: the numbers in the file are damaged.
        """
        return {name: source.read() for name, source in self.sources.items()}

    def layer(self) -> "RecurrentLayer":
        """The layer, ready for every measure; this loads torch.

        Raises:
            InputError: the cell is a simple RNN of which neither the file nor you have said: tanh or relu.
            CheckpointError: the numbers are damaged, or are no floating-point numbers.
        """
        import torch

        from ..cells import CELLS
        from ..layers import RecurrentLayer
        from .clipped import clipped

        if self.cell == "rnn":
            raise InputError(
                f"{self.name}: the file does not say whether this RNN is tanh or relu; "
                "say nonlinearity='tanh' or 'relu'."
            )
        weights = self.weights()
        for name, array in weights.items():
            if array.dtype.kind != "f":
                raise CheckpointError(
                    f"{self.name}: {name} holds {array.dtype} where a floating-point type is wanted; "
                    "store the weights unquantised."
                )
        cell = CELLS[self.cell] if self.clip is None else clipped(self.cell, self.clip)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
        return RecurrentLayer(self.name, cell, tensors, self.direction, self.aliases)


@dataclass(frozen=True)
class Maybe:
    """Arrays that look like a recurrent layer, on evidence that is not sufficient."""

    names: tuple[str, ...]
    """Their names in the file."""
    why: str
    """What speaks for it, and what is missing."""
    flag: str
    """What you can say to settle it; empty where nothing does."""


@dataclass(frozen=True)
class Discovery:
    """What a checkpoint shows of recurrent layers."""

    layers: tuple[FoundLayer, ...]
    maybe: tuple[Maybe, ...] = ()
    notes: tuple[str, ...] = ()
    """What was chosen where there was a choice."""
