"""Models, data and losses to ask for remedies."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gatescope.remedies.remedy import Remedies, Remedy

mse = nn.functional.mse_loss


class Model(nn.Module):
    """A recurrent module whose last output is read."""

    def __init__(self, encoder: nn.RNNBase) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.BatchNorm1d(encoder.input_size)
        self.drop = nn.Dropout(0.2)
        width = (encoder.proj_size or encoder.hidden_size) * (1 + encoder.bidirectional)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "time sequence feature"]) -> Float[Tensor, "sequence one"]:
        output = self.encoder(self.norm(x.flatten(0, 1)).view_as(x))[0]
        return self.head(self.drop(output)[-1])


def data(steps: int = 30, sequences: int = 12, features: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(steps, sequences, features), torch.randn(sequences, 1)


def last_output(output: tuple[Tensor, Any], y: Tensor) -> Tensor:
    """A loss for a bare recurrent module."""
    return (output[0][-1] * y).sum()


def read_h_n(output: tuple[Any, tuple[Tensor, Tensor]], y: Tensor) -> Tensor:
    return (output[1][0][-1] * y).sum()


def one(found: Remedies, change: str, layer: str | None = None) -> Remedy:
    return next(r for r in found.remedies if r.change == change and (layer is None or r.layer == layer))
