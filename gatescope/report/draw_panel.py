"""Draws what stands in one panel: curves and bands, marks with their numbers, rules, ticks, names at the ends."""

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .names import shortened
from .numbers import number, power_of_ten
from .palette import Theme
from .plot import Curve, Curves, Mark, Panel, Rule
from .sheet import points


def draw_panel(axes: Axes, panel: Panel, plot: Curves, theme: Theme, limits: tuple[float, float]) -> None:
    axes.set_ylim(*limits)
    axes.set_xlim(*(panel.frame[0] if panel.frame else _span(panel)))
    _y_ticks(axes, plot, limits)
    _x_ticks(axes, plot)
    for rule in panel.rules:
        _rule(axes, rule, panel, theme)
    for curve in panel.curves:
        _curve(axes, curve, theme)
    for mark in reversed(panel.marks):  # the first on top
        _mark(axes, mark, panel.curves, theme)


def draw_names(axes: Axes, curves: tuple[Curve, ...], theme: Theme, tall: float) -> None:
    """Each curve's name at its right end, pushed apart where ends meet."""
    low, high = axes.get_ylim()
    named = [curve for curve in curves if curve.label]
    ends = [(curve.y[np.isfinite(curve.y)][-1:].sum() if np.isfinite(curve.y).any() else low) for curve in named]
    places = _apart([(end - low) / (high - low) * tall for end in ends], 14.0, tall)
    for place, curve in zip(places, named, strict=True):
        axes.annotate(
            short_name(curve),
            (1, place / tall),
            (7, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=points(12),
            color=colour_of(curve, theme),
            annotation_clip=False,
        )


def colour_of(curve: Curve, theme: Theme) -> str:
    return theme.muted if curve.style == "truth" else theme.colour(curve.colour)


def short_name(curve: Curve) -> str:
    return shortened(curve.label, 24)


def length_of(text: str) -> float:
    """About how many pixels a line of 12 pixels high letters takes, whatever the reader's font."""
    return sum(3.6 if sign in " ,.;:'|!ijlftI1()" else 8.6 if sign.isupper() or sign in "—mw" else 6.9 for sign in text)


def padded(values: Float[np.ndarray, " value"], below: float, above: float) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return low - (below * (high - low) or 0.5), high + (above * (high - low) or 0.5)


def _curve(axes: Axes, curve: Curve, theme: Theme) -> None:
    colour = colour_of(curve, theme)
    y = np.where(np.isfinite(curve.y), curve.y, np.nan)
    if curve.low is not None and curve.high is not None:
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, lw=0, zorder=2)
    if curve.style == "points":
        axes.plot(curve.x, y, "o", ms=4, mew=0, alpha=0.65, color=colour, zorder=3, clip_on=False)
    elif curve.style == "truth":
        axes.plot(curve.x, y, color=theme.muted, alpha=0.35, lw=6, zorder=1.8, solid_capstyle="round")
    else:
        axes.plot(curve.x, y, color=colour, lw=1.7, zorder=3, solid_capstyle="round")
        alone = np.isfinite(y) & ~np.isfinite(np.r_[np.nan, y[:-1]]) & ~np.isfinite(np.r_[y[1:], np.nan])
        axes.plot(curve.x[alone], y[alone], "o", ms=4, color=colour, zorder=4)
    zero = np.isneginf(curve.y)
    floor = np.full(int(zero.sum()), axes.get_ylim()[0])
    axes.plot(curve.x[zero], floor, "x", ms=5, mew=1.5, color=colour, zorder=5, clip_on=False)


def _mark(axes: Axes, mark: Mark, curves: tuple[Curve, ...], theme: Theme) -> None:
    """A dot, and its number where no curve runs: above or below all of them, tied to the dot by a fine line."""
    colour = theme.colour(mark.colour)
    axes.plot([mark.x], [mark.y], "o", ms=6, mfc=colour, mec=theme.paper, mew=1.4, zorder=6, clip_on=False)
    if not mark.text:
        return
    low, high = axes.get_xlim()
    late = (mark.x - low) / (high - low) > 0.5
    aside = -4 if late else 4
    reach = (high - low) * 1.05 * length_of(mark.text) / axes.bbox.width * (-1 if late else 1)
    beside = [np.interp([mark.x, mark.x + reach / 2, mark.x + reach], curve.x, curve.y) for curve in curves]
    near = np.concatenate([*beside, [mark.y]])
    near = near[np.isfinite(near)]
    under = mark.y - near.min() < near.max() - mark.y
    axes.annotate(
        mark.text,
        (mark.x, near.min() if under else near.max()),
        (aside, -8 if under else 8),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top" if under else "bottom",
        weight="bold",
        fontsize=points(12),
        color=colour,
        zorder=7,
    )
    axes.plot([mark.x, mark.x], [mark.y, near.min() if under else near.max()], color=colour, lw=0.8, zorder=5)


def _rule(axes: Axes, rule: Rule, panel: Panel, theme: Theme) -> None:
    low, high = axes.get_ylim() if rule.axis == "y" else axes.get_xlim()
    if not low <= rule.at <= high:
        return
    line: dict[str, Any] = {"color": theme.muted, "lw": 1.0, "dashes": (1.2, 2.2), "zorder": 1.5}
    words: dict[str, Any] = {
        "textcoords": "offset points",
        "fontsize": points(10.5),
        "color": theme.muted,
        "zorder": 1.6,
        "bbox": {"facecolor": theme.paper, "alpha": 0.85, "linewidth": 0, "pad": 0.8},
    }
    if rule.axis == "y":
        axes.axhline(rule.at, **line)
        start, end = axes.get_xlim()
        upright = [(other.at - start) / (end - start) for other in panel.rules if other.axis == "x"]
        after = max((place for place in upright if place < 0.3), default=0.0)
        length = 0.95 * length_of(rule.label) / axes.bbox.width
        early, late = _free(axes, panel, rule.at, after, length), _free(axes, panel, rule.at, 1 - length, length)
        at_the_end = early < 15 and early < late
        words |= {"ha": "right"} if at_the_end else {}
        place, offset = ((1.0, rule.at), (-2, 2.5)) if at_the_end else ((after, rule.at), (4, 2.5))
        axes.annotate(rule.label, place, offset, xycoords=("axes fraction", "data"), **words)
    else:
        axes.axvline(rule.at, **line)
        late = (rule.at - low) / (high - low) > 0.6
        words |= {"ha": "right" if late else "left", "va": "top"}
        axes.annotate(rule.label, (rule.at, 1), (-4 if late else 4, 0), xycoords=("data", "axes fraction"), **words)


def _free(axes: Axes, panel: Panel, y: float, place: float, length: float) -> float:
    """How far from y, in pixels, the nearest curve runs over a stretch of the axes given as fractions."""
    (start, end), (low, high) = axes.get_xlim(), axes.get_ylim()
    stretch = start + (end - start) * np.linspace(place, place + length, 9)
    drawn = [curve for curve in panel.curves if len(curve.x)]
    near = np.concatenate([np.interp(stretch, curve.x, curve.y) for curve in drawn] or [np.empty(0)])
    return float(np.nanmin(np.abs(near - y), initial=np.inf)) / (high - low) * axes.bbox.height


def _apart(places: list[float], gap: float, tall: float) -> list[float]:
    """The same places, moved as little as it takes to stand `gap` apart between 0 and `tall`."""
    order = np.argsort(places, kind="stable")
    moved = np.array(places, dtype=float)
    for _ in range(100):
        for lower, upper in pairwise(order):
            overlap = max(0.0, gap - (moved[upper] - moved[lower])) / 2
            moved[lower] -= overlap
            moved[upper] += overlap
        if len(order):
            moved += max(0.0, -moved[order[0]]) - max(0.0, moved[order[-1]] - tall)
    return [float(place) for place in moved]


def _span(panel: Panel) -> tuple[float, float]:
    values = np.concatenate([*(curve.x[~np.isnan(curve.y)] for curve in panel.curves), np.empty(0)])
    return padded(values, 0.02, 0.02)


def _y_ticks(axes: Axes, plot: Curves, limits: tuple[float, float]) -> None:
    low, high = limits
    if plot.y_scale == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}".replace("-", "−"))
        return
    decades = np.asarray(MaxNLocator(6, steps=[1, 2, 3, 5, 10], integer=True).tick_values(low, high))
    decades = decades[(decades >= low) & (decades <= high) & (decades == np.round(decades))]
    if len(decades) >= 2:
        plain = {0: "1", 1: "10"}
        axes.set_yticks(decades, [plain.get(int(power), power_of_ten(int(power))) for power in decades])
    elif high - low < 0.04:  # less than a tenth of the value itself
        values = np.asarray(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(10.0**low, 10.0**high))
        values = values[(values >= 10.0**low) & (values <= 10.0**high)]
        axes.set_yticks(np.log10(values), [f"{value:.6g}" for value in values])
    else:
        fine = (1, 2, 5) if high - low > 0.4 else tuple(np.arange(1, 10, 0.5 if high - low > 0.1 else 0.1))
        grid = np.array([power + np.log10(part) for power in range(int(low) - 2, int(high) + 2) for part in fine])
        ticks = grid[(grid >= low) & (grid <= high)]
        ticks = ticks[:: -(-len(ticks) // 5)] if len(ticks) else ticks
        names = [number(10.0**tick, 2 if len(fine) > 3 else 1).replace(" × ", "·") for tick in ticks]
        axes.set_yticks(ticks, names)  # without spaces, so that they fit beside the axis


def _x_ticks(axes: Axes, plot: Curves) -> None:
    if plot.x_ticks is None:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        return
    low, high = axes.get_xlim()
    ticks: list[float] = []
    for tick in sorted(plot.x_ticks, reverse=True):  # the longest first: it is the one that is spoken of
        if not ticks or ticks[-1] - tick > 0.07 * (high - low):
            ticks.append(tick)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
