"""Where a layer would rest under a constant input, and whether it would stay there."""

from collections.abc import Mapping

import numpy as np

from ...measures.fixed_points import FixedPoints
from ..names import shortened
from ..numbers import counted, number
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table
from .contributions import PANELS

DRAWN = 5
"""So many points of a layer are drawn, the most stable ones; the table has more."""
LISTED = 20


def fixed_points_section(
    measured: Mapping[str, FixedPoints],
    *,
    key: str = "fixed-points",
    title: str = "Fixed points",
) -> Section:
    """One panel a layer: the moduli of the eigenvalues at its most stable points."""
    found = {name: one for name, one in measured.items() if one.n}
    figures = [_moduli(found, key)] if found else []
    return Section(
        key=key, title=title, lead=_lead(measured), figures=tuple(figures), tables=(_table(measured),), method=METHOD
    )


METHOD = Method(
    sentences=(
        "Damped Newton steps lead recorded states to where a step no longer moves them, under a constant input.",
        "A point is stable where every eigenvalue of the step's Jacobian is inside the unit circle.",
        "What no start was led to is not found: the list is never known to be complete.",
    ),
    formula="F(s) = Φ(x, s) − s = 0,   q(s) = ½ |F(s)|²",
    sources=("Sussillo & Barak 2013", "Golub & Sussillo 2018"),
)


def _moduli(found: Mapping[str, FixedPoints], key: str) -> Figure:
    def panel(place: int, name: str, one: FixedPoints) -> Panel:
        moduli = np.abs(one.eigenvalues)
        largest = float(moduli[0, 0])
        return Panel(
            tuple(
                Curve(f"point {point}", np.arange(1.0, moduli.shape[1] + 1), moduli[point], colour=point)
                for point in range(min(DRAWN, one.n))
            ),
            title=shortened(name, 40),
            x_label="eigenvalue, from the largest",
            y_label="modulus (1)",
            marks=(Mark(1.0, largest, "" if place else number(largest), 0),),
            rules=(Rule("y", 1.0, "stays as it is"),),
        )

    drawn = [*found.items()][:PANELS]
    left_out = f" The first {PANELS} of {len(found)} layers are drawn." if len(found) > PANELS else ""
    return Figure(
        key=f"{key}-figure",
        plot=Curves(tuple(panel(place, name, one) for place, (name, one) in enumerate(drawn)), columns=(2, 1)),
        alt=f"Falling curves of the eigenvalues' moduli, a curve a point. {_lead(found)}",
        caption=f"Moduli of the eigenvalues at up to {DRAWN} fixed points a layer, the most stable first.{left_out}",
    )


def _lead(measured: Mapping[str, FixedPoints]) -> str:
    name, one = next(iter(measured.items()))
    layer, starts = shortened(name), counted(one.starts, "start")
    if not one.n:
        ended = [f"; the slowest ended at q = {number(q)}" for q in one.unfinished_speed[:1].tolist()]
        return f"None of {starts} was led to a fixed point of {layer}{''.join(ended)}."
    return (
        f"In {layer} {starts} led to {counted(one.n, 'fixed point')}, {int(one.stable.sum())} of them stable; at the "
        f"most stable one the largest eigenvalue has modulus {number(float(one.spectral_radius[0]))}."
    )


def _table(measured: Mapping[str, FixedPoints]) -> Table:
    def rows_of(name: str, one: FixedPoints) -> list[tuple[Cell, ...]]:
        ended = int(one.starts_led_here.sum())
        listed: list[tuple[Cell, ...]] = [
            (
                name,
                f"point {point}",
                "stable" if one.stable[point] else "unstable",
                float(one.spectral_radius[point]),
                int(one.unstable_directions[point]),
                float(one.speed[point]),
                int(one.starts_led_here[point]),
            )
            for point in range(min(LISTED, one.n))
        ]
        more = one.n - len(listed)
        listed += [(name, f"and {more} more", None, None, None, None, None)] if more else []
        return [*listed, (name, "no fixed point reached", None, None, None, None, one.starts - ended)]

    return Table(
        caption="The fixed points, the most stable first",
        columns=("layer", "point", "stability", "spectral radius", "unstable directions", "speed q", "starts led here"),
        rows=tuple(row for name, one in measured.items() for row in rows_of(name, one)),
    )
