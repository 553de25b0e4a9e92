"""What a recurrent cell is: one step, the adjoint of that step, and nothing about time.

A cell's step reads two affine terms and the previous states, and gives its gates and its next states:

    affine = (W_ih x_t + b_ih,  W_hh h_{t-1} + b_hh)      kept apart, because the GRU needs them apart
    gates, state = step(w, affine, prev)

Its laws, each of them tested over every cell in `CELLS`:

* `step` is polymorphic over leading axes: one call over `[time, sequence, unit]` equals a call per step;
* `slopes` are what its derivative needs and no direction changes, for one time or for all times at once, as `step`;
* `pull` through the slopes is the adjoint of `step`, with every state's own total among its results;
* `push` through the slopes is its derivative, the transpose of `pull`;
* both take many directions at once: one slope `[sequence, 1, unit]` serves tangents `[sequence, direction, unit]`;
* `replay` equals `step` iterated.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Affine = tuple[Tensor, Tensor]
Named = dict[str, Tensor]


@dataclass(frozen=True)
class Pullback:
    """The adjoint of one step."""

    total: Named
    """dL/d state, every path counted: what autograd gives for that very tensor."""
    affine: Affine
    """dL/d input-side and dL/d hidden-side pre-activations, `[..., block * unit]`."""
    prev: Named
    """dL/d previous states, along every path except the one through the hidden-side affine term."""


def through_sigmoid(factor: Tensor, gate: Tensor) -> Tensor:
    """factor ⊙ σ′ = factor ⊙ gate ⊙ (1 - gate), in one pass over memory."""
    slope: Tensor = torch.ops.aten.sigmoid_backward(factor, gate)
    return slope


def through_tanh(factor: Tensor, gate: Tensor) -> Tensor:
    """factor ⊙ tanh′ = factor ⊙ (1 - gate²), in one pass over memory."""
    slope: Tensor = torch.ops.aten.tanh_backward(factor, gate)
    return slope


class Cell(ABC):
    """One kind of recurrent cell: its step and the adjoint of its step."""

    kind: str
    gates: tuple[str, ...]
    """The gates, in the order of torch's row blocks."""
    memory: tuple[str, ...] = ()
    """The states beside h, which a fused kernel does not return."""
    kept: tuple[str, ...] = ()
    """What `step` gives among its gates without its being one: the pullback reads it again."""
    parameters: Mapping[str, str] = {}
    """Torch's names of weights, to the names that the user's own module has for them; empty: the same names."""

    @property
    def states(self) -> tuple[str, ...]:
        """The recurrent states, h first."""
        return ("h", *self.memory)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the row blocks of the input-side affine term."""
        return self.gates or ("h",)

    @property
    def hidden_blocks(self) -> tuple[str, ...]:
        """The names of the row blocks of the hidden-side affine term."""
        return self.blocks

    @abstractmethod
    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        """Gates and states of one step."""

    @abstractmethod
    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        """The derivatives inside one step, by which `pull` and `push` multiply whatever direction comes.

        They depend on what ran alone: those of a stretch of time are taken at once, before anything runs over time.
        """

    @abstractmethod
    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        """The adjoint of one step, given the adjoint of the states that it hands on."""

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        """What a small change of the affine terms and of the previous states, `tangent`, makes of the next states.

        A cell that has no lines of its own for it transposes its `pull`, which is linear: slower and as exact.
        """
        nothing = {name: torch.zeros_like(values) for name, values in tangent.items()}

        def pulled(adjoint: Named) -> tuple[Affine, Named]:
            back = self.pull(w, slopes, adjoint)
            return back.affine, {**nothing, **back.prev}

        (pushed,) = torch.func.vjp(pulled, nothing)[1]((affine, tangent))
        return dict(pushed)

    def pullback(self, w: Weights, gates: Named, prev: Named, state: Named, adjoint: Named) -> Pullback:
        """`pull` at a step of which everything is known."""
        return self.pull(w, self.slopes(w, gates, prev, state), adjoint)

    def pushforward(self, w: Weights, gates: Named, prev: Named, state: Named, affine: Affine, tangent: Named) -> Named:
        """`push` likewise."""
        return self.push(w, self.slopes(w, gates, prev, state), affine, tangent)

    def preactivations(self, w: Weights, affine: Affine, prev: Named) -> Named:
        """The pre-activation of each block: what stands inside σ or tanh."""
        return dict(zip(self.blocks, (affine[0] + affine[1]).chunk(len(self.blocks), -1), strict=True))

    def replay(self, w: Weights, affine: Affine, h: Tensor, memory: Named) -> tuple[Named, Named]:
        """Gates and states of a stretch of time `[time, sequence, unit]` of which every hidden state is known.

        `h` is the hidden state before each step, `memory` the other states before the first one. The affine terms are
        the callee's to overwrite.
        """
        if not self.memory:
            return self.step(w, affine, {"h": h})
        gates, states, prev = [], [], memory
        for *now, h_prev in zip(*affine, h, strict=True):
            gate, state = self.step(w, (now[0], now[1]), {**prev, "h": h_prev})
            gates.append(gate)
            states.append(state)
            prev = {name: state[name] for name in self.memory}
        return _stacked(gates), _stacked(states)

    @staticmethod
    def from_step(
        kind: str,
        *,
        gates: tuple[str, ...],
        step: Callable[[Weights, Affine, Named], tuple[Named, Named]],
        memory: tuple[str, ...] = (),
        parameters: Mapping[str, str] | None = None,
    ) -> "Cell":
        """A cell of one's own from its step alone; autograd supplies the pullback, slower and as exact.

        `step(w, affine, prev)` returns the gates and the next states by name, `"h"` and each of `memory`; h is to be
        computed from the very memory tensors that it returns. `parameters` maps torch's names (`weight_ih`,
        `weight_hh`, `bias_ih`, `bias_hh`) to the names that the module's parameters have; every other parameter of the
        module is in `w` under its own name.
        """
        return StepCell(kind=kind, gates=gates, memory=memory, parameters=parameters or {}, textbook=step)


@dataclass(frozen=True, kw_only=True)
class StepCell(Cell):
    """A cell known by its step alone."""

    kind: str
    gates: tuple[str, ...]
    memory: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    textbook: Callable[[Weights, Affine, Named], tuple[Named, Named]] = field(repr=False)

    kept: tuple[str, ...] = field(default=("input_affine", "hidden_affine"), init=False)

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("input_affine",)

    @property
    def hidden_blocks(self) -> tuple[str, ...]:
        return ("hidden_affine",)

    def preactivations(self, w: Weights, affine: Affine, prev: Named) -> Named:
        return {"input_affine": affine[0], "hidden_affine": affine[1]}

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        gates, state = self.textbook(w, affine, prev)
        return {**gates, "input_affine": affine[0], "hidden_affine": affine[1]}, state

    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        """The point itself: autograd finds the slopes there."""
        return {"input_affine": gates["input_affine"], "hidden_affine": gates["hidden_affine"], **prev}

    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        with torch.inference_mode(False), torch.enable_grad():
            at = _widened(slopes, adjoint["h"])
            affine, prev = self._parted({name: values.detach().requires_grad_() for name, values in at.items()})
            out = self._next_states(w, affine, prev)
            felt = torch.autograd.grad(
                [out[name] for name in self.states],
                [*affine, *prev.values(), *(out[name] for name in self.memory)],
                [adjoint[name] for name in self.states],
                allow_unused=True,
                materialize_grads=True,
            )
        return Pullback(
            total={"h": adjoint["h"], **dict(zip(self.memory, felt[2 + len(prev) :], strict=True))},
            affine=(felt[0], felt[1]),
            prev=dict(zip(prev, felt[2 : 2 + len(prev)], strict=True)),
        )

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        at = self._parted(_widened(slopes, tangent["h"]))
        pushed: Named = torch.func.jvp(partial(self._next_states, w), at, (affine, tangent))[1]
        return pushed

    def _parted(self, at: Named) -> tuple[Affine, Named]:
        return (at["input_affine"], at["hidden_affine"]), {name: at[name] for name in self.states}

    def _next_states(self, w: Weights, affine: Affine, prev: Named) -> Named:
        after = self.textbook(w, affine, prev)[1]
        return {name: after[name] for name in self.states}


def _widened(at: Named, directions: Tensor) -> Named:
    """The point at which a step is linearised, once for each direction."""
    return {name: values.expand(*directions.shape[:-1], values.shape[-1]).contiguous() for name, values in at.items()}


def _stacked(steps: list[Named]) -> Named:
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
