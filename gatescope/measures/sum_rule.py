"""What all Lyapunov exponents of a layer must add up to: how fast a step shrinks volumes. A check, of both sides.

    Σ λ_i = mean of ln |det J_t|,   in nats a step

        tanh RNN                       ln |det W_hh| + Σ ln (1 − h²)
        LSTM without projection        ln |det W_ho| + Σ ln f + ln |tanh c| + ln o (1 − o)
        every other cell               by the LU decomposition of every step's Jacobian

Exact for each sequence and any weights, over the steps from which the exponents were taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..dynamics.jacobian import Linearised, linearised
from ..errors import InputError
from ..layers import Direction
from ..trace import Trace
from .lyapunov import Lyapunov

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class SumRule:
    """Both sides for every sequence of one layer, in nats a step; -inf where a step forgets something."""

    measure: ClassVar[str] = "sum_rule"

    layer: str
    direction: Direction
    exponents: Float[np.ndarray, "sequence"]
    """All exponents together."""
    volumes: Float[np.ndarray, "sequence"]
    """The mean logarithm of a step's determinant."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.exponents)

    @property
    def difference(self) -> Float[np.ndarray, "sequence"]:
        """Exponents less volumes: rounding, and nothing else; 0 where both are -inf."""
        with np.errstate(invalid="ignore"):
            difference: np.ndarray = np.where(self.exponents == self.volumes, 0.0, self.exponents - self.volumes)
        return difference

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, sequence, value, unit (nats / step)."""
        import pandas

        sides = {
            "sum of exponents": self.exponents,
            "log determinant": self.volumes,
            "difference": self.difference,
        }
        about = {"layer": self.layer, "direction": self.direction, "measure": self.measure}
        parts = [
            pandas.DataFrame(
                {**about, "quantity": quantity, "sequence": np.arange(self.n), "value": values, "unit": "nats / step"}
            )
            for quantity, values in sides.items()
        ]
        return pandas.concat(parts, ignore_index=True)


def check_by_sum_rule(found: Lyapunov, trace: Trace, *, sequences: Sequence[int] | None = None) -> SumRule:
    """The full spectrum of a trace, or of some of its `sequences`, held against what it must add up to.

    Raises:
        InputError: fewer exponents than there are.
    """
    if found.exponents.shape[1] < found.size:
        raise InputError(
            f"{found.layer}: {found.exponents.shape[1]} of {found.size} exponents are there, and a sum takes all of "
            "them; ask for the full spectrum."
        )
    volumes = sum_rule(trace, warm_up=found.warm_up, sequences=sequences)
    return SumRule(found.layer, found.direction, found.exponents.sum(1), volumes)


def sum_rule(
    trace: Trace, *, warm_up: int = 0, sequences: Sequence[int] | None = None
) -> Float[np.ndarray, "sequence"]:
    """The right side for every sequence, without its first `warm_up` steps; -inf where a step forgets something.

    `sequences` chooses some of the trace's.
    """
    jacobians = linearised(trace, sequences)
    steps = torch.arange(len(jacobians), device=jacobians.lengths.device)[:, None]
    counted = (steps >= warm_up) & (steps < jacobians.lengths)
    volumes = torch.where(counted, _log_det(jacobians)[: len(jacobians)], 0).sum(0)
    return (volumes / counted.sum(0)).cpu().numpy()


def _log_det(jacobians: Linearised) -> Float[Tensor, "step sequence"]:
    layer, gates, states = jacobians.layer, jacobians.gates, jacobians.states
    w_hh = layer.weights["weight_hh"]
    if layer.cell.kind == "rnn-tanh":
        return _log_abs_det(w_hh) + (1 - states["h"].square()).log().sum(-1)
    if layer.cell.kind == "lstm" and "weight_hr" not in layer.weights:
        o = gates["o"]
        through = gates["f"].log() + states["c"].tanh().abs().log() + (o * (1 - o)).log()
        return _log_abs_det(w_hh.chunk(4)[3]) + through.sum(-1)
    return torch.stack([_log_abs_det(jacobians[step].matrix()) for step in range(len(jacobians))])


def _log_abs_det(matrix: Tensor) -> Tensor:
    log_abs: Tensor = torch.linalg.slogdet(matrix).logabsdet
    return log_abs
