"""How much of the gradient is left so many steps back, drawn for several networks and several moments."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...measures.intervals import Interval
from ...measures.lag_curve import LagCurve
from ...verdicts import RESOLUTION, attenuation
from ..names import shortened
from ..numbers import counted, listed, number_from_log
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table

FORMATS = ("bfloat16", "float16", "float32")


def lag_curve_section(
    moments: Mapping[str, Mapping[str, LagCurve]],
    *,
    lag: int,
    needed_lag: int | None = None,
    quantity: str = "pair",
    kind: str = "network",
    colours: Mapping[str, int] | None = None,
    key: str = "lag-curve",
    title: str = "The gradient over lag",
) -> Section:
    """One panel a moment (`"after training"`), one curve a network; the lead speaks of the last panel at `lag`.

    A moment without a name is the only one; `kind` says what the names in it are names of.
    """
    spoken_of = next(iter([*moments.values()][-1].values()))
    longest = _lags(spoken_of)[-1]
    if not 0 <= lag <= longest:
        raise InputError(
            f"The lead is to speak of lag {lag}, and its curve has the lags 0 to {longest}; choose one of these."
        )
    names = dict.fromkeys(name for curves in moments.values() for name in curves)
    colours = colours or {name: place for place, name in enumerate(names)}
    panels = tuple(
        _panel(moment, curves, colours, _Wanted(lag, needed_lag, quantity, said=moment == [*moments][-1]))
        for moment, curves in moments.items()
    )
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves(panels, y_scale="log10", columns=(2, 1)),
        alt=" ".join(_heard(moment, curves, lag, quantity) for moment, curves in moments.items()),
        caption=_caption(moments, needed_lag, quantity, kind),
    )
    return Section(
        key=key,
        title=title,
        lead=_lead(moments, lag, quantity),
        figures=(figure,),
        tables=(_table(moments, lag, quantity, kind),),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "Where the loss reads one step of a sequence, one backward pass gives the gradient at every lag.",
        "Where it reads many, some of them are sources by themselves, and the mean of their logarithms is taken.",
        "It is taken with respect to the whole recurrent state (h and, in an LSTM, c) along the recorded trajectory.",
        "It is renormalised at every step, so that it cannot underflow.",
        "Each sequence gives one curve, relative to the step at which the loss reads it.",
        "Drawn is the mean of the logarithms over sequences with its 95 % Student t interval.",
    ),
    formula="y_k = log |s̃_{T−k}| − log |s̃_T|,   s̃_t = dL / d(recurrent state after step t)",
    sources=("Hochreiter 1991", "Bengio, Simard & Frasconi 1994", "Pascanu, Mikolov & Bengio 2013"),
)


@dataclass(frozen=True)
class _Wanted:
    lag: int
    needed_lag: int | None
    quantity: str
    said: bool
    """Whether the lead speaks of this panel."""


def _panel(moment: str, curves: Mapping[str, LagCurve], colours: Mapping[str, int], wanted: _Wanted) -> Panel:
    drawn = {name: [_at(curve, k, wanted.quantity) for k in _lags(curve)] for name, curve in curves.items()}
    marks = []
    for place, (name, at) in enumerate(drawn.items()):
        if wanted.lag < len(at) and math.isfinite(at[wanted.lag].mean):
            log = at[wanted.lag].mean
            text = number_from_log(log) if wanted.said and not place else ""
            marks.append(Mark(wanted.lag, log / math.log(10), text, colours[name]))
    needed = [] if wanted.needed_lag is None else [Rule("x", wanted.needed_lag, f"needed: lag {wanted.needed_lag}")]
    return Panel(
        curves=tuple(_curve(name, at, colours[name]) for name, at in drawn.items()),
        title=shortened(_capital(moment), 40),
        x_label="lag (steps back from the last)",
        y_label="gradient norm / that of the last step",
        marks=tuple(marks),
        rules=(*needed, *(Rule("y", math.log10(RESOLUTION[name]), name) for name in FORMATS)),
    )


def _curve(name: str, at: list[Interval], colour: int) -> Curve:
    mean, low, high = np.array([(one.mean, one.low, one.high) for one in at]).T / math.log(10)
    known = np.isfinite(low) & np.isfinite(high)
    return Curve(name, np.arange(float(len(at))), mean, np.where(known, low, mean), np.where(known, high, mean), colour)


def _lead(moments: Mapping[str, Mapping[str, LagCurve]], lag: int, quantity: str) -> str:
    moment, curves = [*moments.items()][-1]
    (first, curve), *others = curves.items()
    at = _at(curve, lag, quantity)
    sequences = counted(at.n, "sequence")
    known = math.isfinite(at.low) and math.isfinite(at.high)
    interval = f"95 % CI {number_from_log(at.low)} to {number_from_log(at.high)} over " if known else ""
    rest = listed(_said(dict(others), lag, quantity))
    back = f"{counted(lag, 'step')} back"
    when = f"{_capital(shortened(moment))}, {back}" if moment else f"From {back}"
    return (
        f"{when}, {number_from_log(at.mean)} of the last step's gradient is "
        f"left ({shortened(first)}; {interval}{sequences}){', ' + rest if rest else ''}."
    )


def _said(curves: Mapping[str, LagCurve], lag: int, quantity: str) -> list[str]:
    reaching = {name: curve for name, curve in curves.items() if lag <= _lags(curve)[-1]}
    return [f"{number_from_log(_at(one, lag, quantity).mean)} ({shortened(name)})" for name, one in reaching.items()]


def _heard(moment: str, curves: Mapping[str, LagCurve], lag: int, quantity: str) -> str:
    return (
        f"{_capital(shortened(moment))}{': ' if moment else ''}{'curves' if moment else 'Curves'} on a logarithmic "
        f"axis, at lag 0 all at 1, standing at {listed(_said(curves, lag, quantity))} at lag {lag}."
    )


def _caption(moments: Mapping[str, Mapping[str, LagCurve]], needed_lag: int | None, quantity: str, kind: str) -> str:
    curves = [curve for panel in moments.values() for curve in panel.values()]
    losses = listed([*dict.fromkeys(shortened(curve.loss, 200) for curve in curves)])
    layers = [*dict.fromkeys(shortened(curve.layer) for curve in curves)]
    of = f"Layer {listed(layers)}; l" if kind == "network" else "L"
    zero = any(np.isneginf(curve.log_norm[quantity]).any() for curve in curves)
    return (
        f"Geometric mean over sequences, the band its 95 % interval. {of}oss: {losses}. A sequence's curve ends at its "
        "initial state. Dotted across: what three number formats still resolve beside a gradient of 1."
        + (" Dotted upright: the furthest step back that the task needs." if needed_lag is not None else "")
        + (" A cross on the floor: exactly zero." if zero else "")
    )


def _table(moments: Mapping[str, Mapping[str, LagCurve]], lag: int, quantity: str, kind: str) -> Table:
    longest = max(_lags(curve)[-1] for panel in moments.values() for curve in panel.values())
    lags = sorted({k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= longest} | {lag})

    def row(moment: str, name: str, curve: LagCurve) -> tuple[Cell, ...]:
        means = (number_from_log(_at(curve, k, quantity).mean) if k <= _lags(curve)[-1] else None for k in lags)
        at = _at(curve, lag, quantity)
        when = (moment,) if any(moments) else ()
        return (name, *when, *means, number_from_log(at.low), number_from_log(at.high), at.n)

    named = (kind, "when") if any(moments) else (kind,)
    return Table(
        caption="Gradient norm relative to the last step",
        columns=(*named, *(f"lag {k}" for k in lags), f"lag {lag}: 95 % from", "to", "sequences"),
        rows=tuple(row(moment, name, curve) for moment, panel in moments.items() for name, curve in panel.items()),
    )


def _at(curve: LagCurve, lag: int, quantity: str) -> Interval:
    with np.errstate(invalid="ignore"):  # the interval of exact zeros
        return attenuation(curve, lag, quantity=quantity).value


def _lags(curve: LagCurve) -> range:
    return range(int(curve.lengths.max()) + 1)


def _capital(moment: str) -> str:
    return moment[:1].upper() + moment[1:]
