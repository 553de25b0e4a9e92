"""Every number of an analysis as one tidy table: what it is of, by which reduction, of which loss, data and how many.

The norms of a lag curve stand twice, and their quantities tell them apart: `pair`, the natural logarithm of a
sequence's own norm, and `log attenuation of pair`, the mean over sequences of that less the one at lag 0.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..measures.weights import LayerWeights
from ..measures.zero_state import ZeroState
from ..verdicts import FRACTIONS, Horizon, attenuation
from ..verdicts.reach import has_signal
from .in_words import BELOW

if TYPE_CHECKING:
    import pandas

    from .analysis import Analysis, Measurement

COLUMNS = ("layer", "direction", "measure", "quantity", "lag", "window", "sequence", "value", "low", "high")
"""What every frame has; others follow where a measure needs them."""
ABOUT = ("unit", "n", "loss", "data")
"""And at its end: the unit of the value, over how many sequences it is taken, the loss and the data."""
OF_NO_DATA = (LayerWeights, ZeroState)
"""What is asked of the weights alone."""
_BELOW = dict(zip(FRACTIONS, BELOW, strict=True))


def frame_of(analysis: "Analysis") -> "pandas.DataFrame":
    """The table; see `Analysis.to_frame`."""
    import pandas

    data = analysis.provenance.get("data")
    frames = [_with_its_object(one, one.to_frame(), analysis) for one in analysis.measurements]
    frames += [one.assign(data=data) for one in (_attenuations(analysis), _horizons(analysis))]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pandas.DataFrame(columns=[*COLUMNS, *ABOUT])
    others = dict.fromkeys(name for frame in frames for name in frame.columns if name not in (*COLUMNS, *ABOUT))
    wide = [frame.astype(object).reindex(columns=[*COLUMNS, *others, *ABOUT]) for frame in frames]
    whole = pandas.concat(wide, ignore_index=True).infer_objects()
    directions = {layer.name: layer.direction for layer in analysis.layers}
    whole["direction"] = whole["direction"].fillna(whole["layer"].map(directions))
    numbers = ["value", "low", "high"]  # NaN is a number here, and not missing
    names = whole.columns.difference(numbers)
    return whole.astype(dict.fromkeys(numbers, float)).assign(**whole[names].convert_dtypes())


def _with_its_object(one: "Measurement", frame: "pandas.DataFrame", analysis: "Analysis") -> "pandas.DataFrame":
    """With `n`, `loss` and `data`, as far as the numbers depend on them; a number of one sequence is of one."""
    n, loss = getattr(one, "n", None), _loss(one, analysis.provenance)
    if isinstance(one, OF_NO_DATA):
        return frame
    single = frame["sequence"].notna() if "sequence" in frame else False
    if "update" in frame:
        single = frame["update"].notna()
    each = np.where(single, 1.0, math.nan if n is None else n)
    return frame.assign(n=each, loss=loss, data=analysis.provenance.get("data"))


def _loss(one: "Measurement", provenance: Mapping[str, str]) -> str | None:
    """Whose gradient it is; None where it is no gradient's."""
    for name in ("loss", "loss_name"):
        said = getattr(one, name, None)
        if isinstance(said, str):
            return said
    return provenance.get("loss") if one.measure == "gradient_norms" else None


def _attenuations(analysis: "Analysis") -> "pandas.DataFrame":
    """The mean over sequences at every lag, with its interval."""
    import pandas

    rows = []
    for name, curve in analysis.curves.items():
        for quantity in curve.log_norm:
            for lag in range(int(curve.lengths.max()) + 1):
                with np.errstate(invalid="ignore"):  # the spread of exact zeros
                    value = attenuation(curve, lag, quantity=quantity).value
                about = (name, curve.direction, f"log attenuation of {quantity}", lag)
                rows.append((*about, value.mean, value.low, value.high, value.n, curve.loss))
    columns = ["layer", "direction", "quantity", "lag", "value", "low", "high", "n", "loss"]
    return pandas.DataFrame(rows, columns=columns).assign(measure="attenuation", unit="nats")


def _horizons(analysis: "Analysis") -> "pandas.DataFrame":
    """In steps; infinite where not reached within the longest lag."""
    import pandas

    def ends(one: Horizon) -> list[float]:
        return [np.inf if lag is None else float(lag) for lag in (one.lag, one.low, one.high)]

    rows = []
    for name, found in analysis.horizons.items():
        curve = analysis.curves[name]
        n = int(has_signal(curve, "pair").sum())
        for one in found:
            quantity = f"below {_BELOW.get(one.fraction, f'{one.fraction:.3g}')}"
            rows.append((name, curve.direction, quantity, *ends(one), n, curve.loss))
    columns = ["layer", "direction", "quantity", "value", "low", "high", "n", "loss"]
    return pandas.DataFrame(rows, columns=columns).assign(measure="horizon", unit="steps")
