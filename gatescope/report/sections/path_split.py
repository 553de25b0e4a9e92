"""How much of the gradient came through the memory alone, over lag, layer by layer."""

from collections.abc import Mapping

import numpy as np

from ...measures.intervals import Interval
from ...measures.path_split import PathSplit
from ..bands import TEN, band, of_those, said_from_log
from ..names import shortened
from ..numbers import counted, listed, number_from_log
from ..plot import Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table
from .gates import TITLES


def path_split_section(
    measured: Mapping[str, PathSplit],
    *,
    lag: int,
    colours: Mapping[str, int] | None = None,
    key: str = "path-split",
    title: str = "Memory path and hidden path",
) -> Section:
    """One curve a layer: the share of the path that no recurrent weight touches; the lead speaks of `lag`."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    curves = tuple(
        band(name, np.arange(one.carousel.shape[1]), one.carousel / TEN, colours[name])
        for name, one in measured.items()
    )
    marks = tuple(
        Mark(where, log / TEN, "" if place else number_from_log(log), colours[name])
        for place, (name, one) in enumerate(measured.items())
        for where, log in [(_within(one, lag), _share(one, lag).mean)]
        if np.isfinite(log)
    )
    panel = Panel(
        curves,
        x_label="lag (steps back from the last)",
        y_label="|K| / |dc|, share of the memory path",
        marks=marks,
        rules=(Rule("y", 0.0, "all of it"),),
    )
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves((panel,), y_scale="log10"),
        alt=f"Curves of the memory path's share over lag, logarithmic. {_lead(measured, lag)}",
        caption=(
            "Geometric mean over sequences, the band its 95 % interval. Below 1 the rest went through the recurrent "
            "weights; above 1 the other paths cancel a part of it. A cross on the floor: exactly nothing."
        ),
    )
    return Section(key, title, _lead(measured, lag), figures=(figure,), tables=(_table(measured, lag),), method=METHOD)


METHOD = Method(
    sentences=(
        "The gradient of the memory (c of an LSTM, h of a GRU) is split into two vectors whose sum it is.",
        "K came through the product of the gate that keeps the memory alone, and everything else is the difference.",
        "Paths of order m go through the recurrent weights exactly m times.",
        "Norms do not add up, so shares may sum to more than 1.",
    ),
    formula="K_T = dc_T,   K_{t−1} = K_t ⊙ f_t,   dc_t = K_t + everything else = Σ_m dc_t^(m)",
    sources=("Hochreiter & Schmidhuber 1997", "Arpit et al. 2019"),
)


def _within(one: PathSplit, lag: int) -> int:
    return min(lag, int(one.lengths.max()))


def _share(one: PathSplit, lag: int) -> Interval:
    return of_those(one.carousel[:, _within(one, lag)])


def _lead(measured: Mapping[str, PathSplit], lag: int) -> str:
    (first, one), *others = measured.items()
    if not _share(one, lag).n:
        return (
            f"Of {shortened(first)} no sequence has a gradient {counted(_within(one, lag), 'step')} back to be split."
        )
    rest = [
        f"{number_from_log(_share(other, lag).mean)} in {shortened(name)}"
        for name, other in others
        if _share(other, lag).n
    ]
    return (
        f"From {counted(_within(one, lag), 'step')} back, the path through the {TITLES[one.gate]} alone has "
        f"{said_from_log(_share(one, lag))} of the norm of the gradient of {one.state} in {shortened(first)}"
        + (f", {listed(rest)}." if rest else ".")
    )


def _table(measured: Mapping[str, PathSplit], lag: int) -> Table:
    def row(name: str, one: PathSplit) -> tuple[Cell, ...]:
        at = _within(one, lag)
        logs = (one.carousel, one.elsewhere, *one.orders[1:], one.beyond)
        shares = (number_from_log(found.mean) if (found := of_those(of[:, at])).n else None for of in logs)
        cosine = of_those(one.cosine[:, at])
        return (name, one.gate, at, *shares, cosine.mean if cosine.n else None, cosine.n)

    orders = min(len(one.orders) for one in measured.values())
    return Table(
        caption="Shares of the gradient's norm at this lag",
        columns=(
            "layer",
            "gate",
            "lag",
            "memory path",
            "everything else",
            *(f"order {order}" for order in range(1, orders)),
            "beyond",
            "cosine",
            "sequences",
        ),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )
