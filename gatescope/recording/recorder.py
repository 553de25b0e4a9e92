"""Records every gate, state and gradient of the recurrent layers in anyone's model, and leaves no trace on it."""

import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ..cells import Cell
from ..errors import GatescopeError, GatescopeWarning, InputError
from ..kernels import fused
from ..layers import kind_of
from ..nonfinite import NonFinite, first_nonfinite
from ..trace import Adjoint, Trace
from .cell_chain import chain_from, outgoing_states
from .felt import doubts_about
from .inputs import check_input, check_options, given_to
from .kept import Call, Kept, Refused
from .layout import data_of
from .listening import in_backward, listening
from .recorded import Recorded
from .stack_call import snapshot_of_stack_call
from .stacked import run_stack
from .watch import Watched, recurrent_modules, unwrapped

if TYPE_CHECKING:
    Traces = Recorded[Trace]
    Adjoints = Recorded[Adjoint]
else:  # whoever checks types while the program runs would look into a value, and so replay a layer
    Traces = Adjoints = Recorded


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
        check_options(model, every, cells, dropout)
        self._model = unwrapped(model)
        self._watched = recurrent_modules(self._model, cells or {})
        self._every = every
        self._layerwise = dropout == "layerwise"
        if every > 1 and id(self._model) in self._watched and not self._watched[id(self._model)].is_stack:
            raise InputError(
                f"every={every} counts forward passes, and a {type(self._model).__name__} by itself is called once a "
                "step; give the model that loops over it."
            )
        self._block: ExitStack | None = None
        self._thread = 0
        self._kept = Kept()

    def __enter__(self) -> "Recorder":
        if self._block is not None:
            raise GatescopeError("This Recorder is recording already; use a second one for a block within its block.")
        self._kept = Kept()
        self._thread = threading.get_ident()
        with ExitStack() as block:
            block.enter_context(listening(self._before, self._after))
            self._block = block.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._block is None:
            raise GatescopeError("This Recorder is not recording; enter its block first.")
        self._block.close()
        self._block = None
        self._kept.stop()
        if error is not None and "cudnn RNN backward can only be called in training mode" in str(error):
            error.add_note(
                "gatescope: this is torch's own rule, with or without a Recorder; call model.train() with dropout 0, "
                "or run the forward under torch.backends.cudnn.flags(enabled=False)."
            )

    @property
    def traces(self) -> Traces:
        """What each layer did, by name: `encoder.l0`, `encoder.l1_reverse`, and `…#1`, `…#2` for later calls.

        A trace is found and proven when it is read, so that one that is refused hides no other.
        """
        readers: dict[str, Callable[[], Trace]] = {
            name: partial(self._trace, call, depth, d)
            for call in self._kept.calls
            for depth, names in enumerate(call.names)
            for d, name in enumerate(names)
        }
        return Recorded(readers, lambda name: f"There is no trace of {name!r}{self._why_not(name, list(readers))}.")

    @property
    def adjoints(self) -> Adjoints:
        """What the loss felt at each layer, by the names of `traces`, for the calls that a backward reached.

        The sum over all backwards of the block, as `.grad` is; `zero_grad` does not reset it, `clear` does.
        """
        readers: dict[str, Callable[[], Adjoint]] = {
            name: partial(self._adjoint, call, depth, d)
            for call in self._kept.calls
            if call.felt
            for depth, names in enumerate(call.names)
            for d, name in enumerate(names)
        }
        return Recorded(
            readers, lambda name: f"There is no adjoint of {name!r}{self._why_not_felt(name, list(readers))}."
        )

    @property
    def nonfinite(self) -> NonFinite | None:
        """The first NaN or infinity of the recording, in the order of the calls; None where all is finite."""
        places = (first_nonfinite(trace) for trace in self.traces.values())
        return next(filter(None, places), None)

    def clear(self) -> None:
        """Forgets what was recorded so far, so that a long block holds no more than it needs."""
        self._kept.stop()
        self._kept = Kept(passes=self._kept.passes)

    def __repr__(self) -> str:
        state = "recording" if self._block is not None else "not recording"
        seen = f"{len(self._watched)} recurrent modules, {len(self._kept.calls)} calls"
        return f"Recorder({type(self._model).__name__}: {seen}; {state})"

    def _trace(self, call: Call, depth: int, direction: int) -> Trace:
        found = call.traces
        if self._kept.checked.get(id(call)) is not found:
            self._kept.checked[id(call)] = found
            for place in filter(None, map(first_nonfinite, _flat(found))):
                warnings.warn(str(place), GatescopeWarning, stacklevel=4)
                break
        return found[depth][direction]

    def _adjoint(self, call: Call, depth: int, direction: int) -> Adjoint:
        self._trace(call, depth, direction)
        known = self._kept.swept.get(id(call))
        if known is None or known[0] != call.felt.arrivals:
            known = self._kept.swept[id(call)] = (call.felt.arrivals, call.adjoints())
            for text in doubts_about(call.felt, _flat(known[1])):
                warnings.warn(text, GatescopeWarning, stacklevel=4)
        return known[1][depth][direction]

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        watched = self._watched.get(id(module))
        if (watched is None and module is not self._model) or not self._mine():
            return
        self._kept.passes[id(module)] = self._kept.passes.get(id(module), 0) + 1
        if watched is None or not self._recorded_now(module):
            return
        if args and _is_torchs_own(module):
            check_input(watched.title, module, *args[:2])  # type: ignore[arg-type]  # torch's own are of its base
        self._kept.rng = torch.get_rng_state() if self._drops(module) else None

    def _after(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        watched = self._watched.get(id(module))
        if watched is None or not self._mine():
            self._kept.elsewhere += watched is not None and not in_backward()
            return None
        if not self._recorded_now(module):
            return None
        kwargs, output = rest
        given = given_to(args, kwargs)
        try:
            return (
                self._keep_stack(watched, given, output)
                if watched.is_stack
                else self._keep_cell(watched, given, output)
            )
        except GatescopeError as refusal:  # said when the layer is read: the forward is the user's, and goes on
            self._kept.calls.append(Refused(watched, refusal, self._kept.count(module)))
            return None

    def _keep_stack(self, watched: Watched, given: tuple[Any, Any], output: Any) -> Any:
        module = watched.module
        assert isinstance(module, nn.RNNBase)
        inner = replaced = None
        rng = self._kept.rng if data_of(given[0]).device.type == "cpu" else None
        if self._layerwise and self._drops(module):
            if rng is not None:
                torch.set_rng_state(rng)
            replaced, inner = run_stack(module, *given, fused)
        call = snapshot_of_stack_call(
            watched,
            given,
            replaced or output,
            call=self._kept.called.get(id(module), 0),
            forward=self._forward_of(module),
            keep=self._kept.copy_of,
            rng=rng,
            inner=inner,
        )
        self._kept.count(module)
        self._kept.calls.append(call)
        return replaced

    def _keep_cell(self, watched: Watched, given: tuple[Any, Any], output: Any) -> None:
        out, incoming = outgoing_states(output), () if given[1] is None else outgoing_states(given[1])
        chain = self._kept.open.get(id(incoming[0])) if incoming else None
        if chain is None or chain.watched is not watched or not chain.goes_on_from(incoming, out):
            chain = chain_from(
                watched,
                given,
                out,
                call=self._kept.called.get(id(watched.module), 0),
                forward=self._forward_of(watched.module),
                keep=self._kept.copy_of,
            )
            self._kept.count(watched.module)
            self._kept.calls.append(chain)
        with torch.inference_mode(False), torch.no_grad():
            chain.add(given[0], out)
        self._kept.open[id(out[0])] = chain

    def _mine(self) -> bool:
        """Whether this call is of the thread that records, and not a forward run again within a backward."""
        return threading.get_ident() == self._thread and not in_backward()

    def _recorded_now(self, module: nn.Module) -> bool:
        return self._forward_of(module) % self._every == 0

    def _forward_of(self, module: nn.Module) -> int:
        """Which forward pass this is: of the model, or of the module where the model as a whole is not called.

        A cell that is called where the model is not has no passes that could be told from steps: all are the first.
        """
        if id(self._model) in self._kept.passes:
            return self._kept.passes[id(self._model)] - 1
        return self._kept.passes.get(id(module), 1) - 1 if isinstance(module, nn.RNNBase) else 0

    def _drops(self, module: nn.Module) -> bool:
        return isinstance(module, nn.RNNBase) and module.training and module.num_layers > 1 and module.dropout > 0

    def _why_not(self, name: str, there: list[str]) -> str:
        called = {call.watched.path for call in self._kept.calls}
        asked = [w for w in self._watched.values() if not w.path or name == w.path or name.startswith(f"{w.path}.")]
        known = [w for w in asked if w.path not in called]
        if there and not known:
            return f"; there are those of {', '.join(there)}"
        where = known[0].title if known else "no recurrent module of the model"
        if self._kept.elsewhere:
            return (
                f": it was called in another thread than the one that entered the Recorder ({self._kept.elsewhere} "
                "times); enter one in the thread that calls the model"
            )
        return (
            f": {where} was {'not ' if known else ''}called inside the block; call it there, as model(x), since "
            "model.forward(x) passes torch's hooks by"
        )

    def _why_not_felt(self, name: str, there: list[str]) -> str:
        if name not in self.traces:
            return self._why_not(name, list(self.traces))
        return (
            ": no gradient came back to its outputs; call loss.backward() inside the block, with gradients enabled, on "
            "a loss that depends on them"
        )


def _is_torchs_own(module: nn.Module) -> bool:
    """Whether torch's forward will read the arguments as they are."""
    return (
        kind_of(module) is not None and type(module).__module__.startswith("torch.") and not module._forward_pre_hooks
    )


def _flat(depths: list[list[Any]]) -> list[Any]:
    return [one for depth in depths for one in depth]
