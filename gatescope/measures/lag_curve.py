"""How much of the gradient is left so many steps back: one backward pass, every lag.

    log |s̃_{T−k}|,   s̃_t = dL/d(recurrent state after step t),   k = 0 … T

for each sequence by itself, T being its last processed step. Three L2 norms over units, in natural logarithms (nats):
`pair`, of what the Jacobian of a step carries (h_t and c_t as two leaves); `h`, of the total dL/dh_t; `c`, of the
total dL/dc_t where the cell has one. Lag T is the initial state. Where a layer feeds another, the paths through that
one count too.

Only a loss that is read at the last step makes this a curve over lag: a loss at every step adds up what many lags felt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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


def lag_curve(adjoint: Adjoint, *, loss: str) -> LagCurve:
    """The lag curve of one recorded layer; `loss` says in words whose gradient it is and at which step it is read."""
    lengths = adjoint.lengths.cpu().numpy()
    lag = np.arange(lengths.max() + 1)
    backward = adjoint.layer.direction == "forward"
    step = np.where(lag < lengths[:, None], lengths[:, None] - 1 - lag if backward else lag, 0)

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
