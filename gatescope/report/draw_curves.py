"""Lays out small multiples of curves: panels side by side, their titles and units, and the name of each curve."""

import numpy as np

from .draw_panel import colour_of, draw_names, draw_panel, length_of, padded, short_name
from .palette import Theme
from .plot import Curve, Curves, Panel
from .sheet import ROOMY, Sheet

_LINE = 15.0
"""The height of a line of small text."""


def curves_on_a_sheet(plot: Curves, theme: Theme, width: int) -> Sheet:
    """Panels from left to right and down, titles and units of y above each, units of x below.

    Curves are named at their ends; where that would take too much of a panel, in a line above all of them.
    """
    columns = min(plot.columns[width < ROOMY], len(plot.panels))
    rows = -(-len(plot.panels) // columns)
    at_ends = _room_for_names(plot.panels) < 0.25 * width / columns
    legend = [] if at_ends else _legend(plot.panels, width)
    left, gap, top = 40.0, 18.0, 1.3 * _LINE * len(legend) + 6 * bool(legend)
    rights = [_room_for_names(plot.panels[at::columns]) if at_ends else 8.0 for at in range(columns)]
    each = (width - columns * left - sum(rights) - (columns - 1) * gap) / columns
    titled = any(panel.title for panel in plot.panels)
    head, foot = _LINE * (1.6 + 1.2 * titled), 46.0 + 12.0 * (rows > 1)
    tall = float(np.clip(0.74 * each, 120, 290))
    sheet = Sheet(width, top + rows * (head + tall + foot) - 4, theme)
    shared = _limits(plot.panels) if plot.share_y else None
    for line, curves in enumerate(legend):
        for x, curve in curves:
            sheet.text(x, 1.3 * _LINE * line, f"— {short_name(curve)}", 12, color=colour_of(curve, theme))
    for position, panel in enumerate(plot.panels):
        row, column = divmod(position, columns)
        x, y = column * (left + each + gap) + sum(rights[:column]), top + row * (head + tall + foot)
        axes = sheet.axes(x + left, y + head, each, tall)
        draw_panel(axes, panel, plot, theme, shared or _limits((panel,)))
        if at_ends:
            draw_names(axes, panel.curves, theme, tall)
        sheet.text(x, y, panel.title, 13, weight="bold", color=theme.ink)
        sheet.text(x, y + 1.25 * _LINE * titled, panel.y_label, 11.5)
        sheet.text(x + left + each, y + head + tall + 24, panel.x_label, 11.5, ha="right")
    return sheet


def _legend(panels: tuple[Panel, ...], width: float) -> list[list[tuple[float, Curve]]]:
    """Each differently named curve once, with its place from the left, in as many lines as it takes."""
    lines: list[list[tuple[float, Curve]]] = [[]]
    x = 0.0
    for curve in {curve.label: curve for panel in panels for curve in panel.curves if curve.label}.values():
        length = length_of(f"— {short_name(curve)}")
        if lines[-1] and x + length > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, curve))
        x += length + 14
    return lines


def _room_for_names(panels: tuple[Panel, ...]) -> float:
    longest = max((length_of(short_name(curve)) for panel in panels for curve in panel.curves), default=0.0)
    return longest + 14 if longest else 8.0


def _limits(panels: tuple[Panel, ...]) -> tuple[float, float]:
    framed = [panel.frame[1] for panel in panels if panel.frame]
    if framed:
        return min(low for low, _ in framed), max(high for _, high in framed)
    drawn = [part for panel in panels for curve in panel.curves for part in (curve.y, curve.low, curve.high)]
    straight = [rule.at for panel in panels for rule in panel.rules if rule.axis == "y"]
    marks = [mark for panel in panels for mark in panel.marks]
    values = np.concatenate([*(part for part in drawn if part is not None), [*straight, *(mark.y for mark in marks)]])
    return padded(values, 0.16 if any(mark.text for mark in marks) else 0.06, 0.06)
