"""Where it begins: the first number that is not finite, and the first lag at which the gradient has grown so much.

    forward     the first NaN or infinity among gates, states and input
    backward    the first NaN or infinity of the gradient, from each sequence's last processed step backwards
    rise        k_b = min k with |s̃_{T−k}| > factor · |s̃_T|     s̃_t = dL/d(state after step t), of sequence b

The gradient at lag k came through the gates of lag k − 1; of that step, each gate's share is |δa_gate|² / Σ |δa|² of
the pre-activation adjoints, 0 to 1 (a GRU's n with its input side). Norms are L2, h and c together as two leaves. How
large a factor is worth speaking of is for the caller to say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import InputError
from ..layers import Direction
from ..nonfinite import NonFinite, first_nonfinite
from ..trace import Adjoint
from .lag_curve import lag_curve
from .outer_products import by_lag

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class NonFiniteGradient:
    """The first gradient that is not finite, in the order in which it was carried back."""

    quantity: str
    """`state`, the pair as a whole, or the pre-activation of a gate: `gate f`."""
    lag: int
    step: int | None
    """In the input's time; None for the state before the first step."""
    sequence: int
    sequences: int
    """In how many there is one, at whatever lag."""


class Rise(NamedTuple):
    """Where a gradient first stands above its bound."""

    lag: int
    step: int
    """In the input's time: the step that carried it there, at lag − 1."""
    sequence: int
    gate: str | None
    """The one with the largest share; None where no pre-activation of that step felt anything."""
    share: float


@dataclass(frozen=True, eq=False)
class Onset:
    """Where one layer first is not finite, forwards and backwards, and where its gradient first has grown."""

    measure: ClassVar[str] = "onset"

    layer: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    direction: Direction
    loss: str
    """What loss, in words, and at which step it is read."""
    factor: float
    """What is a rise, over the gradient at lag 0."""
    lengths: Int[np.ndarray, "sequence"]
    forward: NonFinite | None
    backward: NonFiniteGradient | None
    lag: Int[np.ndarray, "sequence"]
    """The first lag above the bound; -1 where there is none, or no gradient at lag 0 to grow from."""
    log_growth: Float[np.ndarray, "sequence"]
    """ln |s̃_{T−lag}| / |s̃_T| there, in nats; NaN without a rise."""
    share: Mapping[str, Float[np.ndarray, "sequence"]]
    """By gate (`h` for a plain RNN), 0 to 1, of the step that carried it there; NaN without a rise."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @property
    def rising(self) -> int:
        """In how many sequences the gradient rises above the bound."""
        return int((self.lag >= 0).sum())

    @property
    def first(self) -> Rise | None:
        """The rise at the smallest lag; of several sequences there, the one that has grown most."""
        if not self.rising:
            return None
        lag = int(self.lag[self.lag >= 0].min())
        sequence = int(np.where(self.lag == lag, self.log_growth, -np.inf).argmax())
        shares = {gate: float(share[sequence]) for gate, share in self.share.items()}
        gate = max(shares, key=lambda name: shares[name])
        step = _step(lag - 1, int(self.lengths[sequence]), self.direction)
        assert step is not None  # lag 0 is no rise over itself
        return Rise(lag, step, sequence, gate if shares[gate] > 0 else None, shares[gate])

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, lag, time, sequence, value, unit.

        Quantities: `log growth` and `share of f`, … where the gradient rises; `non-finite gate i`, … of the forward,
        which has a time and no lag; `non-finite gradient of …`. Time is the input's, missing for the initial state.
        """
        import pandas

        rows: list[tuple[str, int | None, int | None, int, float, str]] = []
        for sequence in np.flatnonzero(self.lag >= 0).tolist():
            lag, length = int(self.lag[sequence]), int(self.lengths[sequence])
            time, through = (_step(k, length, self.direction) for k in (lag, lag - 1))
            rows.append(("log growth", lag, time, sequence, self.log_growth[sequence], "nats"))
            rows += [
                (f"share of {gate}", lag - 1, through, sequence, share[sequence], "1")
                for gate, share in self.share.items()
            ]
        if self.forward is not None:
            here = self.forward
            rows.append((f"non-finite {here.quantity}", None, here.step, here.sequence, here.value, "1"))
        if self.backward is not None:
            felt = self.backward
            rows.append(
                (f"non-finite gradient of {felt.quantity}", felt.lag, felt.step, felt.sequence, math.nan, "loss")
            )
        columns = ("quantity", "lag", "time", "sequence", "value", "unit")
        frame = pandas.DataFrame.from_records(rows, columns=columns)
        frame = frame.astype({"lag": "Int64", "time": "Int64", "sequence": "Int64", "value": "float64"})
        for place, (column, value) in enumerate(
            {"layer": self.layer, "direction": self.direction, "measure": self.measure}.items()
        ):
            frame.insert(place, column, value)
        return frame


def onset(adjoint: Adjoint, *, factor: float, loss: str) -> Onset:
    """Where one recorded layer first is not finite, and where its gradient first exceeds `factor` times that at lag 0.

    `loss` says in words whose gradient it is and at which step it is read: the last one, from which lags count.

    Raises:
        InputError: a factor that is no growth.
    """
    if not factor > 1:
        raise InputError(f"{adjoint.name}: a rise by a factor of {factor:g} was asked for; choose one above 1.")
    curve = lag_curve(adjoint, loss=loss)
    growth = curve.log_attenuation()
    signal = curve.log_norm["pair"][:, 0] > -np.inf
    above = (growth > math.log(factor)) & signal[:, None]
    rises = above.any(1)
    lag = np.where(rises, above.argmax(1), -1)
    return Onset(
        layer=adjoint.name,
        cell=adjoint.layer.cell.kind,
        direction=adjoint.layer.direction,
        loss=loss,
        factor=factor,
        lengths=curve.lengths,
        forward=first_nonfinite(adjoint.trace),
        backward=_first_nonfinite_gradient(adjoint, curve.log_norm["pair"]),
        lag=lag,
        log_growth=np.where(rises, np.take_along_axis(growth, np.maximum(lag, 0)[:, None], 1)[:, 0], np.nan),
        share=MappingProxyType(_shares(adjoint, lag)),
    )


def _shares(adjoint: Adjoint, lag: Int[np.ndarray, "sequence"]) -> dict[str, Float[np.ndarray, "sequence"]]:
    """Each gate's part of the squared norm of the pre-activation adjoints, one lag before these."""
    felt = _by_gate(adjoint)
    sequences = np.arange(len(lag))
    squares = {
        gate: (values.norm(dim=-1) ** 2).cpu().numpy()[np.maximum(lag, 1) - 1, sequences]
        for gate, values in felt.items()
    }
    whole = np.sum([*squares.values()], axis=0)
    return {
        gate: np.where(lag > 0, square / np.where(whole == 0, 1, whole), np.nan) for gate, square in squares.items()
    }


def _first_nonfinite_gradient(
    adjoint: Adjoint, log_norm: Float[np.ndarray, "sequence lag"]
) -> NonFiniteGradient | None:
    lengths = adjoint.lengths.cpu().numpy()
    exists = np.arange(log_norm.shape[1]) <= lengths[:, None]
    broken = {"state": exists & (np.isnan(log_norm) | (log_norm == np.inf))}
    for gate, values in _by_gate(adjoint).items():
        at_gate = ~values.isfinite().all(-1).cpu().numpy().T[:, : log_norm.shape[1]]  # no lag beyond the longest
        broken[f"gate {gate}"] = np.pad(at_gate, ((0, 0), (0, log_norm.shape[1] - at_gate.shape[1]))) & exists
    sequences = int(np.any([where.any(1) for where in broken.values()], axis=0).sum())
    if not sequences:
        return None
    quantity = min((name for name in broken if broken[name].any()), key=lambda name: broken[name].any(0).argmax())
    lag = int(broken[quantity].any(0).argmax())
    sequence = int(broken[quantity][:, lag].argmax())
    step = _step(lag, int(lengths[sequence]), adjoint.layer.direction)
    return NonFiniteGradient(quantity, lag, step, sequence, sequences)


def _by_gate(adjoint: Adjoint) -> dict[str, Float[Tensor, "lag sequence _"]]:
    felt = adjoint.normalised["preactivations"]
    return {gate: by_lag(adjoint.trace, felt[gate]).double() for gate in adjoint.layer.cell.blocks}


def _step(lag: int, length: int, direction: Direction) -> int | None:
    """The step at a lag, in the input's time; None where that is the initial state."""
    if lag == length:
        return None
    return length - 1 - lag if direction == "forward" else lag
