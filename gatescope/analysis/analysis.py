"""Everything that was found out about the recurrent layers of a model: one frozen value, one file, years later too."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ..causes import causes
from ..layers import Direction
from ..measures.fresh_window import ALL, FreshWindow
from ..measures.lag_curve import LagCurve
from ..verdicts import Horizon, Verdict, attenuation, horizons
from .excerpt import Excerpt

if TYPE_CHECKING:
    import pandas

COLUMNS = ("layer", "direction", "measure", "quantity", "lag", "window", "sequence", "value", "low", "high")
"""What every frame has; others follow where a measure needs them."""


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

    def measured(self, measure: str) -> dict[str, Measurement]:
        """The answers to one question by layer, such as `analysis.measured("lag_curve")["encoder.l0"]`.

        Fresh windows of a whole model stand under `"all recurrent layers"`.
        """
        return {layer_of(one): one for one in self.measurements if one.measure == measure}

    @cached_property
    def curves(self) -> Mapping[str, LagCurve]:
        """The lag curve of each layer."""
        return {one.layer: one for one in self.measurements if isinstance(one, LagCurve)}

    @cached_property
    def horizons(self) -> Mapping[str, tuple[Horizon, ...]]:
        """For each layer, how far back a half, a tenth, a hundredth, and what float32 resolves, are left."""
        return {name: horizons(curve) for name, curve in self.curves.items()}

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
        """Every number: layer, direction, measure, quantity, lag, window, sequence, value, low, high, and what else
        a measure needs; missing where a column says nothing of a row. Units stand in `unit`.
        """
        import pandas

        frames = [one.to_frame() for one in self.measurements] + [self._attenuations(), self._horizons()]
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            return pandas.DataFrame(columns=[*COLUMNS, "unit"])
        columns = dict.fromkeys((*COLUMNS, *(name for frame in frames for name in frame.columns)))
        wide = [frame.astype(object).reindex(columns=list(columns)) for frame in frames]
        whole = pandas.concat(wide, ignore_index=True).infer_objects()
        numbers = [name for name in ("value", "low", "high") if name in whole]  # NaN is a number here, and not missing
        names = whole.columns.difference(numbers)
        return whole.astype(dict.fromkeys(numbers, float)).assign(**whole[names].convert_dtypes())

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
        """The findings in words: for each layer its verdicts, and beneath them what they come from."""
        lines = []
        for layer in self.layers:
            judged = [one for one in self.verdicts if one.layer == layer.name]
            lines += [f"{layer.name}: {str(one.level).upper()}. {one.claim}" for one in judged]
            lines += [f"    {sentence}" for sentence in self.causes[layer.name]]
        return "\n".join(lines) or "Nothing was judged."

    def __repr__(self) -> str:
        layers = ", ".join(layer.name for layer in self.layers)
        return f"Analysis({layers}: {len(self.measurements)} measurements, {len(self.verdicts)} verdicts)"

    def _repr_html_(self) -> str:
        from ..report.notebook import notebook_html

        return notebook_html(self)

    def _attenuations(self) -> "pandas.DataFrame":
        """The mean over sequences at every lag, with its interval."""
        import pandas

        rows = []
        for name, curve in self.curves.items():
            for quantity in curve.log_norm:
                for lag in range(1, int(curve.lengths.max()) + 1):
                    with np.errstate(invalid="ignore"):  # the spread of exact zeros
                        value = attenuation(curve, lag, quantity=quantity).value
                    rows.append((name, curve.direction, quantity, lag, value.mean, value.low, value.high))
        frame = pandas.DataFrame(rows, columns=["layer", "direction", "quantity", "lag", "value", "low", "high"])
        return frame.assign(measure="attenuation", unit="nats")

    def _horizons(self) -> "pandas.DataFrame":
        """In steps; infinite where not reached within the longest lag."""
        import pandas

        def ends(one: Horizon) -> list[float]:
            return [np.inf if lag is None else float(lag) for lag in (one.lag, one.low, one.high)]

        rows = [
            (name, self.curves[name].direction, f"below {one.fraction:.3g}", *ends(one))
            for name, found in self.horizons.items()
            for one in found
        ]
        frame = pandas.DataFrame(rows, columns=["layer", "direction", "quantity", "value", "low", "high"])
        return frame.assign(measure="horizon", unit="steps")


def layer_of(measurement: Measurement) -> str:
    """The layer that a measurement is of."""
    if isinstance(measurement, FreshWindow):
        return next(iter(measurement.initial)) if len(measurement.initial) == 1 else ALL
    return str(getattr(measurement, "layer", ALL))
