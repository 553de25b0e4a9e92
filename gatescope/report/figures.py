"""Draws a plot with matplotlib and seaborn, in a light and a dark variant, with the same bytes every time.

Curves and maps come out as SVG. A map is an image of one pixel a value inside it, never a mesh of rectangles, so that a
figure stays small and sharp. Text is never parsed as mathematics: a layer may well be called `$x$`.
"""

from .draw_curves import curves_on_a_sheet
from .draw_maps import maps_on_a_sheet
from .palette import Theme, style
from .plot import Curves, Plot
from .sheet import Picture

WIDE, NARROW = 760, 330
"""Widths in CSS pixels, for a page of text and for a telephone."""


def draw(plot: Plot, theme: Theme, width: int = WIDE) -> Picture:
    """Draw `plot` in `theme`, `width` CSS pixels wide; the height follows from what is drawn."""
    with style(theme):
        if isinstance(plot, Curves):
            return curves_on_a_sheet(plot, theme, width).picture()
        return maps_on_a_sheet(plot, theme, width).picture()
