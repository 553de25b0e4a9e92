"""How much of the gradient is left so many steps back: one backward pass, every lag.

    log |s̃_{T−k}|,   s̃_t = dL/d(recurrent state after step t),   k = 0 … T

for each sequence by itself, T being its last processed step. Three L2 norms over units, in natural logarithms (nats):
`pair`, of what the Jacobian of a step carries (h_t and c_t as two leaves); `h`, of the total dL/dh_t; `c`, of the
total dL/dc_t where the cell has one. Lag T is the initial state. Where a layer feeds another, the paths through that
one count too.

Only a loss that is read at one step makes this a curve over lag: a loss at every step adds up what many lags felt.
There each step is to be a source by itself, with a curve of its own, of which the mean is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from ..layers import Direction
from ..trace import Adjoint

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class LagCurve:
    """The log norm of the gradient at every lag of every sequence."""

    measure: ClassVar[str] = "lag_curve"

    layer: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    direction: Direction
    """In a reverse layer lags count forward in time: its last processed step is the first of the input."""
    loss: str
    """What loss, in words, and at which step it is read."""
    lengths: Int[np.ndarray, "sequence"]
    """The number of steps of each sequence, which is its largest lag."""
    log_norm: Mapping[str, Float[np.ndarray, "sequence lag"]]
    """In nats, by quantity; -inf where the gradient is exactly zero, NaN where a sequence has no such lag."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @property
    def lags(self) -> Int[np.ndarray, "lag"]:
        """0, 1, … up to the longest sequence's length."""
        return np.arange(self.lengths.max() + 1)

    @property
    def exists(self) -> Bool[np.ndarray, "sequence lag"]:
        """True where a sequence has such a lag: NaN there is a gradient that is not a number."""
        return self.lags <= self.lengths[:, None]

    def log_attenuation(self, quantity: str = "pair") -> Float[np.ndarray, "sequence lag"]:
        """How much stronger than at lag 0, log |s̃_{T−k}| − log |s̃_T|: ln 0.01 = −4.6 nats where a hundredth is left.

        NaN where a sequence has no such lag, and everywhere in a sequence whose loss sends no gradient at all.
        """
        log_norm = self.log_norm[quantity]
        with np.errstate(invalid="ignore"):  # -inf − -inf: no gradient at all
            relative: np.ndarray = log_norm - log_norm[:, :1]
        return relative

    def to_frame(self) -> "pandas.DataFrame":
        """One row a log norm: layer, direction, measure, quantity, lag, sequence, value, unit (nats)."""
        import pandas

        sequence, lag = np.nonzero(self.exists)
        return pandas.concat(
            [
                pandas.DataFrame(
                    {
                        "layer": self.layer,
                        "direction": self.direction,
                        "measure": self.measure,
                        "quantity": quantity,
                        "lag": lag,
                        "sequence": sequence,
                        "value": log_norm[sequence, lag],
                        "unit": "nats",
                    }
                )
                for quantity, log_norm in self.log_norm.items()
            ],
            ignore_index=True,
        )


def lag_curve(adjoint: Adjoint, *, loss: str, read_at: Int[np.ndarray, "sequence"] | None = None) -> LagCurve:
    """The lag curve of one recorded layer; `loss` says in words whose gradient it is and at which step it is read.

    `read_at` is the step of the input at which the loss reads each sequence, and from which its lags count; the last
    processed step if it is not given.
    """
    forward = adjoint.layer.direction == "forward"
    whole = adjoint.lengths.cpu().numpy()
    read_at = (whole - 1 if forward else np.zeros_like(whole)) if read_at is None else read_at
    lengths = read_at + 1 if forward else whole - read_at
    lag = np.arange(lengths.max() + 1)
    step = np.where(lag < lengths[:, None], read_at[:, None] + (-lag if forward else lag), 0)

    def by_lag(name: str) -> np.ndarray:
        log_norm = adjoint.log_norm(name).cpu().numpy()
        initial = adjoint.log_norm_initial(name).cpu().numpy()
        curve = np.take_along_axis(log_norm.T, step, axis=1)
        curve = np.where(lag == lengths[:, None], initial[:, None], curve)
        curve[lag > lengths[:, None]] = np.nan
        curve.setflags(write=False)
        return curve

    quantities = ("pair", *adjoint.layer.cell.states)
    return LagCurve(
        layer=adjoint.name,
        cell=adjoint.layer.cell.kind,
        direction=adjoint.layer.direction,
        loss=loss,
        lengths=lengths,
        log_norm=MappingProxyType({name: by_lag(name) for name in quantities}),
    )


def of_all_sequences(parts: Sequence[LagCurve]) -> LagCurve:
    """The curve of one layer from those of some of its sequences at a time, in their order."""
    lags = max(len(part.lags) for part in parts)

    def joined(name: str) -> np.ndarray:
        found = np.concatenate([_wide(part.log_norm[name], lags) for part in parts])
        found.setflags(write=False)
        return found

    return replace(
        parts[0],
        lengths=np.concatenate([part.lengths for part in parts]),
        log_norm=MappingProxyType({name: joined(name) for name in parts[0].log_norm}),
    )


def mean_over_sources(curves: Sequence[LagCurve], *, loss: str) -> LagCurve:
    """The mean of the logarithms over curves of the same sequences, each read at another step.

    It goes as far back as all of them do, and leaves out, sequence by sequence, the sources that send no gradient.
    """
    first = curves[0]
    lengths = np.min([curve.lengths for curve in curves], axis=0)
    lags = int(lengths.max()) + 1
    exists = np.arange(lags) <= lengths[:, None]
    sends = np.stack([curve.log_norm["pair"][:, 0] != -np.inf for curve in curves])

    def mean(name: str) -> np.ndarray:
        stacked = np.stack([_wide(curve.log_norm[name], lags) for curve in curves])
        kept = np.where(sends[..., None], stacked, 0.0)
        silent = ~sends.any(0)
        with np.errstate(invalid="ignore"):
            found: np.ndarray = kept.sum(0) / np.maximum(sends.sum(0), 1)[:, None]
        found[silent] = -np.inf
        found[~exists] = np.nan
        found.setflags(write=False)
        return found

    return replace(
        first,
        loss=loss,
        lengths=lengths,
        log_norm=MappingProxyType({name: mean(name) for name in first.log_norm}),
    )


def _wide(log_norm: np.ndarray, lags: int) -> np.ndarray:
    """The first lags of a curve, NaN where it has fewer."""
    wide = np.full((len(log_norm), lags), np.nan)
    wide[:, : log_norm.shape[1]] = log_norm[:, :lags]
    return wide
