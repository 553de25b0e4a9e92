"""One call of an nn.LSTM, nn.GRU or nn.RNN: what is kept of it while it runs, and what is read from that afterwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..dynamics.adjoint import Arriving
from ..dynamics.replay import proven, replay
from ..dynamics.stack_sweep import sweep_stack
from ..errors import InputError, ReplayError
from ..kernels import fused
from ..layers import RecurrentLayer, Stack, stack_of
from ..trace import Adjoint, Trace
from .arithmetic import Arithmetic, arithmetic_of
from .felt import Felt
from .layout import Layout, data_of
from .stacked import Inner, states_of
from .watch import Watched


@dataclass(frozen=True, eq=False)
class StackCall:
    """A snapshot of one call: its input, its states before and after, its output, and what reached these later."""

    watched: Watched
    stack: Stack
    arithmetic: Arithmetic
    layout: Layout
    x: Tensor
    output: Tensor
    initial: tuple[Tensor, ...] | None
    """h_0 (and c_0) `[layer x direction, sequence, unit]`."""
    final: tuple[Tensor, ...]
    dropout: float
    """The dropout that was active between the layers."""
    rng: Tensor | None
    """The state of the random numbers from which that dropout's masks came."""
    inner: Sequence[Inner] | None
    """What went from layer to layer, where the stack was run layer by layer."""
    call: int
    forward: int
    felt: Felt = field(default_factory=Felt)

    @property
    def names(self) -> list[list[str]]:
        """For each depth, the name of the trace of each direction."""
        return [[f"{layer.name}#{self.call}" if self.call else layer.name for layer in depth] for depth in self.stack]

    @cached_property
    def traces(self) -> list[list[Trace]]:
        """For each depth, the trace of each direction, proven."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.x.device.type, enabled=False):
            return self._replayed()

    def in_dtype(self, dtype: torch.dtype) -> "StackCall":
        """The same call, to be replayed and swept in another dtype than its kernel's."""
        return replace(self, arithmetic=replace(self.arithmetic, replayed_in=dtype))

    def adjoints(self) -> list[list[Adjoint]]:
        """For each depth, the gradient at every step of each direction."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.x.device.type, enabled=False):
            top_down = sweep_stack(
                len(self.stack),
                len(self.stack[0]),
                lambda depth, d: self.traces[depth][d],
                self.arriving,
                self.masks,
            )
            return [*top_down][::-1]

    @cached_property
    def masks(self) -> list[Tensor | None]:
        """What the output of each layer but the last was multiplied by."""
        inner = len(self.stack) - 1
        if self.inner is not None:
            return [between.mask for between in self.inner]
        if not self.dropout:
            return [None] * inner
        assert self.rng is not None
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.rng)
            return [self.layout.dropout_mask(self.output, self.dropout) for _ in range(inner)]

    def arriving(self, depth: int, direction: int) -> Arriving:
        """What the loss sent back to this layer's outputs and final states, as autograd brought it."""
        directions = len(self.stack[0])
        row = depth * directions + direction
        gradients = {name: self.felt.get(f"{name}_n") for name in self.stack[0][0].cell.states}
        at_end = {
            name: self.layout.with_sequences(gradient)[row].to(self.arithmetic.trace)
            for name, gradient in gradients.items()
            if gradient is not None
        }
        gradient = self.felt.get("output")
        if depth + 1 < len(self.stack) or gradient is None:
            return Arriving(at_end=at_end)
        exact = self.layout.time_major(gradient).to(self.arithmetic.trace)
        return Arriving({"h": exact.chunk(directions, -1)[direction].contiguous()}, at_end=at_end)

    def _replayed(self) -> list[list[Trace]]:
        lengths = self.layout.lengths(self.x)
        exact = self.arithmetic
        x, found = self.x, []
        for depth, layers in enumerate(self.stack):
            initial = self._initial(depth)
            out = self._output_of(depth, layers, x, initial, lengths)
            traces = []
            for d, (layer, h) in enumerate(zip(layers, out.chunk(len(layers), -1), strict=True)):
                final = {n: s.to(exact.trace) for n, s in self._states_of(self.final, depth, d).items()}
                start = {n: s.to(exact.trace) for n, s in initial[d].items()}
                read = _converted(_converted(layer, exact.kernel), exact.trace)
                trace = replay(read, exact.rounded(x), h.to(exact.trace).contiguous(), start, lengths, final)
                with exact.again():
                    trace = proven(trace, layer, exact.tolerance, final)
                traces.append(replace(trace, call=self.call, forward=self.forward))
            found.append(traces)
            if depth + 1 < len(self.stack):
                x = out if (mask := self.masks[depth]) is None else out * mask
        return found

    def _output_of(
        self, depth: int, layers: Sequence[RecurrentLayer], x: Tensor, initial: list[dict[str, Tensor]], lengths: Tensor
    ) -> Tensor:
        """The hidden states of one depth: the caller's for the last, the kernel's own, run again, for the others."""
        if depth + 1 == len(self.stack):
            return self.output
        if self.inner is not None:
            return self.inner[depth].output.detach()
        with self.arithmetic.again():
            return fused(layers, x, initial, lengths)[0]

    def _initial(self, depth: int) -> list[dict[str, Tensor]]:
        layers = self.stack[depth]
        if self.initial is None:
            return [layer.zeros(self.x.shape[1]) for layer in layers]
        return [self._states_of(self.initial, depth, d) for d in range(len(layers))]

    def _states_of(self, states: tuple[Tensor, ...], depth: int, direction: int) -> dict[str, Tensor]:
        row = depth * len(self.stack[0]) + direction
        return {name: s[row] for name, s in zip(self.stack[0][0].cell.states, states, strict=True)}


def snapshot_of_stack_call(
    watched: Watched,
    given: tuple[Any, Any],
    returned: Any,
    *,
    call: int,
    forward: int,
    keep: Callable[[Tensor], Tensor],
    rng: Tensor | None,
    inner: Sequence[Inner] | None,
) -> StackCall:
    """Copies what is needed of a call, and listens to the gradients that will reach its outputs."""
    module = watched.module
    assert isinstance(module, nn.RNNBase)
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(data_of(returned[0]), Tensor):
        raise ReplayError(
            f"{watched.title} returns something else than torch's (output, states), so its hidden states are not "
            "known; record the module that runs the kernel itself, or let this one return what torch's returns."
        )
    (x, hx), (output, hn) = given, returned
    if 0 in data_of(output).shape:
        raise InputError(
            f"{watched.title} was given a batch of no sequences; leave empty batches out of the recording."
        )
    dropout = module.dropout if module.training and module.num_layers > 1 else 0.0
    if dropout and rng is None and inner is None:
        raise InputError(
            f"{watched.title} has dropout {dropout} active between its layers, and the masks of a kernel on "
            f"{data_of(output).device.type} cannot be read from outside; call model.eval(), set its dropout to 0, or "
            'use Recorder(model, dropout="layerwise"), which runs the stack layer by layer.'
        )
    layout = Layout.of(x, batch_first=module.batch_first)
    final = states_of(hn)
    with torch.inference_mode(False), torch.no_grad():
        snapshot = StackCall(
            watched=watched,
            stack=stack_of(module, watched.path, watched.aliases, keep),
            arithmetic=arithmetic_of(data_of(output)),
            layout=layout,
            x=layout.time_major(data_of(x)),
            output=layout.time_major(data_of(output)),
            initial=None if hx is None else _copied(layout, states_of(hx)),
            final=_copied(layout, final),
            dropout=dropout,
            rng=rng,
            inner=inner,
            call=call,
            forward=forward,
        )
    ends = {f"{name}_n": state for name, state in zip(snapshot.stack[0][0].cell.states, final, strict=True)}
    snapshot.felt.listen({"output": data_of(output), **ends})
    return snapshot


def _copied(layout: Layout, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(layout.with_sequences(state.detach()).clone() for state in states)


def _converted(layer: RecurrentLayer, dtype: torch.dtype) -> RecurrentLayer:
    return layer if all(weight.dtype == dtype for weight in layer.weights.values()) else layer.to(dtype)
