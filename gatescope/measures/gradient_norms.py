"""How large the gradient is from one update to the next: the distribution of its norm, and what clipping would touch.

    mean |g|,  median,  quantiles,  P(|g| > m · median),  P(|g| > c · mean): what clipping at c times the mean touches

over updates, batches or single sequences, of L2 norms that are finite; those which are not are counted. Everything is
computed from logarithms, so that norms of 1e-400 have a distribution too. Of a lognormal with s = 1, clipping at 0.5,
1, 2, 5 and 10 times the mean touches 57.7, 30.9, 11.6, 1.75 and 0.25 %.

Pascanu, Mikolov & Bengio 2013: clipping thresholds from half to ten times the average norm can still converge.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from ..errors import InputError
from .fresh_window import ALL
from .truncation import Truncation

if TYPE_CHECKING:
    import pandas

CLIPS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Clipping thresholds over the mean norm, from the paper's range."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, eq=False)
class GradientNorms:
    """The norms of many gradients, and what can be said of them together."""

    measure: ClassVar[str] = "gradient_norms"

    log_norm: Float[np.ndarray, "update"]
    """Natural logarithm of each norm, in order; -inf where it is zero, NaN or inf where the gradient is not finite."""
    of: str
    """What each one is a gradient of, in words."""
    layer: str = ALL
    """Of which layers: all that are recurrent, or those named."""

    @property
    def n(self) -> int:
        """How many norms there are, the ones that are not finite included."""
        return len(self.log_norm)

    @property
    def nonfinite(self) -> int:
        """How many gradients hold a NaN or an infinity."""
        return self.n - len(self._finite)

    @property
    def mean(self) -> float:
        """Of the finite ones; NaN where there are none, as all that follows."""
        return _exp(self._log_mean)

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    @property
    def clipped(self) -> Mapping[float, float]:
        """By threshold over the mean (`CLIPS`), the share of gradients that clipping there would touch."""
        return MappingProxyType({c: self.share_above(self._log_mean + math.log(c)) for c in CLIPS})

    def quantile(self, q: float) -> float:
        """The norm below which a share `q` of them lies, with linear interpolation."""
        return _exp(self.log_quantile(q))

    def log_quantile(self, q: float) -> float:
        """Its natural logarithm, also where the norm is too small or too large to be a float."""
        ordered = np.sort(self._finite)
        if not len(ordered):
            return math.nan
        place = q * (len(ordered) - 1)
        below, part = int(place), place - int(place)
        if not part:
            return float(ordered[below])
        return float(np.logaddexp(ordered[below] + math.log1p(-part), ordered[below + 1] + math.log(part)))

    def times_median(self) -> Float[np.ndarray, "update"]:
        """Each norm over the median one; NaN where it is not finite, and where both are zero."""
        finite = np.where(np.isfinite(self.log_norm) | (self.log_norm == -np.inf), self.log_norm, np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            times: np.ndarray = np.exp(finite - self.log_quantile(0.5))
        return times

    def share_above(self, log_norm: float) -> float:
        """The share of finite norms above one that is given by its logarithm."""
        return float(np.mean(self._finite > log_norm)) if len(self._finite) else math.nan

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, measure, of, quantity, update (missing where it is of all), value, unit."""
        import pandas

        rows: list[tuple[str, int | None, float, str]] = [
            ("log norm", update, value, "nats") for update, value in enumerate(self.log_norm.tolist())
        ]
        rows.append(("non-finite", None, self.nonfinite, "1"))
        rows.append(("mean", None, self.mean, "loss / parameter"))
        rows += [(f"quantile {q:g}", None, self.quantile(q), "loss / parameter") for q in QUANTILES]
        rows += [(f"clipped at {c:g} x mean", None, share, "1") for c, share in self.clipped.items()]
        frame = pandas.DataFrame.from_records(rows, columns=("quantity", "update", "value", "unit"))
        frame = frame.astype({"update": "Int64"})
        for place, (column, value) in enumerate({"layer": self.layer, "measure": self.measure, "of": self.of}.items()):
            frame.insert(place, column, value)
        return frame

    @property
    def _finite(self) -> Float[np.ndarray, "_"]:
        """The logarithms of the finite norms; zero is one of them."""
        finite: np.ndarray = self.log_norm[~np.isnan(self.log_norm) & (self.log_norm < np.inf)]
        return finite

    @property
    def _log_mean(self) -> float:
        finite = self._finite
        return float(np.logaddexp.reduce(finite)) - math.log(len(finite)) if len(finite) else math.nan


def gradient_norms(norms: Sequence[float] | Float[np.ndarray, "update"], *, of: str) -> GradientNorms:
    """The distribution of norms, in the order in which they came; `of` says what each one is a gradient of.

    Raises:
        InputError: no norms, or negative ones.
    """
    given = np.array(norms, dtype=float)
    if not len(given) or (given < 0).any():
        seen = f"{int((given < 0).sum())} negative numbers" if len(given) else "no number"
        raise InputError(f"{seen} among the norms of {of}: one number from 0 for each gradient is wanted; give those.")
    with np.errstate(divide="ignore"):
        return _frozen(np.log(given), of)


def gradient_norms_of_sequences(truncations: Sequence[Truncation], *, layer: str = ALL) -> GradientNorms:
    """The distribution over the sequences of one pass: each one's gradient of the parameters of these layers together.

    A sequence's gradient is of the loss as it was recorded: where that is a mean over B sequences, each gradient is a
    B-th of that of its own loss. `layer` says of which layers it is where these are not all.

    Raises:
        InputError: no layers, or layers that saw different sequences.
    """
    if not truncations or len({one.lengths.tobytes() for one in truncations}) > 1:
        raise InputError(
            f"The truncation curves of {', '.join(one.layer for one in truncations) or 'no layer'} were given, and "
            "those of layers that ran over the same sequences are wanted; give the layers of one pass."
        )
    with np.errstate(invalid="ignore"):  # a gradient that is no number stays one
        squares = np.logaddexp.reduce([2 * one.log_norm for one in truncations])
    layers = ", ".join(one.layer for one in truncations)
    of = f"one sequence's part of the loss ({truncations[0].loss}) by the weights of {layers}"
    return _frozen(squares / 2, of, layer)


def _frozen(log_norm: np.ndarray, of: str, layer: str = ALL) -> GradientNorms:
    log_norm.setflags(write=False)
    return GradientNorms(log_norm, of, layer)


def _exp(log: float) -> float:
    with np.errstate(over="ignore"):  # what is too large to be a float is infinite as one
        return float(np.exp(log))
