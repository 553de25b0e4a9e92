"""What each step back adds to the gradient of each gate's recurrent weights, layer by layer."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ...measures.contributions import Contributions
from ..bands import TEN
from ..names import shortened
from ..numbers import counted, number_from_log
from ..plot import Curve, Curves, Mark, Panel
from ..section import Cell, Figure, Method, Section, Table
from .gates import TITLES

PARAMETER = "weight_hh"
COLOURS = {"i": 0, "r": 0, "f": 1, "z": 1, "o": 2, "g": 3, "n": 3, "h": 4}
"""Of the gates, the same in every figure that tells them apart."""
PANELS = 6
"""So many layers are drawn; the table has all."""


def contributions_section(
    measured: Mapping[str, Contributions],
    *,
    lag: int,
    key: str = "contributions",
    title: str = "What each step adds to the weights",
) -> Section:
    """One panel a layer and one curve a gate, relative to the whole gradient; the lead speaks of `lag`."""
    drawn = {name: measured[name] for name in [*measured][:PANELS]}
    panels = tuple(_panel(name, one, lag, said=not place) for place, (name, one) in enumerate(drawn.items()))
    left_out = f" The first {PANELS} of {len(measured)} layers are drawn." if len(measured) > PANELS else ""
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves(panels, y_scale="log10", columns=(2, 1)),
        alt=f"Curves over lag, one a gate, logarithmic. {_lead(measured, lag)}",
        caption=(
            "Norm of what all sequences together add at one lag to the gradient of the gate's rows of W_hh, over the "
            f"norm of that gradient: above 1 where lags cancel.{left_out}"
        ),
    )
    return Section(key, title, _lead(measured, lag), figures=(figure,), tables=(_table(measured, lag),), method=METHOD)


METHOD = Method(
    sentences=(
        "The gradient of a weight matrix is a sum of outer products, one for each step of each sequence.",
        "Their norms follow from those of the two vectors, and none is formed.",
        "Where the gradient is far below the sum of its parts, they cancel.",
        "Lag k is k steps before each sequence's last processed step.",
    ),
    formula="dL/dW_hh = Σ_{t,b} δa_{t,b} ⊗ h_{t−1,b},   C_k = Σ_b over lag k",
    sources=("Li et al. 2022 (unverified)", "Bu et al. 2022 (unverified)"),
)


def _shares(one: Contributions) -> dict[str, Float[np.ndarray, "lag"]]:
    """By gate, the logarithm of |C_k| / |gradient|; NaN where there is no gradient."""
    with np.errstate(invalid="ignore"):
        return {
            gate: log_norm - one.gradient[parameter, gate]
            for (parameter, gate), log_norm in one.batch.items()
            if parameter == PARAMETER
        }


def _gate(one: Contributions) -> str:
    """The gate that is spoken of: what keeps the memory, where there is one."""
    return next(gate for gate in ("f", "z", *_shares(one)) if gate in _shares(one))


def _panel(name: str, one: Contributions, lag: int, *, said: bool) -> Panel:
    shares, spoken = _shares(one), _gate(one)
    log = shares[spoken][_within(one, lag)]
    text = number_from_log(float(log)) if said else ""
    return Panel(
        tuple(
            Curve(gate, np.arange(float(len(log_share))), log_share / TEN, colour=COLOURS.get(gate, place))
            for place, (gate, log_share) in enumerate(shares.items())
        ),
        title=shortened(name, 40),
        x_label="lag (steps back from the last)",
        y_label="part of the gradient of W_hh, in norm",
        marks=(Mark(_within(one, lag), float(log) / TEN, text, COLOURS.get(spoken, [*shares].index(spoken))),)
        if np.isfinite(log)
        else (),
    )


def _within(one: Contributions, lag: int) -> int:
    return min(lag, int(one.lengths.max()) - 1)


def _lead(measured: Mapping[str, Contributions], lag: int) -> str:
    name, one = next(iter(measured.items()))
    gate, at = _gate(one), _within(one, lag)
    log = float(_shares(one)[gate][at])
    if np.isnan(log):
        norm = number_from_log(one.gradient[PARAMETER, gate])
        return f"The gradient of the recurrent weights of {_titled(gate)}{shortened(name)} has the norm {norm}."
    return (
        f"What the step {counted(at, 'step')} back adds to the recurrent weights of {_titled(gate)}{shortened(name)} "
        f"has {number_from_log(log)} of the norm of their whole gradient."
    )


def _titled(gate: str) -> str:
    return f"the {TITLES[gate]} in " if gate in TITLES and gate != "h" else ""


def _table(measured: Mapping[str, Contributions], lag: int) -> Table:
    def row(name: str, one: Contributions, gate: str, log_share: Float[np.ndarray, "lag"]) -> tuple[Cell, ...]:
        lags = sorted({0, 1, 10, lag})
        shares = (
            number_from_log(float(log_share[k])) if k < len(log_share) and not np.isnan(log_share[k]) else None
            for k in lags
        )
        return (name, gate, number_from_log(one.gradient[PARAMETER, gate]), *shares)

    return Table(
        caption="Parts of the gradient of each gate's recurrent weights, in norm",
        columns=("layer", "gate", "norm of the gradient", *(f"lag {k}" for k in sorted({0, 1, 10, lag}))),
        rows=tuple(row(name, one, gate, of) for name, one in measured.items() for gate, of in _shares(one).items()),
    )
