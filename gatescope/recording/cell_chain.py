"""Calls of one cell that hand their state on: a loop over time that somebody wrote, kept as one trace.

A chain goes on while the state that comes in is the very one that went out last, unchanged. Any other state begins
another call, and so does the first step with a gradient after steps without: autograd is cut there.
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
from ..errors import ReplayError
from ..layers import RecurrentLayer, layer_of_cell
from ..shapes import full_lengths
from ..trace import Adjoint, Kind, Trace
from .arithmetic import Arithmetic, arithmetic_of
from .felt import Felt
from .growing import Growing
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
    steps: int = 0
    felt: Felt = field(default_factory=Felt)
    reads_its_memory: bool = False
    """Whether the cell computes h from the very tensors that it returns beside it, as a loop in Python does and a fused
    kernel does not: the gradient that autograd brings to these then includes what comes through h."""
    _kept: list[Growing] = field(default_factory=list)
    _last: tuple[tuple[weakref.ref[Tensor], int | None], ...] = ()

    @property
    def names(self) -> list[list[str]]:
        """The name of its one trace."""
        return [[f"{self.layer.name}#{self.call}" if self.call else self.layer.name]]

    def goes_on_from(self, hx: States, out: States) -> bool:
        """True where the incoming state is the very one that the last step gave, and autograd sees it so too."""
        if len(hx) != len(self._last) or any(
            o.requires_grad and not i.requires_grad for i, o in zip(hx, out, strict=True)
        ):
            return False
        return all(
            last() is state and version == _version(state)
            for (last, version), state in zip(self._last, hx, strict=True)
        )

    def add(self, x: Tensor, out: States) -> None:
        """Keeps one more step."""
        self.__dict__.pop("traces", None)  # what was read of the loop so far no longer is the whole of it
        if not self._kept:
            self._kept = [Growing() for _ in (x, *out)]
            self.reads_its_memory = any(_computed_from(out[0], memory) for memory in out[1:])
        for kept, values in zip(self._kept, (x, *out), strict=True):
            kept.add(values.detach()[None] if self.unbatched else values.detach())
        self._last = tuple((weakref.ref(state), _version(state)) for state in out)
        self.felt.places.keep({}, [x])
        self.felt.listen({f"{n}@{self.steps}": s for n, s in zip(self.layer.cell.states, out, strict=True)})
        self.steps += 1

    @cached_property
    def traces(self) -> list[list[Trace]]:
        """The one trace of the loop."""
        exact = self.arithmetic
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(exact.device, enabled=False):
            x, *outgoing = (kept.whole() for kept in self._kept)
            layer = self.layer.to(exact.kernel).to(exact.trace)
            states = {name: s.to(exact.trace) for name, s in zip(layer.cell.states, outgoing, strict=True)}
            initial = layer.zeros(x.shape[1])
            if self.initial is not None:
                initial = dict(zip(layer.cell.states, [s.to(exact.trace) for s in self.initial], strict=True))
            trace = replay_known(layer, exact.rounded(x), states, initial, full_lengths(x), exact.tolerance)
            return [[replace(trace, call=self.call, forward=self.forward)]]

    def adjoints(self) -> list[list[Adjoint]]:
        """The gradient at every step of the loop."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.arithmetic.device, enabled=False):
            ((trace,),) = self.traces
            return [[sweep(trace, self.arriving(0, 0))]]

    @property
    def masks(self) -> list[Tensor | None]:
        """No dropout between depths: there is one."""
        return []

    def arriving(self, depth: int, direction: int) -> Arriving:
        """What autograd saw at the state of every step: the whole gradient, recurrence included."""
        with torch.inference_mode(False), torch.no_grad():
            trace = self.traces[depth][direction]
            whole = {name: torch.zeros_like(values) for name, values in trace.states.items()}
            seen_in = self._kept[1].whole().dtype
            for name, values in whole.items():
                for step in range(self.steps):
                    gradient = self.felt.get(f"{name}@{step}")
                    if gradient is not None:
                        values[step] = self._batched(gradient).to(values.dtype)
            kind: Kind = "total" if self.reads_its_memory else "state"
            return Arriving(whole, whole=kind, floor=4 * torch.finfo(seen_in).tiny)

    def _batched(self, values: Tensor) -> Tensor:
        values = values.detach()
        return (values[None] if self.unbatched else values).clone()


def chain_from(
    watched: Watched,
    given: tuple[Any, Any],
    out: States,
    *,
    call: int,
    forward: int,
    keep: Callable[[Tensor], Tensor],
) -> CellChain:
    """A chain that begins with this call of a cell."""
    x, hx = given
    with torch.inference_mode(False), torch.no_grad():
        layer = layer_of_cell(watched.module, watched.path, watched.aliases, keep, watched.cell)
        if len(out) != len(layer.cell.states):
            raise ReplayError(
                f"{watched.title} returns {len(out)} states, and a {layer.cell.kind} cell has "
                f"{' and '.join(layer.cell.states)}; let it return them, as h, (h, c) or (output, states)."
            )
        chain = CellChain(
            watched=watched,
            layer=layer,
            arithmetic=arithmetic_of(out[0]),
            unbatched=x.dim() == 1,
            initial=None,
            call=call,
            forward=forward,
        )
        if hx is not None:
            chain.initial = tuple(map(chain._batched, outgoing_states(hx)))
        return chain


def outgoing_states(returned: Any) -> States:
    """The states in what a cell takes or returns: h, (h, c, …), or (output, states)."""
    if isinstance(returned, Tensor):
        return (returned,)
    if isinstance(returned, tuple | list) and returned and isinstance(returned[-1], tuple | list):
        returned = returned[-1]
    return tuple(state for state in returned if isinstance(state, Tensor)) if isinstance(returned, tuple | list) else ()


def _version(state: Tensor) -> int | None:
    """What changes when a tensor is changed in place; None where torch does not count."""
    return None if state.is_inference() else state._version


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
