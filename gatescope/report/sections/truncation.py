"""How wrong the gradient becomes where backpropagation stops some steps back, layer by layer."""

from collections.abc import Mapping

import numpy as np

from ...measures.truncation import Truncation
from ..bands import TEN
from ..names import shortened
from ..numbers import counted, listed, number_from_log
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table

SPOKEN = 0.1
"""The relative bias that the lead speaks of."""
BIASES = (0.5, SPOKEN, 0.01)


def truncation_section(
    measured: Mapping[str, Truncation],
    *,
    colours: Mapping[str, int] | None = None,
    key: str = "truncation",
    title: str = "Truncated backpropagation",
) -> Section:
    """One curve a layer: the relative bias of the gradient summed over sequences, for each number of steps."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    curves = tuple(
        Curve(name, np.arange(float(len(one.log_bias_of_sum))), one.log_bias_of_sum / TEN, colour=colours[name])
        for name, one in measured.items()
    )
    marks = tuple(
        Mark(steps, log / TEN, "" if place else number_from_log(log), colours[name])
        for place, (name, one) in enumerate(measured.items())
        for steps, log in [_at(one)]
        if np.isfinite(log)
    )
    panel = Panel(
        curves,
        x_label="steps of backpropagation, K",
        y_label="|g − g_K| / |g|",
        marks=marks,
        rules=(Rule("y", float(np.log10(SPOKEN)), "a tenth"),),
    )
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves((panel,), y_scale="log10"),
        alt=f"Falling curves of relative bias over steps of backpropagation. {_lead(measured)}",
        caption=(
            "Relative bias of the gradient of all weights of a layer, summed over sequences, where backpropagation "
            "stops K steps back. A cross on the floor: nothing is lost."
        ),
    )
    return Section(key, title, _lead(measured), figures=(figure,), tables=(_table(measured),), method=METHOD)


METHOD = Method(
    sentences=(
        "The state is carried over the cut and not reset: only the gradient stops there.",
        "What each step adds to the gradient of the weights is summed up from the oldest step, in logarithms.",
        "All sums come from inner products of one backward pass: nothing is run again for another K.",
        "Lags count from the last step, at which the loss is to be read.",
    ),
    formula="g_K = Σ_{k<K} C_k,   bias = |g − g_K| / |g|,   K(δ) = min K with |g − g_K| ≤ δ |g|",
    sources=("Williams & Peng 1990", "Aicher, Foti & Fox 2019"),
)


def _at(one: Truncation) -> tuple[int, float]:
    """K of the bias that is spoken of, and the logarithm of the bias there."""
    steps = one.steps_for_sum(SPOKEN)
    return steps, float(one.log_bias_of_sum[steps]) if steps >= 0 else np.nan


def _lead(measured: Mapping[str, Truncation]) -> str:
    (first, one), *others = measured.items()
    steps, log = _at(one)
    if steps < 0:
        norm = number_from_log(one.log_norm_of_sum)
        return f"The gradient of the weights of {shortened(first)} has the norm {norm}: no part of it can be lost."
    rest = [f"{counted(_at(other)[0], 'step')} in {shortened(name)}" for name, other in others if _at(other)[0] >= 0]
    return (
        f"Cut {counted(steps, 'step')} back, the gradient of the weights of {shortened(first)} is wrong by "
        f"{number_from_log(log)} of its norm, and by more than a tenth if cut earlier"
        + (f"; a tenth takes {listed(rest)}." if rest else ".")
    )


def _table(measured: Mapping[str, Truncation]) -> Table:
    def row(name: str, one: Truncation) -> tuple[Cell, ...]:
        of_sum = (steps if (steps := one.steps_for_sum(bias)) >= 0 else None for bias in BIASES)
        each = one.steps_for(SPOKEN)
        each = each[each >= 0]
        ends = (int(each.min()), float(np.median(each)), int(each.max())) if len(each) else (None, None, None)
        return (name, *of_sum, *ends, number_from_log(one.log_norm_of_sum), one.n)

    return Table(
        caption="Steps of backpropagation for a relative bias, of the sum and of single sequences",
        columns=(
            "layer",
            *(f"bias {bias:g}" for bias in BIASES),
            f"bias {SPOKEN:g}: fewest",
            "median",
            "most",
            "norm of the gradient",
            "sequences",
        ),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )
