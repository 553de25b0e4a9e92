"""What so many steps can do at most, and on average, to any gradient, layer by layer."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from ...measures.singular_values import SingularValues
from ..bands import TEN, band, of_those
from ..names import shortened
from ..numbers import counted, number_from_log
from ..plot import Curves, Mark, Panel
from ..section import Cell, Figure, Method, Section, Table

Quantity = Literal["largest", "rms"]


def singular_values_section(
    measured: Mapping[str, SingularValues],
    *,
    lag: int,
    colours: Mapping[str, int] | None = None,
    key: str = "singular-values",
    title: str = "Products of Jacobians",
) -> Section:
    """The largest stretching beside the mean one, over lag; the lead speaks of the last measured lag up to `lag`."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    panels = (
        _panel(measured, "largest", "The most that is possible", lag, colours),
        _panel(measured, "rms", "On average over directions", lag, colours),
    )
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves(panels, y_scale="log10", columns=(2, 1)),
        alt=f"Two panels of curves over lag, logarithmic. {_lead(measured, lag)}",
        caption=(
            "The factor by which the product of the Jacobians over a lag stretches a push or a gradient: its largest "
            "singular value, and the root mean square over directions. A cross on the floor: nothing gets through."
        ),
    )
    return Section(key, title, _lead(measured, lag), figures=(figure,), tables=(_table(measured),), method=METHOD)


METHOD = Method(
    sentences=(
        "The Jacobian of a step is that of the whole state, (h, c) in an LSTM, along the recorded trajectory.",
        "The product is formed whole and renormalised at every step, so that no lag is too long.",
        "The lag curve of any one loss lies below the largest, and about the mean where it starts at random.",
    ),
    formula="P_k = J_T J_{T−1} ⋯ J_{T−k+1},   largest: |P_k|₂,   mean: |P_k|_F / √n",
    sources=("Pascanu, Mikolov & Bengio 2013",),
)


def _at(one: SingularValues, lag: int) -> int:
    """The place of the last measured lag that is no longer than this one."""
    return max(0, int(np.searchsorted(one.lags, lag, side="right")) - 1)


def _of(one: SingularValues, quantity: Quantity) -> np.ndarray:
    return one.largest if quantity == "largest" else one.rms


def _panel(
    measured: Mapping[str, SingularValues], quantity: Quantity, title: str, lag: int, colours: Mapping[str, int]
) -> Panel:
    marks = tuple(
        Mark(float(one.lags[_at(one, lag)]), log / TEN, "" if place else number_from_log(log), colours[name])
        for place, (name, one) in enumerate(measured.items())
        for log in [of_those(_of(one, quantity)[:, _at(one, lag)]).mean]
        if np.isfinite(log)
    )
    curves = tuple(band(name, one.lags, _of(one, quantity) / TEN, colours[name]) for name, one in measured.items())
    return Panel(curves, title, "lag (steps)", "stretching (factor)", marks)


def _lead(measured: Mapping[str, SingularValues], lag: int) -> str:
    name, one = next(iter(measured.items()))
    at = _at(one, lag)
    most, mean = (number_from_log(of_those(_of(one, quantity)[:, at]).mean) for quantity in ("largest", "rms"))
    return (
        f"Over {counted(int(one.lags[at]), 'step')}, {shortened(name)} leaves {most} of a gradient at most, and {mean} "
        "in the root mean square over directions."
    )


def _table(measured: Mapping[str, SingularValues]) -> Table:
    lags = sorted({int(lag) for one in measured.values() for lag in one.lags})

    def row(name: str, one: SingularValues, quantity: Quantity) -> tuple[Cell, ...]:
        found = {int(lag): of_those(_of(one, quantity)[:, place]) for place, lag in enumerate(one.lags)}
        cells = (number_from_log(found[lag].mean) if lag in found and found[lag].n else None for lag in lags)
        return (name, quantity, *cells, one.n)

    return Table(
        caption="Factors over each lag: the largest, and the root mean square",
        columns=("layer", "which", *(f"lag {lag}" for lag in lags), "sequences"),
        rows=tuple(row(name, one, quantity) for name, one in measured.items() for quantity in ("largest", "rms")),
    )
