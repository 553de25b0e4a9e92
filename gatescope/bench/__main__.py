"""Prints what gatescope costs here."""

import click
import torch

from .lag_curve import SIZE, WINDOWS, lag_curve_cost
from .recording import recording_costs
from .timing import geometric_mean


@click.command()
@click.option("--repeats", default=7, show_default=True, help="Runs of each; the median counts.")
def main(repeats: int) -> None:
    """Measure what recording and the lag curve cost here."""
    click.echo(f"Recording a forward pass, on {torch.get_num_threads()} threads:")
    costs = recording_costs(repeats)
    for cost in costs:
        steps, sequences, features, units = cost.size
        click.echo(
            f"{steps:5} steps x {sequences:2} sequences, {features:3} -> {units:3} units: "
            f"{1e3 * cost.bare:7.1f} ms, recorded {1e3 * cost.recorded:7.1f} ms, {cost.ratio:.2f} times"
        )
    click.echo(f"geometric mean: {geometric_mean([cost.ratio for cost in costs]):.2f} times\n")
    steps, sequences, features, units = SIZE
    click.echo(
        f"The gradient at all {steps + 1} lags, recording included, "
        f"{steps} steps x {sequences} sequences, {features} -> {units} units:"
    )
    curve = lag_curve_cost(repeats)
    for dtype, ratio in curve.training_steps.items():
        click.echo(
            f"swept in {dtype}: {ratio:.2f} times a fused float32 forward and backward; "
            f"the naive loop with {WINDOWS} windows takes {curve.speedup[dtype]:.1f} times as long"
        )


if __name__ == "__main__":
    main()
