"""How many dimensions a layer's states fill, and their paths through the widest two of them."""

from collections.abc import Mapping

import numpy as np

from ...measures.state_geometry import Geometry, StateGeometry
from ..bands import log10
from ..names import shortened
from ..numbers import counted, listed, number
from ..plot import Curve, Curves, Mark, Panel
from ..section import Cell, Figure, Method, Section, Table
from .contributions import PANELS

STATE = "h"
"""The state that every cell has, of which the figures are."""
PATHS = 2
"""So many sequences have their paths drawn."""


def state_geometry_section(
    measured: Mapping[str, StateGeometry],
    *,
    colours: Mapping[str, int] | None = None,
    key: str = "state-geometry",
    title: str = "Where the states lie",
) -> Section:
    """The share of variance along each component, one curve a layer, and a panel a layer with paths."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    moving = {name: one for name, one in measured.items() if one.states[STATE].variances.sum() > 0}
    figures = [_shares(moving, colours, key)] if moving else []
    wide = {name: one for name, one in moving.items() if one.states[STATE].path.shape[2] > 1}
    figures += [_paths(wide, key)] if wide else []
    return Section(
        key=key, title=title, lead=_lead(measured), figures=tuple(figures), tables=(_table(measured),), method=METHOD
    )


METHOD = Method(
    sentences=(
        "The covariance is over every valid step of every sequence, of each state by itself.",
        "The participation ratio is 1 where the states lie on a line, n where they fill n dimensions alike.",
        "A component's sign is free, and so chosen that its largest weight is positive.",
    ),
    formula="participation ratio = (Σ e)² / Σ e²,   e the eigenvalues of the covariance",
    sources=("Gao et al. 2017 (unverified)",),
)


def _shares(moving: Mapping[str, StateGeometry], colours: Mapping[str, int], key: str) -> Figure:
    def curve(name: str, one: Geometry) -> Curve:
        return Curve(name, np.arange(1.0, len(one.shares) + 1), log10(one.shares), colour=colours[name])

    def mark(place: int, name: str, one: Geometry) -> Mark:
        share = float(one.shares[0])
        return Mark(1.0, float(np.log10(share)), "" if place else number(share), colours[name])

    states = {name: one.states[STATE] for name, one in moving.items()}
    panel = Panel(
        tuple(curve(name, one) for name, one in states.items()),
        x_label="principal component of h",
        y_label="share of the variance",
        marks=tuple(mark(place, name, one) for place, (name, one) in enumerate(states.items())),
    )
    said = [f"{number(float(one.shares[0]))} in {shortened(name)}" for name, one in states.items()]
    return Figure(
        key=f"{key}-shares",
        plot=Curves((panel,), y_scale="log10"),
        alt=f"Falling curves of variance over components, logarithmic. The first component has {listed(said)}.",
        caption="The share of the variance of h along each of its principal components, from the largest down.",
    )


def _paths(wide: Mapping[str, StateGeometry], key: str) -> Figure:
    def panel(name: str, one: Geometry) -> Panel:
        sequences = range(min(PATHS, one.path.shape[1]))
        return Panel(
            tuple(
                Curve(f"sequence {sequence}", one.path[:, sequence, 0], one.path[:, sequence, 1], colour=sequence)
                for sequence in sequences
            ),
            title=shortened(name, 40),
            x_label="first component of h",
            y_label="second component of h",
        )

    drawn = [*wide.items()][:PANELS]
    left_out = f" The first {PANELS} of {len(wide)} layers are drawn." if len(wide) > PANELS else ""
    return Figure(
        key=f"{key}-paths",
        plot=Curves(tuple(panel(name, one.states[STATE]) for name, one in drawn), columns=(2, 1), share_y=False),
        alt="Paths of the hidden state through the plane of its first two principal components.",
        caption=f"The hidden state of the first sequences, step after step, in its widest plane.{left_out}",
    )


def _lead(measured: Mapping[str, StateGeometry]) -> str:
    said = [
        f"{number(one.states[STATE].participation_ratio)} of {len(one.states[STATE].variances)} dimensions in "
        f"{shortened(name)}"
        for name, one in measured.items()
        if one.states[STATE].variances.sum() > 0
    ]
    name, one = next(iter(measured.items()))
    if not said:
        return f"The states of {shortened(name)} do not move at all in {counted(one.n, 'step')}."
    name, first = next((n, one.states[STATE]) for n, one in measured.items() if one.states[STATE].variances.sum() > 0)
    return (
        f"By the participation ratio h fills {listed(said)}; in {shortened(name)} its first component alone has "
        f"{number(float(first.shares[0]))} of the variance."
    )


def _table(measured: Mapping[str, StateGeometry]) -> Table:
    def row(name: str, state: str, one: Geometry, steps: int) -> tuple[Cell, ...]:
        if not one.variances.sum() > 0:
            return (name, state, len(one.variances), None, None, None, steps)
        enough = int(np.searchsorted(np.cumsum(one.shares), 0.9 - 1e-12)) + 1
        return (name, state, len(one.variances), one.participation_ratio, float(one.shares[0]), enough, steps)

    return Table(
        caption="How many dimensions each state fills",
        columns=(
            "layer",
            "state",
            "units",
            "participation ratio",
            "share of the first",
            "components for 90 %",
            "steps",
        ),
        rows=tuple(
            row(name, state, one, of_layer.n)
            for name, of_layer in measured.items()
            for state, one in of_layer.states.items()
        ),
    )
