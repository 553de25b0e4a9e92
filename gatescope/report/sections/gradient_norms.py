"""How large gradients are from one to the next, and what clipping them would touch."""

from collections.abc import Sequence

import numpy as np

from ...measures.gradient_norms import CLIPS, QUANTILES, GradientNorms
from ..bands import TEN
from ..names import shortened
from ..numbers import counted, listed, number_from_log
from ..plot import Curve, Curves, Mark, Panel
from ..section import Cell, Figure, Method, Section, Table


def gradient_norms_section(
    measured: Sequence[GradientNorms],
    *,
    key: str = "gradient-norms",
    title: str = "How large the gradient is",
) -> Section:
    """All norms from the smallest to the largest, one curve a distribution."""
    drawn = [one for one in measured if np.isfinite(one.log_quantile(0.5))]
    return Section(
        key=key,
        title=title,
        lead=_lead(measured[0]),
        figures=(_figure(drawn, key),) if drawn else (),
        tables=(_table(measured),),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "L2 norms over updates, batches or single sequences; those which are not finite are counted and left out.",
        "Everything is computed from logarithms, so that a norm of 10⁻⁴⁰⁰ is a number.",
        "Clipping at a threshold touches every gradient whose norm is above it.",
    ),
    formula="touched at c = P(|g| > c · mean |g|)",
    sources=("Pascanu, Mikolov & Bengio 2013",),
)


def _figure(drawn: Sequence[GradientNorms], key: str) -> Figure:
    def curve(place: int, one: GradientNorms) -> Curve:
        logs = np.array([one.log_quantile(float(share)) for share in SHARES])
        return Curve(one.of if len(drawn) > 1 else "", SHARES, logs / TEN, colour=place)

    marks = tuple(
        Mark(0.5, log / TEN, "" if place else number_from_log(log), place)
        for place, one in enumerate(drawn)
        for log in [one.log_quantile(0.5)]
    )
    curves = tuple(curve(place, one) for place, one in enumerate(drawn))
    panel = Panel(curves, "", "share of gradients, from the smallest", "norm (loss / parameter)", marks)
    return Figure(
        key=f"{key}-figure",
        plot=Curves((panel,), y_scale="log10", x_ticks=(0.0, 0.25, 0.5, 0.75, 1.0)),
        alt=f"Rising curve of norms, logarithmic. {_lead(drawn[0])}",
        caption=f"Norms of gradients of {listed([shortened(one.of, 200) for one in drawn])}, from the smallest up.",
    )


SHARES = np.linspace(0, 1, 101)
"""Of all gradients, at which the curve is drawn."""


def _lead(one: GradientNorms) -> str:
    broken = f"; {one.nonfinite} of {one.n} are not finite" if one.nonfinite else ""
    return (
        f"The median norm of {counted(one.n, 'gradient')} is {number_from_log(one.log_quantile(0.5))}, the largest "
        f"{number_from_log(one.log_quantile(1.0))}{broken}."
    )


def _table(measured: Sequence[GradientNorms]) -> Table:
    def row(one: GradientNorms) -> tuple[Cell, ...]:
        quantiles = (number_from_log(one.log_quantile(q)) for q in QUANTILES)
        return (one.of, *quantiles, *(one.clipped[c] for c in CLIPS), one.nonfinite, one.n)

    return Table(
        caption="Quantiles of the norm, and the share that clipping at so many times the mean would touch",
        columns=(
            "gradients of",
            *(f"{100 * q:g} %" for q in QUANTILES),
            *(f"clip at {c:g} × mean" for c in CLIPS),
            "not finite",
            "gradients",
        ),
        rows=tuple(map(row, measured)),
    )
