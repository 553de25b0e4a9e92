"""Everything that was found out about the recurrent layers of a model: one frozen value, one file, years later too."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..causes import causes
from ..errors import InputError
from ..layers import Direction
from ..measures import MEASURES
from ..measures.fresh_window import ALL, FreshWindow
from ..measures.lag_curve import LagCurve
from ..remedies.remedy import Remedies
from ..verdicts import Horizon, Level, Verdict, horizons
from .excerpt import Excerpt

if TYPE_CHECKING:
    import pandas


KNOWN = (*(kind.measure for kind in MEASURES), Remedies.measure)
"""The names of everything that may have been measured."""


@runtime_checkable
class Measurement(Protocol):
    """The answer to one question: a frozen value, `measure` its name, `to_frame()` a tidy table."""

    @property
    def measure(self) -> str: ...

    def to_frame(self) -> "pandas.DataFrame": ...


@dataclass(frozen=True)
class AnalysedLayer:
    """One layer in one direction, as it was analysed."""

    name: str
    cell: str
    direction: Direction
    input_size: int
    hidden_size: int
    output_size: int
    """Units of h: those of a projection where there is one."""
    sequences: int
    steps: int
    """Of the longest sequence."""
    loss: str
    """Whose gradient was measured and where it is read; empty where none came."""
    residual: float
    """The largest difference between the h that the gates explain and the h that ran, over the largest |h|."""
    method: str
    dtype: str
    """Of its weights, and so of their gradients: `float32`."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotMeasured:
    """A question that has no answer here, and why."""

    layer: str
    measure: str
    why: str


@dataclass(frozen=True, eq=False)
class Analysis:
    """What `gatescope.analyze` found; `print(analysis)` says it in words."""

    provenance: Mapping[str, str]
    """Data, loss, seed, dtype, device, versions: what is needed to get the same numbers again."""
    lag: int | None
    """The lag that the task needs, if somebody said."""
    layers: tuple[AnalysedLayer, ...]
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    excerpts: tuple[Excerpt, ...]
    not_measured: tuple[NotMeasured, ...] = ()
    suspicions: tuple[str, ...] = ()
    """What may be wrong with the data, in words."""

    def measured(self, measure: str) -> dict[str, Measurement]:
        """The answers to one question by layer, such as `analysis.measured("lag_curve")["encoder.l0"]`.

        What is of the whole model stands under `"all recurrent layers"`.

        Raises:
            InputError: nothing of that name is ever measured.
        """
        if measure not in KNOWN:
            raise InputError(f"{measure!r} was asked for, which is no measure; choose one of {', '.join(KNOWN)}.")
        return {layer_of(one): one for one in self.measurements if one.measure == measure}

    @cached_property
    def curves(self) -> Mapping[str, LagCurve]:
        """The lag curve of each layer."""
        return {one.layer: one for one in self.measurements if isinstance(one, LagCurve)}

    @cached_property
    def horizons(self) -> Mapping[str, tuple[Horizon, ...]]:
        """For each layer, how far back a half, a tenth, a hundredth, and what float32 resolves, are left.

        Empty for a layer of which nobody can tell, such as one that the loss does not read at its end.
        """
        silent = {verdict.layer for verdict in self.verdicts if verdict.level is Level.NO_SIGNAL}
        return {name: () if name in silent else horizons(curve) for name, curve in self.curves.items()}

    @cached_property
    def causes(self) -> Mapping[str, tuple[str, ...]]:
        """For each layer, what the other measures say beside its verdict, a sentence each."""
        return {
            layer.name: causes(
                [one for one in self.measurements if getattr(one, "layer", None) == layer.name], self.lag
            )
            for layer in self.layers
        }

    def to_frame(self) -> "pandas.DataFrame":
        """Every number: layer, direction, measure, quantity, lag, window, sequence, value, low, high, what else a
        measure needs, and unit, n, loss, data; missing where a column says nothing of a row.

        `n` is the number of sequences over which a value is taken (of states, in `state_geometry`), 1 where it is of
        one; `data` says "synthetic" where they are.
        """
        from .frame import frame_of

        return frame_of(self)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes everything to one file, as a whole or not at all; `gatescope.load` reads it."""
        from .archive import write

        return write(self, Path(path))

    def report(self, path: str | PathLike[str]) -> Path:
        """Writes the page: one HTML file that needs no network."""
        from ..report.analysis_report import analysis_report
        from ..report.html import write_html

        return write_html(analysis_report(self, why=self.causes), Path(path))

    def __str__(self) -> str:
        """The findings in words: data and loss, then each layer's verdict, how far it reaches, why, and what lacks."""
        from .in_words import in_words

        return in_words(self)

    def __repr__(self) -> str:
        layers = ", ".join(layer.name for layer in self.layers)
        data = self.provenance.get("data", "unknown").partition(":")[0]
        return f"Analysis({layers}, data {data}: {len(self.measurements)} measurements, {len(self.verdicts)} verdicts)"

    def _repr_html_(self) -> str:
        from ..report.notebook import notebook_html

        return notebook_html(self)


def layer_of(measurement: Measurement) -> str:
    """The layer that a measurement is of."""
    if isinstance(measurement, FreshWindow):
        return next(iter(measurement.initial)) if len(measurement.initial) == 1 else ALL
    return str(getattr(measurement, "layer", ALL))
