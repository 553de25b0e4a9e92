"""How much of the gradient came through the memory alone, and how much through the recurrent weights.

    K_T = dc_T,  K_{t−1} = K_t ⊙ f_t          carousel: the path that no weight touches; a GRU's keeps h by z
    dc_t = K_t + everything else              an exact sum of vectors; norms do not add up
    dc_t = Σ_m dc_t^(m)                       paths that go through recurrent weights exactly m times; m = 0 is K

dc is the total dL/dc_t of an LSTM; for a GRU, whose memory is h, the total dL/dh_t. Shares are |K_t| / |dc_t| as
natural logarithms (nats), and may be above 0 where paths cancel; every part has a scale of its own and none is lost to
underflow, while a difference below the rounding of the recorded adjoint (1e-7 of dc in float32) is noise. Lag k is k
steps before each sequence's last processed step, lag T the initial state. K starts from what the loss puts on the last
state: **it is to be read there**. What comes down at earlier steps, from a layer above, counts as "everything else".

The split: Arpit et al. 2019 (h-detach). Carousel: Hochreiter & Schmidhuber 1997.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..dynamics.scaled import Scaled
from ..errors import InputError
from ..layers import Direction
from ..trace import Adjoint
from .outer_products import by_lag

if TYPE_CHECKING:
    import pandas

MEMORY_PATHS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"lstm": ("c", "f"), "gru": ("h", "z"), "gru-reset-before": ("h", "z")}
)
"""By kind of cell, the state that is kept and the gate that keeps it."""


@dataclass(frozen=True, eq=False)
class PathSplit:
    """The share of each kind of path in the gradient, at every lag of every sequence."""

    measure: ClassVar[str] = "path_split"

    layer: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    direction: Direction
    loss: str
    """What loss, in words, and at which step it is read."""
    state: str
    """Whose gradient is split: `c`, or `h` for a GRU."""
    gate: str
    """Whose product is the carousel: `f`, or `z` for a GRU."""
    lengths: Int[np.ndarray, "sequence"]
    carousel: Float[np.ndarray, "sequence lag"]
    """ln |K| / |dc|; -inf where the gate was exactly shut, NaN where there is no gradient or no such lag."""
    elsewhere: Float[np.ndarray, "sequence lag"]
    """ln |dc − K| / |dc|."""
    cosine: Float[np.ndarray, "sequence lag"]
    """Between K and dc, from -1 to 1."""
    orders: Float[np.ndarray, "order sequence lag"]
    """ln |dc^(m)| / |dc| for m = 0, 1, …: the order spectrum."""
    beyond: Float[np.ndarray, "sequence lag"]
    """ln |dc − Σ_m dc^(m)| / |dc|: the paths of higher order than these, and what came from elsewhere."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @property
    def share(self) -> Float[np.ndarray, "sequence lag"]:
        """|K| / |dc|: 1 where the carousel is all; above 1 where the other paths cancel a part of it."""
        return np.asarray(np.exp(self.carousel))

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, order, lag, sequence, value, unit (nats or 1)."""
        import pandas

        sequence, lag = np.nonzero(np.arange(self.carousel.shape[1]) <= self.lengths[:, None])
        named: list[tuple[str, int | None, np.ndarray]]
        named = [("carousel", None, self.carousel), ("elsewhere", None, self.elsewhere)]
        named += [("order", order, values) for order, values in enumerate(self.orders)]
        named += [("beyond", None, self.beyond), ("cosine", None, self.cosine)]
        parts = [
            pandas.DataFrame(
                {
                    "layer": self.layer,
                    "direction": self.direction,
                    "measure": self.measure,
                    "quantity": quantity,
                    "order": pandas.array([order] * len(lag), dtype="Int64"),
                    "lag": lag,
                    "sequence": sequence,
                    "value": values[sequence, lag],
                    "unit": "1" if quantity == "cosine" else "nats",
                }
            )
            for quantity, order, values in named
        ]
        return pandas.concat(parts, ignore_index=True)


def path_split(adjoint: Adjoint, *, loss: str, orders: int = 2) -> PathSplit:
    """The split in one recorded layer; `loss` says in words whose gradient it is, read at the last step.

    `orders` is the largest number m of traversals of the recurrent weights that is told apart; each costs a backward
    recursion of its own.

    Raises:
        InputError: the cell has no memory path, or none that gatescope knows of.
    """
    kind = adjoint.layer.cell.kind
    if kind not in MEMORY_PATHS:
        raise InputError(
            f"{adjoint.name} is a {kind} cell, which keeps no state by a gate that gatescope knows of, so there is "
            "no memory path to split off; ask this of an LSTM or a GRU, or read the lag curve."
        )
    if orders < 0:
        raise InputError(f"{adjoint.name}: orders = {orders} were asked for; choose a number from 0.")
    state, gate = MEMORY_PATHS[kind]
    whole = _whole(adjoint, state)
    by_order = _by_order(adjoint, state, gate, orders)
    lengths = adjoint.lengths.cpu().numpy()
    missing = np.arange(len(whole.log_scale)) > lengths[:, None]

    def frozen(values: Tensor) -> np.ndarray:
        found = np.where(missing, np.nan, values.mT.cpu().numpy())
        found.setflags(write=False)
        return found

    def rest(parts: int) -> Tensor:
        """|whole − the first parts| / |whole|; the parts are taken over the whole's scale, where they matter."""
        over = (by_order.log_scale[:, :parts] - whole.log_scale[:, None]).exp()[..., None]
        left_over = whole.normalised["it"] - (by_order.normalised["it"][:, :parts] * over).sum(1)
        return _log_norm(left_over) - norm

    norm = _log_norm(whole.normalised["it"])
    shares = _log_norm(by_order.normalised["it"]) + by_order.log_scale - (norm + whole.log_scale)[:, None]
    cosine = torch.cosine_similarity(by_order.normalised["it"][:, 0], whole.normalised["it"], dim=-1, eps=0)
    return PathSplit(
        layer=adjoint.name,
        cell=kind,
        direction=adjoint.layer.direction,
        loss=loss,
        state=state,
        gate=gate,
        lengths=lengths,
        carousel=frozen(shares[:, 0]),
        elsewhere=frozen(rest(1)),
        cosine=frozen(cosine),
        orders=frozen(shares.movedim(1, 0)),
        beyond=frozen(rest(orders + 1)),
    )


def _whole(adjoint: Adjoint, state: str) -> Scaled:
    """The total adjoint of the state by lag, `[lag, sequence, unit]`, the initial state's at lag T."""
    trace = adjoint.trace
    values = by_lag(trace, adjoint.normalised["total"][state]).double()
    scale = by_lag(trace, adjoint.log_scale)
    values, scale = torch.cat([values, values[:1]]), torch.cat([scale, scale[:1]])
    rows = torch.arange(len(trace.lengths), device=scale.device)
    values[trace.lengths, rows] = adjoint.normalised_initial[state].double()
    scale[trace.lengths, rows] = adjoint.log_scale_initial
    return Scaled({"it": values}, scale)


def _by_order(adjoint: Adjoint, state: str, gate: str, orders: int) -> Scaled:
    """The paths with 0, 1, … traversals, `[lag, order, sequence, unit]`, each order of each sequence with its scale."""
    trace, layer = adjoint.trace, adjoint.layer.to(torch.float64)
    previous = trace.previous
    gates, states, before = (
        {name: by_lag(trace, values.double()) for name, values in named.items()}
        for named in (trace.gates, trace.states, previous)
    )
    first = {name: by_lag(trace, values)[0].double() for name, values in adjoint.normalised["state"].items()}
    carried = Scaled(
        {name: torch.stack([values, *[torch.zeros_like(values)] * orders]) for name, values in first.items()},
        torch.full((orders + 1, len(trace.lengths)), -torch.inf, dtype=torch.float64, device=trace.x.device),
    )
    carried.log_scale[0] = by_lag(trace, adjoint.log_scale)[0]
    values, scales = [], []
    for lag in range(len(trace.x)):
        now = {name: series[lag] for name, series in gates.items()}
        through = partial(
            layer.cell.pullback,
            layer.weights,
            now,
            {name: series[lag] for name, series in before.items()},
            {name: series[lag] for name, series in states.items()},
        )
        felt = carried.renormalised()
        back = through(felt.normalised)
        # After a sequence's end every gate is zero, so that the total is what was carried: the initial state's adjoint.
        values.append(back.total[state])
        scales.append(felt.log_scale)
        kept = back.total[state] * now[gate]
        through_weights = {**back.prev, "h": back.prev.get("h", 0) + back.affine[1] @ layer.weights["weight_hh"]}
        through_weights[state] = through_weights[state] - kept
        nothing = torch.zeros_like
        stays = {name: kept if name == state else nothing(felt.normalised[name]) for name in felt.normalised}
        moves = {name: torch.cat([nothing(v[:1]), v[:-1]]) for name, v in through_weights.items()}
        moved = torch.cat([torch.full_like(felt.log_scale[:1], -torch.inf), felt.log_scale[:-1]])
        carried = Scaled(stays, felt.log_scale) + Scaled(moves, moved)
    felt = carried.renormalised()
    return Scaled({"it": torch.stack([*values, felt.normalised[state]])}, torch.stack([*scales, felt.log_scale]))


def _log_norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm.log()
