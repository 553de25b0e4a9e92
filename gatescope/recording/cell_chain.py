"""Calls of one cell that hand their state on: a loop over time that somebody wrote, kept as one trace.

A chain goes on while the state that comes in is the very one that went out last; any other state begins another call.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..dynamics.adjoint import Arriving, sweep
from ..dynamics.replay import replay_known
from ..layers import RecurrentLayer, layer_of_cell
from ..shapes import full_lengths
from ..trace import Adjoint, Trace
from .arithmetic import Arithmetic, arithmetic_of
from .felt import Felt
from .watch import Watched

States = tuple[Tensor, ...]


@dataclass(eq=False)
class CellChain:
    """The steps of one loop so far."""

    watched: Watched
    layer: RecurrentLayer
    arithmetic: Arithmetic
    unbatched: bool
    initial: States | None
    call: int
    forward: int
    inputs: list[Tensor] = field(default_factory=list)
    states: list[States] = field(default_factory=list)
    felt: Felt = field(default_factory=Felt)
    last: tuple[weakref.ref[Tensor], ...] = ()
    reads_its_memory: bool = False
    """Whether the cell computes h from the very tensors that it returns beside it, as a loop in Python does and a fused
    kernel does not: the gradient that autograd brings to these then includes what comes through h."""

    def goes_on_from(self, hx: States | None) -> bool:
        """True where the incoming state is the very one that the last step gave."""
        return (
            hx is not None
            and len(hx) == len(self.last)
            and all(out() is state for out, state in zip(self.last, hx, strict=True))
        )

    def add(self, x: Tensor, out: States) -> None:
        """Keeps one more step."""
        self.__dict__.pop("traces", None)  # what was read of the loop so far no longer is the whole of it
        step = len(self.inputs)
        self.inputs.append(self._batched(x))
        self.states.append(tuple(map(self._batched, out)))
        if step == 0:
            self.reads_its_memory = any(_computed_from(out[0], memory) for memory in out[1:])
        self.last = tuple(map(weakref.ref, out))
        for name, state in zip(self.layer.cell.states, out, strict=True):
            self.felt.listen(f"{name}@{step}", state)

    @cached_property
    def traces(self) -> list[list[Trace]]:
        """The one trace of the loop."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.arithmetic.device, enabled=False):
            exact = self.arithmetic
            x = torch.stack(self.inputs)
            layer = self.layer.to(exact.kernel).to(exact.trace)
            states = {
                name: torch.stack([step[k] for step in self.states]).to(exact.trace)
                for k, name in enumerate(layer.cell.states)
            }
            initial = layer.zeros(x.shape[1])
            if self.initial is not None:
                initial = dict(zip(layer.cell.states, [s.to(exact.trace) for s in self.initial], strict=True))
            trace = replay_known(layer, exact.rounded(x), states, initial, full_lengths(x), exact.tolerance)
            return [[replace(trace, call=self.call, forward=self.forward)]]

    def adjoints(self) -> list[Adjoint]:
        """The gradient at every step of the loop."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.arithmetic.device, enabled=False):
            ((trace,),) = self.traces
            whole = {name: torch.zeros_like(values) for name, values in trace.states.items()}
            for name, values in whole.items():
                for step in range(len(self.inputs)):
                    gradient = self.felt.get(f"{name}@{step}")
                    if gradient is not None:
                        values[step] = self._batched(gradient).to(values.dtype)
            return [sweep(trace, Arriving(whole, whole="total" if self.reads_its_memory else "state"))]

    def _batched(self, values: Tensor) -> Tensor:
        values = values.detach()
        return (values[None] if self.unbatched else values).clone()


def chain_from(
    watched: Watched,
    given: tuple[Any, Any],
    returned: Any,
    *,
    call: int,
    forward: int,
    keep: Callable[[Tensor], Tensor],
) -> CellChain:
    """A chain that begins with this call of a cell."""
    x, hx = given
    with torch.inference_mode(False), torch.no_grad():
        chain = CellChain(
            watched=watched,
            layer=layer_of_cell(watched.module, watched.path, watched.aliases, keep, watched.cell),
            arithmetic=arithmetic_of(states_of(returned)[0]),
            unbatched=x.dim() == 1,
            initial=None,
            call=call,
            forward=forward,
        )
        if hx is not None:
            chain.initial = tuple(map(chain._batched, states_of(hx)))
        return chain


def _computed_from(h: Tensor, memory: Tensor) -> bool:
    """Whether h descends, in autograd's graph, from that very tensor."""
    wanted, nodes, seen = memory.grad_fn, [h.grad_fn], set[Any]()
    if wanted is None or wanted is h.grad_fn:
        return False
    while nodes and len(seen) < _NODES_OF_A_STEP:
        node = nodes.pop(0)
        if node is wanted:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(parent for parent, _ in node.next_functions)
    return False


_NODES_OF_A_STEP = 1000
"""More than any cell has in one step; the states of the first step descend from no others."""


def states_of(returned: Any) -> States:
    """The states in what a cell takes or returns: h, (h, c, …), or (output, state)."""
    if isinstance(returned, Tensor):
        return (returned,)
    if isinstance(returned[-1], tuple | list):
        return tuple(returned[-1])
    return tuple(returned)
