"""What a model is run with for an analysis: data, loss, lag, lengths, seed; and how each of these is said in words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..errors import InputError
from .driving import SEQUENCES, STEPS, Cells, Drive, Loss, drive, drive_on_noise, loss_name
from .linearised import LinearisedCall, linearised_calls
from .recorder import Recorder


@dataclass(frozen=True, eq=False)
class Setting:
    """What every run of an analysis, and every copy that is tried, has in common."""

    x: Any = None
    """What the model is called with; None for noise."""
    y: Any = None
    loss: Loss | None = None
    """None for a random readout."""
    lag: int | None = None
    """The lag that the task needs."""
    lengths: Int[Tensor, "sequence"] | None = None
    cells: Cells | None = None
    dtype: torch.dtype = torch.float64
    """In which the trajectory is linearised."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in {torch.float32, torch.float64}:
            raise InputError(
                f"A trajectory was to be linearised in {str(self.dtype).removeprefix('torch.')}, which holds too few "
                "digits for it; choose torch.float64, or torch.float32."
            )
        if self.lag is not None and self.lag < 1:
            raise InputError(f"The lag was given as {self.lag}; lags count steps back from the last: choose 1 or more.")
        if self.x is None and self.loss is not None:
            raise InputError("A loss was given without data for it; give x (and y), or leave the loss out.")
        for name in ("x", "y"):
            object.__setattr__(self, name, _as_tensors(getattr(self, name)))

    @property
    def loss_in_words(self) -> str:
        """The name of the loss, or what stands in its place."""
        if self.loss is not None:
            return loss_name(self.loss)
        return f"a random linear readout of h_n, a direction of its own for each sequence, seed {self.seed}"

    @property
    def data_in_words(self) -> str:
        """Type and shape of the data, or what stands in their place."""
        if self.x is not None:
            return f"given: {_described(self.x)}"
        return f"synthetic: independent N(0, 1), {SEQUENCES} sequences of {STEPS} steps, seed {self.seed}"

    def driven(self, model: nn.Module) -> Drive:
        """One run of a model, which is left as it was."""
        if self.x is None:
            return drive_on_noise(model, cells=self.cells, seed=self.seed)
        return drive(model, self.x, self.y, self.loss, lengths=self.lengths, cells=self.cells, seed=self.seed)

    def calls(self, recorder: Recorder, *, readout: bool) -> list[LinearisedCall]:
        """The calls of a recording; with a random readout, or with the gradient that was recorded."""
        seed = self.seed if readout else None
        return linearised_calls(recorder, readout=seed, lengths=self.lengths, dtype=self.dtype)


def _as_tensors(given: Any) -> Any:
    """The data with a tensor for each numpy array, and for each tensor of inference mode one that autograd takes."""
    match given:
        case np.ndarray():
            return torch.from_numpy(np.array(given, order="C"))
        case PackedSequence():
            return PackedSequence(_as_tensors(given.data), *given[1:])
        case Tensor() if given.is_inference():
            with torch.inference_mode(False):
                return given.clone()
        case dict() | list() | tuple() if type(given) in {dict, list, tuple}:
            pairs = given.items() if isinstance(given, dict) else enumerate(given)
            whole = {key: _as_tensors(one) for key, one in pairs}
            return whole if isinstance(given, dict) else type(given)(whole.values())
    return given


def _described(x: Any) -> str:
    match x:
        case Tensor():
            return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
        case PackedSequence():
            return f"packed, {int(x.batch_sizes[0])} sequences of up to {len(x.batch_sizes)} steps"
        case dict():
            return ", ".join(f"{name} {_described(one)}" for name, one in x.items())
        case tuple() | list():
            return ", ".join(map(_described, x))
    return type(x).__name__
