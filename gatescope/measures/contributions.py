"""What each step of each sequence adds to the gradient of each gate's weights, without ever forming it.

    dL/dW = Σ_{t,b} C_{t,b},   |C_{t,b}| = |δa_{t,b}| |h_{t−1,b}|        W_hh; |δa| |x| for W_ih, |δa| for a bias
    |Σ_b C_{t,b}|² = Σ_{b,d} (δa_b · δa_d)(h_b · h_d)                   of all sequences at one lag
    |Σ_{t,b} C_{t,b}|                                                   of the gradient itself

L2 (Frobenius) norms as natural logarithms (nats), for the rows of one gate in one parameter. Exact also where the
gradient has become too small for its dtype. Where |gradient| is far below the sum of the contributions' norms, they
cancel. Lag k is k steps before each sequence's last processed step.

Every parameter that torch gives the layer is here, a projection's `weight_hr` included (its rows are called `h`). Only
a loss that is read at the last step makes a lag of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..layers import Direction
from ..trace import Adjoint
from .outer_products import OuterProduct, by_lag, outer_products

if TYPE_CHECKING:
    import pandas

Rows = tuple[str, str]
"""The rows of one gate in one parameter: `("weight_hh", "f")`."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """The log norm of what each step adds to the gradient of each gate's weights, and of the gradient."""

    measure: ClassVar[str] = "contributions"

    layer: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    direction: Direction
    loss: str
    """What loss, in words, and at which step it is read."""
    lengths: Int[np.ndarray, "sequence"]
    step: Mapping[Rows, Float[np.ndarray, "sequence lag"]]
    """Log norm of one step of one sequence; NaN where a sequence has no such lag, -inf where it is exactly zero."""
    batch: Mapping[Rows, Float[np.ndarray, "lag"]]
    """Log norm of the sum over sequences at one lag."""
    gradient: Mapping[Rows, float]
    """Log norm of the sum over steps and sequences, which is what torch puts into `.grad`."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Torch's names of the parameters that are covered."""
        return tuple(dict.fromkeys(parameter for parameter, _ in self.step))

    def of_step(self, parameter: str | None = None) -> Float[np.ndarray, "sequence lag"]:
        """Log norm of one step of one sequence over all gates of a parameter, or over all parameters."""
        chosen = [values for (name, _), values in self.step.items() if parameter in (None, name)]
        largest = np.maximum(np.max(chosen, axis=0), np.finfo(float).min)  # exp of -inf minus -inf is no number
        with np.errstate(divide="ignore"):
            log_norm: np.ndarray = largest + np.log(np.exp(2 * (np.stack(chosen) - largest)).sum(0)) / 2
        return log_norm

    def to_frame(self) -> "pandas.DataFrame":
        """One row a log norm: layer, direction, measure, quantity, parameter, gate, lag, sequence, value, unit (nats).

        Quantity `step` has a lag and a sequence, `batch` a lag alone, `gradient` neither.
        """
        import pandas

        exists = np.arange(self.lengths.max()) < self.lengths[:, None]
        sequence, lag = np.nonzero(exists)
        parts = []
        for rows, values in self.step.items():
            parts.append(_rows("step", rows, lag, sequence, values[sequence, lag]))
            parts.append(_rows("batch", rows, np.arange(len(self.batch[rows])), pandas.NA, self.batch[rows]))
            parts.append(_rows("gradient", rows, pandas.NA, pandas.NA, np.array([self.gradient[rows]])))
        frame = pandas.concat([pandas.DataFrame(part) for part in parts], ignore_index=True)
        frame = frame.astype({"lag": "Int64", "sequence": "Int64"}).assign(unit="nats")
        for place, (column, value) in enumerate(
            {"layer": self.layer, "direction": self.direction, "measure": self.measure}.items()
        ):
            frame.insert(place, column, value)
        return frame


def contributions(adjoint: Adjoint, *, loss: str) -> Contributions:
    """The contributions in one recorded layer; `loss` says in words whose gradient it is and where it is read."""
    log_scale = by_lag(adjoint.trace, adjoint.log_scale)
    lengths = adjoint.lengths.cpu().numpy()
    missing = np.arange(len(log_scale)) >= lengths[:, None]
    products = {(product.parameter, product.gate): product for product in outer_products(adjoint)}

    def by_step(product: OuterProduct) -> np.ndarray:
        log_norm = product.left.norm(dim=-1).log() + product.right.norm(dim=-1).log() + log_scale
        return _frozen(np.where(missing, np.nan, log_norm.T.cpu().numpy()))

    return Contributions(
        layer=adjoint.name,
        cell=adjoint.layer.cell.kind,
        direction=adjoint.layer.direction,
        loss=loss,
        lengths=lengths,
        step=MappingProxyType({rows: by_step(product) for rows, product in products.items()}),
        batch=MappingProxyType({rows: _of_batch(product, log_scale) for rows, product in products.items()}),
        gradient=MappingProxyType({rows: _of_all(product, log_scale) for rows, product in products.items()}),
    )


def _of_batch(product: OuterProduct, log_scale: Float[Tensor, "lag sequence"]) -> Float[np.ndarray, "lag"]:
    largest = _largest(log_scale, dim=1)
    left = product.left * (log_scale - largest).exp()[..., None]
    squares = ((left @ left.mT) * (product.right @ product.right.mT)).sum((1, 2))
    return _frozen((squares.clamp(min=0).log() / 2 + largest[:, 0]).cpu().numpy())


def _of_all(product: OuterProduct, log_scale: Float[Tensor, "lag sequence"]) -> float:
    largest = _largest(_largest(log_scale, dim=1), dim=0)
    left = (product.left * (log_scale - largest).exp()[..., None]).flatten(0, 1)
    return float((left.T @ product.right.flatten(0, 1)).norm().log() + largest)


def _largest(log_scale: Tensor, dim: int) -> Tensor:
    """A finite one in any case: what is -inf stays so under it."""
    return log_scale.amax(dim, keepdim=True).clamp(min=torch.finfo(torch.float64).min)


def _frozen(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values


def _rows(quantity: str, rows: Rows, lag: object, sequence: object, value: np.ndarray) -> dict[str, object]:
    return {
        "quantity": quantity,
        "parameter": rows[0],
        "gate": rows[1],
        "lag": lag,
        "sequence": sequence,
        "value": value,
    }
