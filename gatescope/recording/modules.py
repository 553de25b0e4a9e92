"""Drop-ins for torch's recurrent modules that remember every gate, with the gates in the graph.

Each has the parameters, the state dict, the call and the outputs of the module whose name it bears; it trains like it,
and it is as slow as a loop in Python is. What it remembers of its last call can be part of a loss.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells import Named
from ..dynamics.unroll import unroll
from ..errors import NotRecordedError
from ..layers import RecurrentLayer, layer_of_cell
from ..shapes import full_lengths, last_step
from ..trace import Trace
from .inputs import check_input
from .stacked import run_stack, states_of

Given = Tensor | PackedSequence
States = Tensor | tuple[Tensor, Tensor]


class _RecordingStack(nn.RNNBase):
    """What RecordingLSTM, RecordingGRU and RecordingRNN share."""

    traces: dict[str, Trace]
    """The last call's traces by name, `l0`, `l0_reverse`, `l1`, …, still in the graph; empty before the first call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.traces = {}

    def forward(self, input: Given, hx: States | None = None) -> tuple[Given, States]:
        check_input(type(self).__name__, self, input, hx)
        traces: list[Trace] = []

        def unrolled(
            layers: Sequence[RecurrentLayer], x: Tensor, initial: list[Named], lengths: Tensor
        ) -> tuple[Tensor, list[Named]]:
            here = [unroll(layer, x, start, lengths) for layer, start in zip(layers, initial, strict=True)]
            traces.extend(here)
            return torch.cat([trace.states["h"] for trace in here], -1), [_final(trace) for trace in here]

        returned, _ = run_stack(self, input, hx, unrolled)
        self.traces = {trace.name: trace for trace in traces}
        return returned

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "traces": {}}  # type: ignore[no-untyped-call]  # a copy, or a file, holds weights, not what was last seen


class RecordingLSTM(_RecordingStack, nn.LSTM):  # type: ignore[misc]  # the same call, typed more narrowly
    """An nn.LSTM that remembers every gate: after a call, `traces["l0"].gates["f"]` is `[time, sequence, unit]`."""


class RecordingGRU(_RecordingStack, nn.GRU):  # type: ignore[misc]  # the same call, typed more narrowly
    """An nn.GRU that remembers every gate: after a call, `traces["l0"].gates["z"]` is `[time, sequence, unit]`."""


class RecordingRNN(_RecordingStack, nn.RNN):  # type: ignore[misc]  # the same call, typed more narrowly
    """An nn.RNN that remembers every state: after a call, `traces["l0"].states["h"]` is `[time, sequence, unit]`."""


class _RecordingCell(nn.RNNCellBase):
    """What RecordingLSTMCell, RecordingGRUCell and RecordingRNNCell share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.forget()

    def forget(self) -> None:
        """Forgets the loop so far."""
        self._inputs: list[Tensor] = []
        self._steps: list[Named] = []
        self._initial: Named = {}
        self._last: tuple[weakref.ref[Tensor], ...] = ()

    @property
    def trace(self) -> Trace:
        """Every step of the loop in which the cell was last called, still in the graph.

        A loop goes on while the state that comes in is the very one that went out last; any other begins a new one.
        """
        layer = layer_of_cell(self, snapshot=lambda weight: weight)
        if not self._steps:
            raise NotRecordedError(f"This {type(self).__name__} was not called yet; call it, then read its trace.")
        over_time = {name: torch.stack([step[name] for step in self._steps]) for name in self._steps[0]}
        x = torch.stack(self._inputs)
        return Trace(
            layer=layer,
            x=x,
            gates={name: over_time[name] for name in (*layer.cell.gates, *layer.cell.kept)},
            states={name: over_time[name] for name in layer.cell.states},
            initial=self._initial,
            lengths=full_lengths(x),
            residual=0.0,
            method="unrolled",
        )

    def forward(self, input: Tensor, hx: States | None = None) -> States:
        check_input(type(self).__name__, self, input, hx)
        layer = layer_of_cell(self, snapshot=lambda weight: weight)
        unbatched = input.dim() == 1
        x = input[None] if unbatched else input
        given = () if hx is None else states_of(hx)
        prev = layer.zeros(len(x))
        if given:
            prev = {n: s[None] if unbatched else s for n, s in zip(layer.cell.states, given, strict=True)}
        if (
            not given
            or len(given) != len(self._last)
            or any(a() is not b for a, b in zip(self._last, given, strict=True))
        ):
            self.forget()
            self._initial = prev
        gates, states = layer.cell.step(layer.weights, layer.affine(x, prev["h"]), prev)
        self._inputs.append(x)
        self._steps.append({**gates, **states})
        out = tuple(state[0] if unbatched else state for state in states.values())
        self._last = tuple(map(weakref.ref, out))
        return (out[0], out[1]) if len(out) > 1 else out[0]

    def __getstate__(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"_inputs": [], "_steps": [], "_initial": {}, "_last": ()}
        return {**super().__getstate__(), **empty}  # type: ignore[no-untyped-call]  # a copy, or a file, holds weights, not what was last seen


class RecordingLSTMCell(_RecordingCell, nn.LSTMCell):  # type: ignore[misc]  # the same call, typed more narrowly
    """An nn.LSTMCell that remembers its loop: `trace.gates` has i, f, g, o, `trace.states` h and c, of every step."""


class RecordingGRUCell(_RecordingCell, nn.GRUCell):  # type: ignore[misc]  # the same call, typed more narrowly
    """An nn.GRUCell that remembers its loop: `trace.gates` has r, z and n, `trace.states` h, of every step."""


class RecordingRNNCell(_RecordingCell, nn.RNNCell):  # type: ignore[misc]  # the same call, typed more narrowly
    """An nn.RNNCell that remembers its loop: `trace.states` has h, of every step."""


def _final(trace: Trace) -> Named:
    """The states after each sequence's last step."""
    return {name: last_step(trace.in_processing_order(states), trace.lengths) for name, states in trace.states.items()}
