"""Draws maps of units over steps side by side, the input on the same time axis below each column."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from .numbers import number
from .palette import Theme
from .plot import Map, Maps
from .pooling import pooled
from .sheet import ROOMY, Sheet


def maps_on_a_sheet(plot: Maps, theme: Theme, width: int) -> Sheet:
    """Each map under its name and its own colour scale."""
    columns = min(len(plot.maps), 3 if width >= ROOMY and len(plot.maps) != 4 else 2)
    rows = -(-len(plot.maps) // columns)
    left, gap = 22.0, 22.0 if width >= ROOMY else 14.0
    each = min((width - left - (columns - 1) * gap) / columns, 360.0)
    head, tall, foot = 42.0, float(np.clip(0.6 * each, 90, 160)), 14.0
    strip = 44.0 if plot.below else 2.0
    bottom = rows * (head + tall + foot)
    sheet = Sheet(width, bottom + strip + 40, theme)
    steps = plot.bin * max(one.values.shape[1] for one in plot.maps)
    for position, one in enumerate(plot.maps):
        row, column = divmod(position, columns)
        place = (left + column * (each + gap), row * (head + tall + foot) + head, each, tall)
        _map(sheet, one, place, plot.bin)
        if column == 0:
            sheet.text(left - 8, place[1] + tall / 2, plot.y_label, 11.5, rotation=90, ha="right", va="center")
    for column in range(columns):
        _strip(sheet, plot, (left + column * (each + gap), bottom, each, strip), steps)
    sheet.text(left, bottom + strip + 22, plot.below_label, 11.5)
    sheet.text(left + columns * (each + gap) - gap, bottom + strip + 22, plot.x_label, 11.5, ha="right")
    return sheet


def _map(sheet: Sheet, one: Map, place: tuple[float, float, float, float], steps_of_one: int) -> None:
    x, y, width, height = place
    low, high = (0.0, 1.0) if one.kind == "gate" else (-one.limit, one.limit)
    colours = sheet.theme.map(one.kind)
    units, steps = one.values.shape
    axes = sheet.axes(x, y, width, height)
    axes.grid(visible=False)
    frame = (-0.5, steps * steps_of_one - 0.5, units - 0.5, -0.5)
    axes.imshow(pooled(one.values), colours, aspect="auto", vmin=low, vmax=high, interpolation="none", extent=frame)
    axes.set_xticks([])
    axes.set_yticks([])
    sheet.text(x, y - 39, one.name, 13, weight="bold", color=sheet.theme.ink)
    sheet.text(x + 8.5 * len(one.name) + 5, y - 38, one.title, 12)
    ends = ("0", "1") if one.kind == "gate" else (number(low), number(high))
    start, length = x + 6.2 * len(ends[0]) + 3, min(70.0, width / 3)
    scale = sheet.axes(start, y - 14, length, 6)
    scale.imshow(np.linspace(low, high, 64)[None], colours, aspect="auto", interpolation="none")
    scale.set_axis_off()
    sheet.text(x, y - 17, ends[0], 10.5)
    sheet.text(start + length + 5, y - 17, ends[1], 10.5)


def _strip(sheet: Sheet, plot: Maps, place: tuple[float, float, float, float], steps: int) -> None:
    axes = sheet.axes(*place)
    for curve in plot.below:
        axes.plot(curve.x, curve.y, color=sheet.theme.colour(curve.colour), lw=1.4)
    axes.set_xlim(-0.5, steps - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_yticks([])
