"""What a lag can do at most, and on average, to any gradient: singular values of the Jacobian product over the lag.

    P_k = J_T J_{T−1} ⋯ J_{T−k+1},   T the last processed step of a sequence, J over the whole state, (h, c) in an LSTM
    largest     ln of the largest singular value of P_k: the most that k steps can stretch a push or a gradient
    rms         ln |P_k|_F / √n: the root mean square over random directions, n numbers in the state

Natural logarithms (nats). The lag curve of any one loss lies below the first, and about the second where it starts in a
random direction. P is renormalised at every step, so that no lag is too long. It is formed whole, n² numbers a sequence
and O(n H²) operations a step: choose few sequences of a large layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from ..dynamics.jacobian import linearised, state_size
from ..errors import InputError
from ..layers import Direction
from ..trace import Trace

if TYPE_CHECKING:
    import pandas

FEW = 4
"""Sequences that are looked at unless told otherwise, from the first to the last at even distances."""
LAGS = 16
"""Lags at most that are looked at unless told otherwise, in even ratios."""


@dataclass(frozen=True, eq=False)
class SingularValues:
    """The largest singular value and the root mean square stretching of some lags of some sequences."""

    measure: ClassVar[str] = "singular_values"

    layer: str
    direction: Direction
    """In a reverse layer lags count forward in time, from the first step of the input."""
    sequences: tuple[int, ...]
    """Which sequences of the trace these are."""
    lags: Int[np.ndarray, "lag"]
    largest: Float[np.ndarray, "sequence lag"]
    """In nats; -inf where nothing gets through at all, NaN where a sequence has no such lag."""
    rms: Float[np.ndarray, "sequence lag"]
    """In nats, likewise."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.sequences)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, lag, sequence (of the trace), value, unit (nats)."""
        import pandas

        row, column = np.nonzero(~np.isnan(self.largest))
        return pandas.concat(
            [
                pandas.DataFrame(
                    {
                        "layer": self.layer,
                        "direction": self.direction,
                        "measure": self.measure,
                        "quantity": quantity,
                        "lag": self.lags[column],
                        "sequence": np.array(self.sequences)[row],
                        "value": values[row, column],
                        "unit": "nats",
                    }
                )
                for quantity, values in {"largest": self.largest, "rms": self.rms}.items()
            ],
            ignore_index=True,
        )


def singular_values(
    trace: Trace, lags: Sequence[int] | None = None, *, sequences: Sequence[int] | None = None
) -> SingularValues:
    """The singular values of one recorded layer, in float64.

    By default of four sequences, at sixteen lags at most in even ratios, up to the longest of them.

    Raises:
        InputError: a sequence that the trace does not have, or a lag longer than every chosen sequence.
    """
    chosen = _spread(len(trace.lengths)) if sequences is None else tuple(sequences)
    jacobians = linearised(trace, chosen)
    longest = len(jacobians)
    wanted = _even_ratios(longest) if lags is None else np.unique(np.array(lags, dtype=np.int64))
    if not len(wanted) or wanted[0] < 0 or wanted[-1] > longest:
        raise InputError(
            f"{trace.name}: the lags {wanted.tolist()} were asked of {longest} steps; choose some from 0 to {longest}."
        )
    largest, rms = [], []
    for lag, product in enumerate(jacobians.products()):
        if lag in wanted:
            largest.append(torch.linalg.matrix_norm(product.normalised["product"], ord=2).log() + product.log_scale)
            rms.append(product.log_scale - np.log(state_size(trace.layer)) / 2)
        if lag == wanted[-1]:
            break
    exists = wanted <= jacobians.lengths.cpu().numpy()[:, None]

    def by_lag(values: list[torch.Tensor]) -> Float[np.ndarray, "sequence lag"]:
        curve = np.where(exists, torch.stack(values, 1).cpu().numpy(), np.nan)
        curve.setflags(write=False)
        return curve

    wanted.setflags(write=False)
    return SingularValues(trace.name, trace.layer.direction, chosen, wanted, by_lag(largest), by_lag(rms))


def _spread(number: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(np.linspace(0, number - 1, min(FEW, number)).round().astype(int).tolist()))


def _even_ratios(longest: int) -> Int[np.ndarray, "lag"]:
    return np.unique(np.geomspace(1, longest, min(LAGS, longest)).round().astype(np.int64))
