"""What training would feel on windows of different length, several networks side by side."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ...measures.fresh_window import ALL, FreshWindow
from ...measures.intervals import Interval, student_t_interval
from ..names import shortened
from ..numbers import number, number_from_log
from ..plot import Curve, Curves, Mark, Panel
from ..section import Cell, Figure, Method, Section, Table


def fresh_window_section(
    moments: Mapping[str, Mapping[str, FreshWindow]],
    *,
    colours: Mapping[str, int] | None = None,
    key: str = "fresh-window",
    title: str = "The gradient over window length",
) -> Section:
    """Loss, parameter gradient and gradient at the window's start, a row of panels for each moment.

    The lead speaks of the first network in the first moment.
    """
    names = dict.fromkeys(name for networks in moments.values() for name in networks)
    colours = colours or {name: place for place, name in enumerate(names)}
    panels = [
        panel
        for place, (moment, networks) in enumerate(moments.items())
        for panel in _panels(moment, networks, colours, said=not place)
    ]
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves(tuple(panels), y_scale="log10", x_ticks=_ticks(moments), share_y=False),
        alt=" ".join(_heard(moment, networks) for moment, networks in moments.items()),
        caption=_caption(moments),
    )
    return Section(key, title, _lead(moments), figures=(figure,), tables=(_table(moments),), method=METHOD)


METHOD = Method(
    sentences=(
        "For each window length the whole model runs once on the last steps of the same sequences.",
        "It starts from its own initial state and has the same target each time.",
        "The norm of the parameter gradient cannot show vanishing: the last few steps rule it.",
        "Where the steps before them are lost it goes flat; only the gradient at the window's start falls.",
    ),
    formula="W:  x_{T−W+1} … x_T   →   L_W,   |dL_W/dθ|,   |dL_W/ds_0|",
    sources=("Williams & Peng 1990", "Pascanu, Mikolov & Bengio 2013"),
)


def _panels(
    moment: str, networks: Mapping[str, FreshWindow], colours: Mapping[str, int], *, said: bool
) -> tuple[Panel, ...]:
    items = [(colours[name], name, one) for name, one in networks.items()]
    losses = [Curve(name, _windows(one), _log10(one.loss), colour=place) for place, name, one in items]
    norms = [Curve(name, _windows(one), _log10(one.parameters[ALL]), colour=place) for place, name, one in items]
    starts = [_start_curve(name, one, place) for place, name, one in items]
    place, _, first = items[0]
    norm, start = math.log(first.parameters[ALL][-1] or math.nan), _start(first)[-1].mean

    def panel(what: str, y_label: str, curves: list[Curve], log: float = math.nan) -> Panel:
        marks = _mark(float(first.windows[-1]), log, place) if said else ()
        return Panel(tuple(curves), f"{shortened(_capital(moment), 18)}: {what}", "window (steps)", y_label, marks)

    return (
        panel("loss", shortened(first.loss_name.replace("_", " "), 30), losses),
        panel("weights", "norm of dL/dθ (loss / weight)", norms, norm),
        panel("start", "norm of dL/ds₀ (loss / state)", starts, start),
    )


def _mark(x: float, log: float, colour: int) -> tuple[Mark, ...]:
    return (Mark(x, log / math.log(10), number_from_log(log), colour),) if math.isfinite(log) else ()


def _start_curve(name: str, one: FreshWindow, colour: int) -> Curve:
    at = _start(one)
    mean, low, high = np.array([(one.mean, one.low, one.high) for one in at]).T / math.log(10)
    known = np.isfinite(low) & np.isfinite(high)
    return Curve(name, _windows(one), mean, np.where(known, low, mean), np.where(known, high, mean), colour)


def _start(one: FreshWindow) -> list[Interval]:
    """Over the sequences, at the first layer: the one that stands furthest from the loss."""
    with np.errstate(invalid="ignore"):  # the interval of exact zeros
        return [student_t_interval(of_window) for of_window in next(iter(one.initial.values()))]


def _lead(moments: Mapping[str, Mapping[str, FreshWindow]]) -> str:
    moment, networks = next(iter(moments.items()))
    name, one = next(iter(networks.items()))
    middle, last = len(one.windows) // 2, len(one.windows) - 1
    norms, starts = one.parameters[ALL], _start(one)
    return (
        f"{_capital(shortened(moment))}, {shortened(name)}: a window of {one.windows[last]} steps gives a parameter "
        f"gradient of norm {number(norms[last])}, a window of {one.windows[middle]} one of {number(norms[middle])}. "
        f"The gradient that reaches the window's start is {number_from_log(starts[last].mean)} against "
        f"{number_from_log(starts[middle].mean)}."
    )


def _heard(moment: str, networks: Mapping[str, FreshWindow]) -> str:
    ends = [
        f"{shortened(name)} at {one.windows[-1]} steps: loss {number(one.loss[-1])}, parameter gradient "
        f"{number(one.parameters[ALL][-1])}, gradient at the start {number_from_log(_start(one)[-1].mean)}"
        for name, one in networks.items()
    ]
    return f"{_capital(shortened(moment))}, three panels of curves over window length, logarithmic. {'; '.join(ends)}."


def _caption(moments: Mapping[str, Mapping[str, FreshWindow]]) -> str:
    one = next(iter(next(iter(moments.values())).values()))
    loss = shortened(one.loss_name.replace("_", " "))
    return (
        f"The same {_start(one)[-1].n} sequences cut at the left, and the networks as they are; loss: {loss}. Weights: "
        "the L2 norm over the weights of all recurrent layers. Start: the state before the window in layer "
        f"{shortened(next(iter(one.initial)))}, geometric mean over sequences, the band its 95 % interval."
    )


def _table(moments: Mapping[str, Mapping[str, FreshWindow]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for moment, networks in moments.items():
        for name, one in networks.items():
            for place, (window, start) in enumerate(zip(one.windows, _start(one), strict=True)):
                numbers = (float(one.loss[place]), float(one.parameters[ALL][place]))
                rows.append((name, moment, int(window), *numbers, number_from_log(start.mean)))
    columns = ("network", "when", "window (steps)", "loss", "norm of dL/dθ", "norm of dL/ds₀")
    return Table("Loss and gradients for each window length", columns, tuple(rows))


def _ticks(moments: Mapping[str, Mapping[str, FreshWindow]]) -> tuple[float, ...]:
    every = (window for networks in moments.values() for one in networks.values() for window in one.windows)
    return tuple(sorted({float(window) for window in every}))


def _windows(one: FreshWindow) -> Float[np.ndarray, "window"]:
    return one.windows.astype(float)


def _log10(values: Float[np.ndarray, "window"]) -> Float[np.ndarray, "window"]:
    with np.errstate(divide="ignore"):  # an exact zero is drawn as one
        logs: np.ndarray = np.log10(values)
    return logs


def _capital(moment: str) -> str:
    return moment[:1].upper() + moment[1:]
