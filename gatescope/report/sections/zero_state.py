"""How a layer forgets around its zero state, from its weights alone, beside weights drawn at random."""

from collections.abc import Mapping

import numpy as np

from ...measures.zero_state import ZeroState
from ..bands import TEN
from ..names import shortened
from ..numbers import counted, listed, number, number_from_log
from ..plot import Curve, Curves, Mark, Panel
from ..section import Figure, Method, Section, Table


def zero_state_section(
    measured: Mapping[str, ZeroState],
    *,
    lag: int,
    colours: Mapping[str, int] | None = None,
    key: str = "zero-state",
    title: str = "At rest, from the weights alone",
) -> Section:
    """One curve a layer, the prediction for random weights broad behind it; the lead speaks of `lag`."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    predicted = tuple(
        Curve(
            "", np.arange(float(len(one.predicted_log_attenuation))), one.predicted_log_attenuation / TEN, style="truth"
        )
        for one in measured.values()
    )
    curves = tuple(
        Curve(name, np.arange(float(len(one.log_attenuation))), one.log_attenuation / TEN, colour=colours[name])
        for name, one in measured.items()
    )
    marks = tuple(
        Mark(_within(one, lag), log / TEN, "" if place else number_from_log(log), colours[name])
        for place, (name, one) in enumerate(measured.items())
        for log in [float(one.log_attenuation[_within(one, lag)])]
        if np.isfinite(log)
    )
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves(
            (Panel((*predicted, *curves), "", "lag (steps)", "what is left of a push", marks),), y_scale="log10"
        ),
        alt=f"Curves over lag, logarithmic. {_lead(measured, lag)}",
        caption=(
            "Root mean square over directions of what k steps around the zero state leave of a push. Broad: the closed "
            "form for weights drawn independently with the same variance."
        ),
    )
    return Section(key, title, _lead(measured, lag), figures=(figure,), tables=(_table(measured, lag),), method=METHOD)


METHOD = Method(
    sentences=(
        "With no input, a zero state and no bias on the candidate, the step is linear, with the gates at rest.",
        "In the root mean square over directions, k steps stretch a push by the norm of the k-th power.",
        "In the end each step stretches it by the spectral radius.",
        "The closed form is derived here and checked by simulation; it leaves out terms of order k² / n.",
    ),
    formula=(
        "RNN   A = W_hh\n"
        "LSTM  A = diag(f) + diag(i) W_hg diag(o)\n"
        "GRU   A = diag(z) + diag((1 − z) ⊙ r) W_hn\n"
        "left of a push after k steps: |A^k|_F / √n"
    ),
)


def _within(one: ZeroState, lag: int) -> int:
    return min(lag, len(one.log_attenuation) - 1)


def _lead(measured: Mapping[str, ZeroState], lag: int) -> str:
    (first, one), *others = measured.items()
    at = _within(one, lag)
    rest = [
        f"{number_from_log(float(other.log_attenuation[_within(other, lag)]))} in {shortened(name)}"
        for name, other in others
    ]
    return (
        f"After {counted(at, 'step')} at rest, {number_from_log(float(one.log_attenuation[at]))} of a push is left in "
        f"{shortened(first)}, where random weights of its variance would leave "
        f"{number_from_log(float(one.predicted_log_attenuation[at]))}; spectral radius {number(one.spectral_radius)}"
        + (f"; {listed(rest)}." if rest else ".")
    )


def _table(measured: Mapping[str, ZeroState], lag: int) -> Table:
    return Table(
        caption="What is left at rest, and the factor of a step in the end",
        columns=("layer", "lag", "left of a push", "predicted", "spectral radius", "predicted"),
        rows=tuple(
            (
                name,
                at,
                number_from_log(float(one.log_attenuation[at])),
                number_from_log(float(one.predicted_log_attenuation[at])),
                one.spectral_radius,
                one.predicted_spectral_radius,
            )
            for name, one in measured.items()
            for at in [_within(one, lag)]
        ),
    )
