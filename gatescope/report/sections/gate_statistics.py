"""How each gate of each unit is used: time constants, saturation, units that do not move, layer by layer."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from ...measures.gate_statistics import GateStatistics
from ...measures.intervals import Interval
from ..bands import log10
from ..names import shortened
from ..numbers import listed, number
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table
from .gates import TITLES

FEW = 8
"""So many units are named by number."""


def gate_statistics_section(
    measured: Mapping[str, GateStatistics],
    *,
    needed_lag: int | None = None,
    colours: Mapping[str, int] | None = None,
    key: str = "gate-statistics",
    title: str = "How the gates are used",
) -> Section:
    """Time constants of all units against the lag, left and right saturation, and units that do not move."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    keeping = {name: one for name, one in measured.items() if one.keeping}
    gated = {name: one for name, one in measured.items() if one.sigmoid}
    figures = [_time_constants(keeping, needed_lag, colours, key)] if keeping else []
    figures += [_saturation(gated, colours, key)] if gated else []
    return Section(
        key=key,
        title=title,
        lead=_lead(measured, keeping, needed_lag),
        figures=tuple(figures),
        tables=(*([_by_gate(measured)] if gated else []), _by_layer(measured)),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "Over all valid steps of all sequences.",
        "Saturated left is a gate below 0.1, saturated right one above 0.9.",
        "The time constants are of the gate that keeps the memory: f of an LSTM, z of a GRU.",
        "τ_geo is exact for the memory path alone: what the recurrent weights carry is not in it.",
        "A gate is frozen whose standard deviation over all steps is below 10⁻³.",
        "A unit is dead whose h varies less than 10⁻⁶ times what the median unit's does.",
    ),
    formula="τ_geo = −1 / E[ln f],   τ_arith = −1 / ln E[f],   τ_leak = 1 / (1 − E[f])",
    sources=("Karpathy, Johnson & Li 2015 (unverified)", "Mahto et al. 2021", "Tallec & Ollivier 2018"),
)


def _time_constants(
    keeping: Mapping[str, GateStatistics], needed_lag: int | None, colours: Mapping[str, int], key: str
) -> Figure:
    curves = tuple(
        Curve(
            name,
            (np.arange(len(one.tau_geo)) + 0.5) / len(one.tau_geo),
            log10(np.sort(one.tau_geo)),
            None,
            None,
            colours[name],
        )
        for name, one in keeping.items()
    )
    middles = [(len(one.tau_geo) - 1) // 2 for one in keeping.values()]
    marks = tuple(
        Mark(
            float(drawn.x[middle]), float(drawn.y[middle]), "" if place else number(10 ** drawn.y[middle]), drawn.colour
        )
        for place, (drawn, middle) in enumerate(zip(curves, middles, strict=True))
        if np.isfinite(drawn.y[middle])
    )
    needed = () if needed_lag is None else (Rule("y", float(np.log10(needed_lag)), f"needed: lag {needed_lag}"),)
    panel = Panel(curves, "", "share of units, from the shortest", "τ_geo (steps)", marks, needed)
    return Figure(
        key=f"{key}-time-constants",
        plot=Curves((panel,), y_scale="log10", x_ticks=(0.0, 0.25, 0.5, 0.75, 1.0)),
        alt=f"Time constants of all units from the shortest to the longest. {listed(_medians(keeping))}.",
        caption=(
            "Time constants of the gate that keeps the memory, every unit, from the shortest to the longest; the dot "
            "is the middle. A unit whose gate is always exactly 1 has none, and is not drawn."
        ),
    )


def _saturation(gated: Mapping[str, GateStatistics], colours: Mapping[str, int], key: str) -> Figure:
    gates = [*dict.fromkeys(gate for one in gated.values() for gate in one.sigmoid)]
    panels = tuple(
        Panel(
            tuple(
                Curve(name, one.share(f"left {gate}"), one.share(f"right {gate}"), colour=colours[name], style="points")
                for name, one in gated.items()
                if gate in one.sigmoid
            ),
            title=f"{gate}  {TITLES.get(gate, '')}".strip(),
            x_label="share of steps below 0.1",
            y_label="share of steps above 0.9",
            frame=((-0.03, 1.03), (-0.03, 1.03)),
        )
        for gate in gates
    )
    said = [
        f"{gate} of {shortened(name)}: left {number(float(one.share(f'left {gate}').mean()))}, right "
        f"{number(float(one.share(f'right {gate}').mean()))}"
        for name, one in gated.items()
        for gate in one.sigmoid
    ]
    return Figure(
        key=f"{key}-saturation",
        plot=Curves(panels),
        alt=f"Scatter of left against right saturation, a point a unit. Means: {listed(said)}.",
        caption=(
            "A point a unit: how often its gate is nearly shut, against how often it is nearly open. At the lower left "
            "gates work in between, at the other two corners they are switches that stay."
        ),
    )


def _lead(measured: Mapping[str, GateStatistics], keeping: Mapping[str, GateStatistics], needed_lag: int | None) -> str:
    if not keeping:
        name, one = next(iter(measured.items()))
        share = float(one.share("saturated h").mean())
        return f"In {shortened(name)} no gate keeps a memory, and |h| is above 0.99 in {number(share)} of all steps."
    if not _medians(keeping):
        return f"No gate of {listed([shortened(name) for name in keeping])} has a time constant that is a number."
    needs = "" if needed_lag is None else f"; the task needs lag {needed_lag}"
    return f"The gate of the middle unit alone keeps a gradient for {listed(_medians(keeping))}{needs}."


def _medians(keeping: Mapping[str, GateStatistics]) -> list[str]:
    def middle(one: GateStatistics) -> float:
        return float(np.sort(one.tau_geo)[(len(one.tau_geo) - 1) // 2])

    middles = {name: middle(one) for name, one in keeping.items()}
    return [f"{number(at)} steps in {shortened(name)}" for name, at in middles.items() if not np.isnan(at)]


def _by_gate(measured: Mapping[str, GateStatistics]) -> Table:
    def row(name: str, one: GateStatistics, gate: str) -> tuple[Cell, ...]:
        sigmoid = gate in one.sigmoid
        sides: tuple[Cell, ...] = (
            tuple(float(one.share(f"{side} {gate}").mean()) for side in ("left", "right"))
            if sigmoid
            else (None, float(one.share(f"saturated {gate}").mean()))
        )
        entropy = float(one.mean(f"entropy {gate}").mean()) if sigmoid else None
        always = (_units(one.always_closed(gate)), _units(one.always_open(gate))) if sigmoid else (None, None)
        return (name, gate, _said(one.interval(gate)), *sides, entropy, *always, _units(one.frozen(gate)))

    return Table(
        caption="Each gate over all units and steps",
        columns=(
            "layer",
            "gate",
            "mean [95 %]",
            "left",
            "right",
            "entropy (bit)",
            "always shut",
            "always open",
            "frozen units",
        ),
        rows=tuple(row(name, one, gate) for name, one in measured.items() for gate in one.gates),
    )


def _by_layer(measured: Mapping[str, GateStatistics]) -> Table:
    def row(name: str, one: GateStatistics) -> tuple[Cell, ...]:
        quantiles: tuple[Cell, ...] = (None, None, None, None)
        if one.keeping:
            ends = np.quantile(one.tau_geo, [0.05, 0.5, 0.95], method="lower")
            quantiles = (*map(float, ends), float(np.median(one.tau_leak)))
        drift = float(np.median(one.drift)) if "|c|" in one.moments.variables else np.nan
        saturated = float(one.share("saturated h").mean())
        return (name, *quantiles, None if np.isnan(drift) else drift, saturated, _units(one.dead), one.n, one.steps)

    return Table(
        caption="Each layer: time constants in steps, drift of |c| in a step, units that do not move",
        columns=(
            "layer",
            "τ_geo 5 %",
            "median",
            "95 %",
            "τ_leak median",
            "drift",
            "|h| above 0.99",
            "dead units",
            "sequences",
            "steps",
        ),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )


def _said(at: Interval) -> str:
    known = np.isfinite(at.low) and np.isfinite(at.high)
    return f"{number(at.mean)} [{number(at.low)}, {number(at.high)}]" if known else number(at.mean)


def _units(which: Bool[np.ndarray, "unit"]) -> str:
    """Their numbers, from 0."""
    found = np.flatnonzero(which).tolist()
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return f"{', '.join(map(str, found[:FEW]))}{more}" or "none"
