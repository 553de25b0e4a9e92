"""What recording costs on this machine, side by side in one run: `python -m gatescope.bench`."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import click
import torch
from torch import nn

from .recording.recorder import Recorder

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


def geometric_mean(ratios: list[float]) -> float:
    """The mean that a ratio and its inverse agree on."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


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
        pairs = [(_seconds(lambda: lstm(x)), _seconds(recorded)) for _ in range(repeats)]
    bare, with_recording = zip(*pairs, strict=True)
    return Cost(size, statistics.median(bare), statistics.median(with_recording))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@click.command()
@click.option("--repeats", default=7, show_default=True, help="Runs of each; the median counts.")
def main(repeats: int) -> None:
    """Measure what recording costs here."""
    costs = recording_costs(repeats)
    for cost in costs:
        steps, sequences, features, units = cost.size
        click.echo(
            f"{steps:5} steps x {sequences:2} sequences, {features:3} -> {units:3} units: "
            f"{1e3 * cost.bare:7.1f} ms, recorded {1e3 * cost.recorded:7.1f} ms, {cost.ratio:.2f} times"
        )
    click.echo(f"geometric mean: {geometric_mean([cost.ratio for cost in costs]):.2f} times")


if __name__ == "__main__":
    main()
