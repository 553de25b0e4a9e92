"""Drop-ins for torch's recurrent modules that remember every gate, with the gates in the graph.

Each has the parameters, the state dict, the call and the outputs of the module whose name it bears; it trains like it,
and it is as slow as a loop in Python is. What it remembers of its last call can be part of a loss.
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells import Named
from ..dynamics.unroll import unroll
from ..errors import NotRecordedError
from ..layers import layer_of_cell, stack_of
from ..shapes import full_lengths, last_step
from ..trace import Trace
from .inputs import check_input
from .layout import Layout, data_of

Given = Tensor | PackedSequence
States = Tensor | tuple[Tensor, Tensor]


class _RecordingStack(nn.RNNBase):
    """What RecordingLSTM, RecordingGRU and RecordingRNN share."""

    traces: dict[str, Trace]
    """The last call's traces by name, `l0`, `l0_reverse`, `l1`, …, still in the graph; empty before the first call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.traces = {}

    def forward(self, input: Given, hx: States | None = None) -> tuple[Given, States]:  # noqa: A002  (torch's name)
        check_input(type(self).__name__, self, input)
        layout = Layout.of(input, self.batch_first)
        x = layout.arranged(data_of(input))
        lengths = layout.lengths(x)
        stack = stack_of(self, snapshot=lambda weight: weight)
        given = None if hx is None else _rows(hx, layout.unbatched)
        traces, finals = [], []
        for depth, layers in enumerate(stack):
            for row, layer in enumerate(layers, depth * len(layers)):
                initial = layer.zeros(x.shape[1])
                if given is not None:
                    initial = {name: state[row] for name, state in zip(layer.cell.states, given, strict=True)}
                traces.append(unroll(layer, x, initial, lengths))
                finals.append(_final(traces[-1]))
            x = torch.cat([trace.states["h"] for trace in traces[-len(layers) :]], -1)
            if depth + 1 < len(stack):
                x = self._dropped(layout, x)
        self.traces = {trace.name: trace for trace in traces}
        ends = [torch.stack([final[name] for final in finals]) for name in finals[0]]
        ends = [end[:, 0] for end in ends] if layout.unbatched else ends
        return layout.restored(x), (ends[0], ends[1]) if len(ends) > 1 else ends[0]

    def _dropped(self, layout: Layout, x: Tensor) -> Tensor:
        """Dropout between two layers, from the random numbers that torch's own module would draw."""
        if not self.training or not self.dropout:
            return x
        return x * layout.from_data(nn.functional.dropout(layout.like_data(x, x.shape[-1]), self.dropout))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "traces": {}}  # a copy, or a file, holds weights, not what was last seen


class RecordingLSTM(_RecordingStack, nn.LSTM):
    """An nn.LSTM that remembers every gate: after a call, `traces["l0"].gates["f"]` is `[time, sequence, unit]`."""


class RecordingGRU(_RecordingStack, nn.GRU):
    """An nn.GRU that remembers every gate: after a call, `traces["l0"].gates["z"]` is `[time, sequence, unit]`."""


class RecordingRNN(_RecordingStack, nn.RNN):
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

    def forward(self, input: Tensor, hx: States | None = None) -> States:  # type: ignore[override]  # noqa: A002
        check_input(type(self).__name__, self, input)
        layer = layer_of_cell(self, snapshot=lambda weight: weight)
        unbatched = input.dim() == 1
        x = input[None] if unbatched else input
        given = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        prev = layer.zeros(len(x))
        if given:
            prev = {n: s[None] if unbatched else s for n, s in zip(layer.cell.states, given, strict=True)}
        if not given or len(given) != len(self._last) or any(a() is not b for a, b in zip(self._last, given, strict=True)):
            self.forget()
            self._initial = prev
        gates, states = layer.cell.step(layer.weights, layer.affine(x, prev["h"]), prev)
        self._inputs.append(x)
        self._steps.append({**gates, **states})
        out = tuple(state[0] if unbatched else state for state in states.values())
        self._last = tuple(map(weakref.ref, out))
        return (out[0], out[1]) if len(out) > 1 else out[0]

    def __getstate__(self) -> dict[str, Any]:
        empty = {"_inputs": [], "_steps": [], "_initial": {}, "_last": ()}
        return {**self.__dict__, **empty}  # a copy, or a file, holds weights, not what was last seen


class RecordingLSTMCell(_RecordingCell, nn.LSTMCell):
    """An nn.LSTMCell that remembers its loop: `trace.gates` has i, f, g and o, `trace.states` h and c, of every step."""


class RecordingGRUCell(_RecordingCell, nn.GRUCell):
    """An nn.GRUCell that remembers its loop: `trace.gates` has r, z and n, `trace.states` h, of every step."""


class RecordingRNNCell(_RecordingCell, nn.RNNCell):
    """An nn.RNNCell that remembers its loop: `trace.states` has h, of every step."""


def _rows(hx: States, unbatched: bool) -> tuple[Tensor, ...]:
    """h_0 (and c_0) with their dimension of sequences."""
    states = hx if isinstance(hx, tuple) else (hx,)
    return tuple(state[:, None] if unbatched else state for state in states)


def _final(trace: Trace) -> Named:
    """The states after each sequence's last step."""
    return {name: last_step(trace.in_processing_order(states), trace.lengths) for name, states in trace.states.items()}
