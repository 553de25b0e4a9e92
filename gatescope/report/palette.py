"""The colours and letters of figures, on a light page and on a dark one; the page's style sheet names the same ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.colors import Colormap


@dataclass(frozen=True)
class Theme:
    """One variant of every figure.

    Each of `series` keeps a contrast of 4.5:1 against `paper`, as text must (WCAG AA), and all stay apart for readers
    who do not see red, green or blue. `gate` is the map from closed to open; `signed` is nearest to the paper at 0.
    """

    name: str
    paper: str
    ink: str
    muted: str
    hairline: str
    series: tuple[str, ...]
    gate: str
    signed: str

    def colour(self, number: int) -> str:
        """The colour of a series, beginning again after the last."""
        return self.series[number % len(self.series)]

    def map(self, kind: str) -> Colormap:
        """The colour map for `gate` or `signed`; what is not a number is shown as a hairline grey."""
        name = self.gate if kind == "gate" else self.signed
        colours: Colormap = sns.color_palette(name, as_cmap=True).with_extremes(bad=self.hairline)
        return colours


LIGHT = Theme(
    name="light",
    paper="#fffefb",
    ink="#1f2430",
    muted="#5a6070",
    hairline="#e4e2dc",
    series=("#2340dc", "#b95812", "#25825c", "#7d29a2", "#393b53"),
    gate="mako_r",
    signed="vlag",
)
DARK = Theme(
    name="dark",
    paper="#14171c",
    ink="#e7e5df",
    muted="#a3a8b3",
    hairline="#2c313a",
    series=("#7d96ff", "#f7ac2f", "#5ad583", "#c597cf", "#dce6e7"),
    gate="mako",
    signed="icefire",
)
THEMES = (LIGHT, DARK)

FONTS = "-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Liberation Sans',sans-serif"
"""The reader's own letters. Places are computed with DejaVu Sans, which comes with matplotlib and is wider."""


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    """The settings of matplotlib while a figure is drawn, whatever the reader's own are."""
    look: dict[Any, Any] = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    look |= sns.axes_style("white")
    look |= {
        "font.family": "DejaVu Sans",
        "text.parse_math": False,
        "text.color": theme.ink,
        "svg.fonttype": "none",
        "svg.hashsalt": "gatescope",
        "axes.linewidth": 0.8,
    }
    with mpl.rc_context(look):
        yield
