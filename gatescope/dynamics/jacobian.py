"""What a small push on the recurrent state becomes, step by step along a trace: J applied, never formed.

    J_t = ∂s_t / ∂s_{t−1},   s = h, or (h, c) for an LSTM: R + H numbers        ṡ_t = J_t ṡ_{t−1}

The input is held fixed, so J is what backpropagation through time multiplies. k directions cost O(H² k) a step. Through
a product of many steps directions grow and shrink beyond all numbers: renormalise between the steps (`Scaled`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..cells import Named
from ..errors import InputError
from ..layers import RecurrentLayer
from ..nonfinite import first_nonfinite
from ..trace import Trace
from .scaled import Scaled, unit_scale


@dataclass(frozen=True, eq=False)
class Linearisation:
    """The Jacobian of one step at the states of several sequences."""

    layer: RecurrentLayer
    gates: Named
    prev: Named
    state: Named
    """`[sequence, unit]` each, as the cell's step gives them."""
    running: Bool[Tensor, "sequence"] | None = None
    """Where a sequence has ended nothing moves: its Jacobian is the identity. None: all are running."""

    def push(self, directions: Float[Tensor, "sequence direction state"]) -> Float[Tensor, "sequence direction state"]:
        """J times each direction."""
        tangent, w = _parted(directions, self.layer), self.layer.weights
        hidden = tangent["h"] @ w["weight_hh"].T
        affine = (torch.zeros_like(hidden), hidden)
        pushed = self.layer.cell.pushforward(w, *self._once_for_all_directions(), affine, tangent)
        return self._where_running(_joined(pushed, self.layer), directions)

    def pull(self, adjoints: Float[Tensor, "sequence direction state"]) -> Float[Tensor, "sequence direction state"]:
        """Jᵀ times each adjoint."""
        w = self.layer.weights
        felt = _parted(adjoints, self.layer)
        back = self.layer.cell.pullback(w, *self._once_for_all_directions(), felt)
        through_h = back.affine[1] @ w["weight_hh"]
        prev = {name: back.prev.get(name, torch.zeros_like(values)) for name, values in felt.items()}
        return self._where_running(_joined({**prev, "h": prev["h"] + through_h}, self.layer), adjoints)

    def matrix(self) -> Float[Tensor, "sequence state state"]:
        """J itself, for those who need it whole: O(H³) to make."""
        like = self.prev["h"]
        unit_pushes = torch.eye(state_size(self.layer), dtype=like.dtype, device=like.device)
        return self.push(unit_pushes.expand(len(like), -1, -1)).mT

    def _once_for_all_directions(self) -> tuple[Named, Named, Named]:
        gates, prev, state = (
            {name: values[:, None] for name, values in named.items()} for named in (self.gates, self.prev, self.state)
        )
        return gates, prev, state

    def _where_running(self, moved: Tensor, unmoved: Tensor) -> Tensor:
        return moved if self.running is None else torch.where(self.running[:, None, None], moved, unmoved)


def state_size(layer: RecurrentLayer) -> int:
    """The number of numbers in the recurrent state: units of h, and of c where there is one."""
    return sum(layer.state_sizes.values())


def linearised_at(
    layer: RecurrentLayer, x: Float[Tensor, "sequence feature"], state: Float[Tensor, "sequence state"]
) -> tuple[Float[Tensor, "sequence state"], Linearisation]:
    """One step from any states, h first and then c: the states after it, and its Jacobian."""
    prev = _parted(state, layer)
    gates, after = layer.cell.step(layer.weights, layer.affine(x, prev["h"]), prev)
    return _joined(after, layer), Linearisation(layer, gates, prev, after)


def linearised(
    trace: Trace, sequences: Sequence[int] | None = None, *, dtype: torch.dtype = torch.float64
) -> "Linearised":
    """The Jacobians of a trace, or of some of its sequences, along what ran there, in float64 unless told otherwise.

    Raises:
        InputError: a sequence that the trace does not have, or a state that is not finite.
    """
    number = len(trace.lengths)
    chosen = range(number) if sequences is None else sequences
    if not chosen or not all(0 <= sequence < number for sequence in chosen):
        raise InputError(
            f"{trace.name}: the sequences {list(chosen)} were asked of {number}; choose some from 0 to {number - 1}."
        )
    turn, layer = trace.in_processing_order, trace.layer.to(dtype)
    rows = torch.tensor(chosen, device=trace.lengths.device)

    def some(named: dict[str, Tensor]) -> Named:
        return {name: turn(values)[:, rows].to(dtype) for name, values in named.items()}

    before, states = some(trace.previous), some(dict(trace.states))
    if not all(bool(values.isfinite().all()) for values in (*before.values(), *states.values())):
        raise InputError(f"{first_nonfinite(trace)}; there is no Jacobian there, choose `sequences` that stay finite.")
    return Linearised(layer, some(dict(trace.gates)), before, states, trace.lengths[rows])


@dataclass(frozen=True, eq=False)
class Linearised:
    """The Jacobian of every step, in the order in which the layer takes its steps."""

    layer: RecurrentLayer
    gates: Named
    prev: Named
    states: Named
    """`[step, sequence, unit]` each."""
    lengths: Int[Tensor, "sequence"]

    def __len__(self) -> int:
        """The number of steps of the longest sequence."""
        return int(self.lengths.max())

    def __getitem__(self, step: int) -> Linearisation:
        """The Jacobian of the step with this number, from 0."""
        everyone = bool((self.lengths > step).all())
        return self._at(torch.full_like(self.lengths, step), None if everyone else self.lengths > step)

    def products(self) -> Iterator[Scaled]:
        """For lag 0, 1, …: the product J_T ⋯ J_{T−lag+1} of the last steps, T being each sequence's own last one.

        `[sequence, state, state]`, rows being the state at T, as `normalised["product"]` over `exp(log_scale)`; the
        scale is the Frobenius norm. Beyond a sequence's length it stands still.
        """
        like = self.prev["h"]
        size, sequences = state_size(self.layer), len(self.lengths)
        eye = torch.eye(size, dtype=like.dtype, device=like.device).expand(sequences, -1, -1)
        product = _renormalised(unit_scale({"product": eye.flatten(1)}), size)
        yield product
        for lag in range(len(self)):
            step = self.lengths - 1 - lag
            pulled = self._at(step.clamp(min=0), step >= 0).pull(product.normalised["product"])
            product = _renormalised(Scaled({"product": pulled.flatten(1)}, product.log_scale), size)
            yield product

    def _at(self, steps: Int[Tensor, "sequence"], running: Bool[Tensor, "sequence"] | None) -> Linearisation:
        rows = torch.arange(len(steps), device=steps.device)
        gates, prev, states = (
            {name: v[steps, rows] for name, v in named.items()} for named in (self.gates, self.prev, self.states)
        )
        return Linearisation(self.layer, gates, prev, states, running)


def _renormalised(product: Scaled, size: int) -> Scaled:
    flat = product.renormalised()
    return Scaled({"product": flat.normalised["product"].unflatten(1, (size, size))}, flat.log_scale)


def _parted(states: Tensor, layer: RecurrentLayer) -> Named:
    sizes = layer.state_sizes
    return dict(zip(sizes, states.split(list(sizes.values()), -1), strict=True))


def _joined(named: Named, layer: RecurrentLayer) -> Tensor:
    return torch.cat([named[name] for name in layer.state_sizes], -1)
