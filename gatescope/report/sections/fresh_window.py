"""What training would feel on windows of different length, several networks side by side."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ...measures.fresh_window import ALL, FreshWindow
from ...measures.intervals import Interval
from ..bands import TEN, band, log10, of_those
from ..names import shortened
from ..numbers import counted, number, number_from_log
from ..plot import Curve, Curves, Mark, Panel
from ..section import Cell, Figure, Method, Section, Table


def fresh_window_section(
    moments: Mapping[str, Mapping[str, FreshWindow]],
    *,
    kind: str = "network",
    colours: Mapping[str, int] | None = None,
    key: str = "fresh-window",
    title: str = "The gradient over window length",
) -> Section:
    """Loss, parameter gradient and gradient at the window's start, a row of panels for each moment.

    A name that is a layer's stands for that layer alone; any other for all recurrent layers together, and for the start
    of the first. A moment without a name is the only one; `kind` says what the names in it are names of. The lead
    speaks of the first name in the first moment. A layer by itself has no loss of its own, and no panel for it.
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
    return Section(key, title, _lead(moments), figures=(figure,), tables=(_table(moments, kind),), method=METHOD)


METHOD = Method(
    sentences=(
        "For each window length the whole model runs once on the last steps of the same sequences.",
        "It starts from its own initial state and has the same target each time.",
        "Without a whole model, a layer runs by itself on its own recorded input, from the zero state.",
        "The gradient recorded at its last state is then held fixed for all windows.",
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
    losses = [Curve(name, _windows(one), log10(one.loss), colour=place) for place, name, one in items]
    norms = [Curve(name, _windows(one), log10(_norms(name, one)), colour=place) for place, name, one in items]
    starts = [_start_curve(name, one, place) for place, name, one in items]
    place, name, first = items[0]
    norm, start = float(norms[0].y[-1]) * TEN, _start(name, first)[-1].mean

    def panel(what: str, y_label: str, curves: list[Curve], log: float = math.nan) -> Panel:
        marks = _mark(float(first.windows[-1]), log, place) if said else ()
        title = f"{shortened(_capital(moment), 18)}: {what}" if moment else _capital(what)
        return Panel(tuple(curves), title, "window (steps)", y_label, marks)

    if all(one is first for _, _, one in items[1:]) and len(items) > 1:  # the layers of one model
        losses = [Curve("whole model", _windows(first), log10(first.loss), colour=len(items))]
    whole = [panel("loss", shortened(first.loss_name.replace("_", " "), 30), losses)] if ALL in first.parameters else []
    return (
        *whole,
        panel("weights", "norm of dL/dθ (loss / weight)", norms, norm),
        panel("start", "norm of dL/ds₀ (loss / state)", starts, start),
    )


def _mark(x: float, log: float, colour: int) -> tuple[Mark, ...]:
    return (Mark(x, log / math.log(10), number_from_log(log), colour),) if math.isfinite(log) else ()


def _start_curve(name: str, one: FreshWindow, colour: int) -> Curve:
    return band(name, one.windows, _initial(name, one).T / TEN, colour)


def _start(name: str, one: FreshWindow) -> list[Interval]:
    """Over the sequences that have such a window."""
    return [of_those(of_window) for of_window in _initial(name, one)]


def _initial(name: str, one: FreshWindow) -> Float[np.ndarray, "window sequence"]:
    """At this layer, or at the first one: that which stands furthest from the loss."""
    return one.initial.get(name, next(iter(one.initial.values())))


def _norms(name: str, one: FreshWindow) -> Float[np.ndarray, "window"]:
    return one.parameters.get(name, one.together)


def _lead(moments: Mapping[str, Mapping[str, FreshWindow]]) -> str:
    moment, networks = next(iter(moments.items()))
    name, one = next(iter(networks.items()))
    middle, last = len(one.windows) // 2, len(one.windows) - 1
    norms, starts = _norms(name, one), _start(name, one)
    when = f"{_capital(shortened(moment))}, {shortened(name)}: a" if moment else f"In {shortened(name)} a"
    if not last:
        return (
            f"{when} window of {counted(int(one.windows[0]), 'step')} gives a parameter gradient of norm "
            f"{number(norms[0])}, and {number_from_log(starts[0].mean)} of a gradient reaches its start."
        )
    return (
        f"{when} window of {counted(int(one.windows[last]), 'step')} gives a parameter gradient of norm "
        f"{number(norms[last])}, a window of {one.windows[middle]} one of {number(norms[middle])}. "
        f"The gradient that reaches the window's start is {number_from_log(starts[last].mean)} against "
        f"{number_from_log(starts[middle].mean)}."
    )


def _heard(moment: str, networks: Mapping[str, FreshWindow]) -> str:
    ends = [
        f"{shortened(name)} at {counted(int(one.windows[-1]), 'step')}: parameter gradient "
        f"{number(_norms(name, one)[-1])}, gradient at the start {number_from_log(_start(name, one)[-1].mean)}"
        for name, one in networks.items()
    ]
    when = f"{_capital(shortened(moment))}, p" if moment else "P"
    return f"{when}anels of curves over window length, logarithmic. {'; '.join(ends)}."


def _caption(moments: Mapping[str, Mapping[str, FreshWindow]]) -> str:
    networks = next(iter(moments.values()))
    name, one = next(iter(networks.items()))
    loss = shortened(one.loss_name.replace("_", " "))
    of_layers = all(name in one.parameters for name, one in networks.items())
    weights, start = (
        ("each layer", "each layer")
        if of_layers
        else ("all recurrent layers", f"layer {shortened(next(iter(one.initial)))}")
    )
    return (
        f"The same {counted(_start(name, one)[0].n, 'sequence')} cut at the left; {one.how}; loss: {loss}. Weights: "
        f"the L2 norm over the weights of {weights}. Start: the state before the window in {start}, geometric mean "
        "over sequences, the band its 95 % interval."
    )


def _table(moments: Mapping[str, Mapping[str, FreshWindow]], kind: str) -> Table:
    named = (kind, "when") if any(moments) else (kind,)
    rows: list[tuple[Cell, ...]] = []
    for moment, networks in moments.items():
        for name, one in networks.items():
            for place, (window, start) in enumerate(zip(one.windows, _start(name, one), strict=True)):
                numbers = (float(one.loss[place]), float(_norms(name, one)[place]))
                row = (name, moment)[: len(named)]
                rows.append((*row, int(window), *numbers, number_from_log(start.mean), start.n))
    columns = (*named, "window (steps)", "loss", "norm of dL/dθ", "norm of dL/ds₀", "sequences")
    return Table("Loss and gradients for each window length", columns, tuple(rows))


def _ticks(moments: Mapping[str, Mapping[str, FreshWindow]]) -> tuple[float, ...]:
    every = (window for networks in moments.values() for one in networks.values() for window in one.windows)
    return tuple(sorted({float(window) for window in every}))


def _windows(one: FreshWindow) -> Float[np.ndarray, "window"]:
    return one.windows.astype(float)


def _capital(moment: str) -> str:
    return moment[:1].upper() + moment[1:]
