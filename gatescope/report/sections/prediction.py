"""What networks predict against what came: how they learnt, and how they go on from their own predictions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..names import shortened
from ..numbers import listed, number
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Figure, Method, Section, Table


@dataclass(frozen=True, eq=False)
class Forecast:
    """What one network learnt to predict."""

    losses: Float[np.ndarray, "epoch"]
    """The mean squared error of each epoch of training, taken while it learns."""
    error: float
    """The mean squared error of the next value over all held-out sequences."""
    continued: Float[np.ndarray, "shown step"]
    """Some held-out sequences continued, the network reading its own predictions."""


def prediction_section(
    networks: Mapping[str, Forecast],
    *,
    inputs: Float[np.ndarray, "shown time"],
    truth: Float[np.ndarray, "shown step"],
    held_out: int,
    references: Mapping[str, float] | None = None,
    colours: Mapping[str, int] | None = None,
    key: str = "prediction",
    title: str = "Prediction against truth",
) -> Section:
    """The lead speaks of the first network; `references` are the errors of simple answers."""
    colours = colours or {name: place for place, name in enumerate(networks)}
    errors = [f"{number(one.error)} ({shortened(name)})" for name, one in networks.items()]
    epochs = len(next(iter(networks.values())).losses)
    return Section(
        key=key,
        title=title,
        lead=(
            f"After {epochs} epochs the mean squared error of the next value, over {held_out} held-out sequences, is "
            f"{listed(errors)}."
        ),
        figures=(
            _learning(key, networks, references or {}, colours),
            _continuing(key, networks, colours, inputs, truth),
        ),
        tables=(_table(networks, references or {}),),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "Each network reads a window of past values and says the next one.",
        "The training error of an epoch is taken while the weights change.",
        "To go on, a network reads its own last predictions in place of the values that it does not know.",
    ),
    formula="error = mean over held-out sequences of (prediction − next value)²",
)


def _learning(
    key: str, networks: Mapping[str, Forecast], references: Mapping[str, float], colours: Mapping[str, int]
) -> Figure:
    with np.errstate(divide="ignore"):  # an exact zero is drawn as one
        curves = tuple(
            Curve(name, np.arange(1.0, len(one.losses) + 1), np.log10(one.losses), colour=colours[name])
            for name, one in networks.items()
        )
        marks = tuple(
            Mark(len(one.losses), float(np.log10(one.error)), "" if place else number(one.error), colours[name])
            for place, (name, one) in enumerate(networks.items())
        )
    rules = tuple(Rule("y", float(np.log10(error)), shortened(name, 40)) for name, error in references.items())
    panel = Panel(curves, "", "epoch of training", "mean squared error", marks, rules)
    ends = [f"{number(one.error)} ({shortened(name)})" for name, one in networks.items()]
    return Figure(
        key=f"{key}-learning",
        plot=Curves((panel,), y_scale="log10"),
        alt=f"Training errors falling on a logarithmic axis; held-out errors at the end: {listed(ends)}.",
        caption="Lines: the error on the sequences to learn from. Dots: on the held-out ones, afterwards.",
    )


def _continuing(
    key: str,
    networks: Mapping[str, Forecast],
    colours: Mapping[str, int],
    inputs: Float[np.ndarray, "shown time"],
    truth: Float[np.ndarray, "shown step"],
) -> Figure:
    window, ahead = inputs.shape[1], truth.shape[1]
    columns = 2

    def panel(place: int) -> Panel:
        series = np.r_[inputs[place], truth[place]]
        known = Curve("truth", np.arange(-window, ahead, dtype=float), series, style="truth")
        said = tuple(
            Curve(
                name,
                np.arange(0, ahead, dtype=float),
                one.continued[place],
                colour=colours[name],
            )
            for name, one in networks.items()
        )
        start = Rule("x", -0.5, "continued from here")
        return Panel((known, *said), f"Held-out sequence {place + 1}", "step", "value", rules=(start,))

    return Figure(
        key=f"{key}-continued",
        plot=Curves(tuple(panel(place) for place in range(len(inputs))), columns=(columns, 1)),
        alt=f"{len(inputs)} held-out sequences, continued over {ahead} steps by {len(networks)} networks.",
        caption=(
            f"Broad: what came. Left of the line the {window} values that a network reads; right of it the {ahead} "
            "that it says by itself, reading its own predictions."
        ),
    )


def _table(networks: Mapping[str, Forecast], references: Mapping[str, float]) -> Table:
    learnt = [(name, one.error, float(one.losses[-1])) for name, one in networks.items()]
    return Table(
        caption="Mean squared errors of the next value",
        columns=("network", "held out", "last epoch of training"),
        rows=(*learnt, *((name, error, None) for name, error in references.items())),
    )
