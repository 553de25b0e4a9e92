"""Records every gate, state and gradient of the recurrent layers in anyone's model, and leaves no trace on it."""

import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_hooks

from ..cells import Cell
from ..errors import GatescopeError, GatescopeWarning, InputError, NotRecordedError
from ..kernels import fused
from ..nonfinite import NonFinite, first_nonfinite
from ..trace import Adjoint, Trace
from .cell_chain import CellChain, chain_from, states_of
from .inputs import check_input
from .layout import data_of
from .stack_call import StackCall, snapshot_of_stack_call
from .stacked import run_stack
from .watch import Watched, recurrent_modules, unwrapped


class Recorder:
    """Records what the recurrent layers of a model do while its block runs.

    ```python
    with gs.Recorder(model) as rec:
        loss = criterion(model(x), y)
        loss.backward()  # optional: with it rec.adjoints exists
    rec.traces["encoder.l0"].gates["f"]  # [time, sequence, unit], whatever batch_first was
    rec.adjoints["encoder.l0"].total["c"]  # dL/dc_t, as autograd gives it in an unrolled loop
    ```

    The model's own kernels run, unchanged; the gates are found from what they returned and proven by
    `trace.residual`. Nothing is set on the model, before, during or after the block.

    Args:
        model: any module that holds nn.LSTM, nn.GRU, nn.RNN or loops over nn.LSTMCell, nn.GRUCell, nn.RNNCell.
        every: record the first forward pass of `model` and every `every`-th after it.
        cells: for modules of one's own that are called once a step as `module(x, state)`, the cell that each is.
        dropout: `"layerwise"` runs a stack whose inner dropout is active layer by layer, in place of its fused kernel.

    Raises:
        InputError: the model holds no recurrent module, or one is called with what it cannot take.
        ReplayError: on reading a trace whose gates do not explain the output.
        NotRecordedError: on reading what was not recorded; the message says why.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 1,
        cells: Mapping[type[nn.Module], Cell] | None = None,
        dropout: Literal["layerwise"] | None = None,
    ) -> None:
        if every < 1:
            raise InputError(f"every={every} was given, and a whole number from 1 is wanted; every=1 records all.")
        self._model = unwrapped(model)
        self._watched = recurrent_modules(self._model, cells or {})
        self._every = every
        self._layerwise = dropout == "layerwise"
        self._stack: ExitStack | None = None
        self._thread = 0
        self._calls: list[StackCall | CellChain] = []
        self._called: dict[int, int] = {}
        self._passes: dict[int, int] = {}
        self._weights: dict[int, Tensor] = {}
        self._rng: Tensor | None = None
        self._elsewhere = self._warned = 0

    def __enter__(self) -> "Recorder":
        if self._stack is not None:
            raise GatescopeError(
                "This Recorder is recording already; use a second Recorder for a block within its block."
            )
        self.clear()
        self._passes, self._elsewhere = {}, 0
        self._thread = threading.get_ident()
        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules:
                # What was compiled runs as it was written, so that its recurrent modules are seen.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
                stack.enter_context(_without_the_warning_about_global_hooks())
            before = torch_hooks.register_module_forward_pre_hook(self._before)
            stack.callback(before.remove)
            after = torch_hooks.register_module_forward_hook(self._after, with_kwargs=True)
            stack.callback(after.remove)
            # Removing a global hook leaves its mark in this table, and torch then believes that there still is one.
            stack.callback(torch_hooks._global_forward_hooks_with_kwargs.pop, after.id, None)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._stack is not None
        self._stack.close()
        self._stack = None
        for call in self._calls:
            call.felt.stop()
        if error is not None and "cudnn RNN backward can only be called in training mode" in str(error):
            error.add_note(
                "gatescope: this is torch's own rule, with or without a Recorder; call model.train() with dropout 0, "
                "or run the forward under torch.backends.cudnn.flags(enabled=False)."
            )

    @property
    def traces(self) -> Mapping[str, Trace]:
        """What each layer did, by name: `encoder.l0`, `encoder.l1_reverse`, and `…#1`, `…#2` for later calls."""
        for call in self._calls[self._warned :]:
            self._warned += 1
            for place in filter(None, map(first_nonfinite, _flat(call.traces))):
                warnings.warn(str(place), GatescopeWarning, stacklevel=2)
                break
        traces = {trace.name: trace for call in self._calls for trace in _flat(call.traces)}
        return _Recorded(traces, "trace", self._why_nothing() or "")

    @property
    def adjoints(self) -> Mapping[str, Adjoint]:
        """What the loss felt at each layer, by the names of `traces`, for the calls that a backward reached."""
        adjoints = {a.name: a for call in self._calls if call.felt for a in reversed(call.adjoints())}
        why = self._why_nothing() or (
            "no gradient came back to its outputs; call loss.backward() inside the block, with gradients enabled, on a "
            "loss that depends on them"
        )
        return _Recorded(adjoints, "adjoint", why)

    @property
    def nonfinite(self) -> NonFinite | None:
        """The first NaN or infinity of the recording, in the order of the calls; None where all is finite."""
        places = (first_nonfinite(trace) for trace in self.traces.values())
        return next(filter(None, places), None)

    def clear(self) -> None:
        """Forgets what was recorded so far, so that a long block holds no more than it needs."""
        for call in self._calls:
            call.felt.stop()
        self._calls = []
        self._warned = 0
        self._called = {}

    def __repr__(self) -> str:
        state = "recording" if self._stack is not None else "not recording"
        seen = f"{len(self._watched)} recurrent modules, {len(self._calls)} calls"
        return f"Recorder({type(self._model).__name__}: {seen}; {state})"

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() != self._thread:
            return
        watched = self._watched.get(id(module))
        if module is self._model or watched is not None:
            self._passes[id(module)] = self._passes.get(id(module), 0) + 1
        if watched is None or not self._recorded_now(module):
            return
        if args and isinstance(module, nn.RNNBase | nn.RNNCellBase):
            check_input(watched.title, module, args[0])
        self._rng = torch.get_rng_state() if self._drops(module) else None

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        watched = self._watched.get(id(module))
        if watched is None:
            return None
        if threading.get_ident() != self._thread:
            self._elsewhere += 1
            return None
        if not self._recorded_now(module):
            return None
        given = _given(args, kwargs)
        if watched.is_stack:
            return self._keep_stack(watched, given, output)
        self._keep_cell(watched, given, states_of(output))
        return None

    def _keep_stack(self, watched: Watched, given: tuple[Any, Any], output: Any) -> Any:
        module = watched.module
        assert isinstance(module, nn.RNNBase)
        inner = replaced = None
        rng = self._rng if data_of(given[0]).device.type == "cpu" else None
        if self._layerwise and self._drops(module):
            if rng is not None:
                torch.set_rng_state(rng)
            replaced, inner = run_stack(module, *given, fused)
        self._calls.append(
            snapshot_of_stack_call(
                watched,
                given,
                replaced or output,
                call=self._count(module),
                forward=self._forward_of(module),
                keep=self._kept,
                rng=rng,
                inner=inner,
            )
        )
        return replaced

    def _keep_cell(self, watched: Watched, given: tuple[Any, Any], out: tuple[Tensor, ...]) -> None:
        x, hx = given
        incoming = None if hx is None else states_of(hx)
        chains = (call for call in reversed(self._calls) if isinstance(call, CellChain) and call.watched is watched)
        chain = next((chain for chain in chains if chain.goes_on_from(incoming)), None)
        if chain is None:
            chain = chain_from(
                watched,
                given,
                out,
                call=self._count(watched.module),
                forward=self._forward_of(watched.module),
                keep=self._kept,
            )
            self._calls.append(chain)
        with torch.inference_mode(False), torch.no_grad():
            chain.add(x, out)

    def _recorded_now(self, module: nn.Module) -> bool:
        return self._forward_of(module) % self._every == 0

    def _forward_of(self, module: nn.Module) -> int:
        """Which forward pass this is: of the model, or of the module where the model as a whole is not called."""
        return self._passes.get(id(self._model), self._passes.get(id(module), 1)) - 1

    def _count(self, module: nn.Module) -> int:
        call = self._called.get(id(module), 0)
        self._called[id(module)] = call + 1
        return call

    def _drops(self, module: nn.Module) -> bool:
        return isinstance(module, nn.RNNBase) and module.training and module.num_layers > 1 and module.dropout > 0

    def _kept(self, weight: Tensor) -> Tensor:
        """A copy of a weight, shared by all calls between two changes of it."""
        before = self._weights.get(id(weight))
        if before is None or before.dtype != weight.dtype or not torch.equal(before, weight):
            before = self._weights[id(weight)] = weight.detach().clone()
        return before

    def _why_nothing(self) -> str | None:
        if self._calls:
            return None
        if self._elsewhere:
            return (
                f"it was called in another thread than the one that entered the Recorder ({self._elsewhere} times); "
                "enter one in the thread that calls the model"
            )
        return "no recurrent module of the model was called inside the block; call the model there"


class _Recorded(dict[str, Any]):
    """Values by layer, which say why one is not there."""

    def __init__(self, values: Mapping[str, Any], what: str, why: str) -> None:
        super().__init__(values)
        self._what, self._why = what, why

    def __missing__(self, name: str) -> Any:
        if self:
            raise NotRecordedError(f"There is no {self._what} of {name!r}; there are those of {', '.join(self)}.")
        raise NotRecordedError(f"There is no {self._what} of {name!r}: {self._why}.")


@contextmanager
def _without_the_warning_about_global_hooks() -> Iterator[None]:
    """Torch warns that a compiled module's hooks fire twice; ours know each module by its identity."""
    warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global hooks")
    ours = warnings.filters[0]
    try:
        yield
    finally:
        if ours in warnings.filters:
            warnings.filters.remove(ours)  # type: ignore[attr-defined]  # a list, typed as a sequence


def _flat(traces: list[list[Trace]]) -> list[Trace]:
    return [trace for depth in traces for trace in depth]


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The input and the state with which a recurrent module was called."""
    rest = list(kwargs.values())
    x = args[0] if args else kwargs.get("input", rest[0] if rest else None)
    if len(args) > 1:
        return x, args[1]
    states = [value for value in rest if value is not x]
    return x, states[0] if states else None
