"""What recording a forward pass costs beside the pass itself."""

import statistics
from dataclasses import dataclass

import torch
from torch import nn

from ..recording.recorder import Recorder
from .timing import seconds

SIZES = (
    (100, 32, 64, 128),
    (500, 16, 64, 256),
    (1000, 8, 128, 512),
    (1000, 1, 40, 256),
    (200, 64, 256, 512),
    (2000, 4, 16, 64),
)
"""Steps, sequences, features, units."""


@dataclass(frozen=True)
class Cost:
    """What recording one forward pass of one size costs."""

    size: tuple[int, int, int, int]
    bare: float
    """Seconds of the forward pass alone, the median."""
    recorded: float
    """Seconds of the same with every gate and state read."""

    @property
    def ratio(self) -> float:
        """Recorded over bare."""
        return self.recorded / self.bare


def recording_costs(repeats: int = 7) -> list[Cost]:
    """The cost at each size, bare and recorded in turn, without gradients."""
    return [_cost(size, repeats) for size in SIZES]


def _cost(size: tuple[int, int, int, int], repeats: int) -> Cost:
    steps, sequences, features, units = size
    lstm, x = nn.LSTM(features, units), torch.randn(steps, sequences, features)

    def recorded() -> None:
        with Recorder(lstm) as rec:
            lstm(x)
        assert rec.traces["l0"].gates

    with torch.no_grad():
        lstm(x)
        recorded()
        pairs = [(seconds(lambda: lstm(x)), seconds(recorded)) for _ in range(repeats)]
    bare, with_recording = zip(*pairs, strict=True)
    return Cost(size, statistics.median(bare), statistics.median(with_recording))
