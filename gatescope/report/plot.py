"""What a figure shows, as values: curves over an axis, or maps of units over time. Not how it looks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Scale = Literal["linear", "log10"]


@dataclass(frozen=True, eq=False)
class Curve:
    """One line with its band. NaN leaves a gap; on a log axis an exact zero (-inf) is drawn as a cross at the floor."""

    label: str
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"] | None = None
    high: Float[np.ndarray, " point"] | None = None
    colour: int = 0
    style: Literal["line", "truth", "points"] = "line"
    """`truth` is what the other curves are held against: broad and pale, behind them. `points` are not joined."""


@dataclass(frozen=True)
class Mark:
    """The point of a curve whose value the lead sentence says; `text` is written beside it exactly as there."""

    x: float
    y: float
    text: str
    colour: int = 0


@dataclass(frozen=True)
class Rule:
    """A straight line of reference across a panel, such as the lag that a task needs."""

    axis: Literal["x", "y"]
    at: float
    label: str


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    curves: tuple[Curve, ...]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    marks: tuple[Mark, ...] = ()
    rules: tuple[Rule, ...] = ()
    frame: tuple[tuple[float, float], tuple[float, float]] | None = None
    """The ends of x and of y, where they are not to follow from what is drawn."""


@dataclass(frozen=True)
class Curves:
    """Small multiples of curves. Every axis label says its unit.

    With `y_scale="log10"` every y is a decimal logarithm and the ticks are written as powers of ten, so that a gradient
    of 10⁻⁹⁰⁰ is still a point. `columns` is how many panels stand side by side on a wide and on a narrow page.
    """

    panels: tuple[Panel, ...]
    y_scale: Scale = "linear"
    x_ticks: tuple[float, ...] | None = None
    share_y: bool = True
    columns: tuple[int, int] = (3, 1)


@dataclass(frozen=True, eq=False)
class Map:
    """One quantity of every unit over time: `gate` runs from 0 to 1, `signed` is symmetric around 0."""

    name: str
    title: str
    values: Float[np.ndarray, "unit step"]
    kind: Literal["gate", "signed"]

    @property
    def mean(self) -> float:
        """The mean over everything drawn that is a number; NaN where nothing is."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite.mean()) if finite.size else float("nan")

    @property
    def limit(self) -> float:
        """The largest magnitude drawn: the end of the colour scale of a signed map."""
        finite = np.abs(self.values[np.isfinite(self.values)])
        return float(finite.max(initial=0.0)) or 1.0


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of the same units over the same steps, with the input on the same time axis below each column."""

    maps: tuple[Map, ...]
    below: tuple[Curve, ...] = ()
    below_label: str = ""
    x_label: str = "step"
    y_label: str = "unit"
    bin: int = 1
    """So many steps are one column of the maps."""


Plot = Curves | Maps
