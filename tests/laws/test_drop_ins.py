"""The law of the drop-ins: torch's state dict, torch's outputs, torch's gradients, and every gate beside them."""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

import gatescope as gs
from problems import LOSSES, PROBLEMS, Problem

DROP_INS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: gs.RecordingLSTM,
    nn.GRU: gs.RecordingGRU,
    nn.RNN: gs.RecordingRNN,
    nn.LSTMCell: gs.RecordingLSTMCell,
    nn.GRUCell: gs.RecordingGRUCell,
    nn.RNNCell: gs.RecordingRNNCell,
}


def drop_in_for(module: Any, **options: Any) -> Any:
    double = DROP_INS[type(module)](**options).to(next(module.parameters()).dtype)
    double.load_state_dict(module.state_dict())
    return double


def options_of(module: nn.RNNBase) -> dict[str, Any]:
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    options = {name: getattr(module, name) for name in names}
    if isinstance(module, nn.LSTM):
        options["proj_size"] = module.proj_size
    if isinstance(module, nn.RNN):
        options["nonlinearity"] = module.nonlinearity
    return options


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_a_drop_in_gives_torchs_outputs_states_and_gradients(problem: Problem) -> None:
    module = problem.module()
    double = drop_in_for(module, **options_of(module))
    theirs, ours = problem.call(module), problem.call(double)
    for a, b in zip(flat(theirs), flat(ours), strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(b, a, rtol=0, atol=1e-12)
    for loss in LOSSES:
        problem.loss(loss, *theirs).backward(retain_graph=True)
        problem.loss(loss, *ours).backward(retain_graph=True)
    for a, b in zip(module.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_what_a_drop_in_remembers_is_what_a_recorder_finds_in_torchs_module(problem: Problem) -> None:
    module = problem.module()
    double = drop_in_for(module, **options_of(module))
    with gs.Recorder(module) as rec:
        problem.call(module)
    problem.call(double)
    assert list(double.traces) == list(rec.traces)
    for name, trace in double.traces.items():
        found = rec.traces[name]
        for quantity in ("gates", "states", "initial", "preactivations"):
            for key, values in getattr(found, quantity).items():
                torch.testing.assert_close(getattr(trace, quantity)[key], values, rtol=0, atol=1e-12)


def test_a_gate_that_a_drop_in_remembers_can_be_part_of_a_loss() -> None:
    lstm = gs.RecordingLSTM(3, 4)
    lstm(torch.randn(5, 2, 3))
    lstm.traces["l0"].gates["f"].mean().backward()
    forget_bias = lstm.bias_ih_l0.grad[4:8]
    assert (forget_bias > 0).all()  # opening the forget gate is what raises its mean


def test_with_dropout_a_drop_in_draws_the_masks_that_torch_draws() -> None:
    module = nn.GRU(3, 4, num_layers=3, dropout=0.5, batch_first=True, bidirectional=True)
    double = drop_in_for(module, **options_of(module))
    x = torch.randn(2, 6, 3)
    torch.manual_seed(5)
    theirs, _ = module(x)
    torch.manual_seed(5)
    ours, _ = double(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_recording_cell_in_a_loop_is_torchs_cell_and_remembers_every_step(
    kind: type[nn.Module], batch: tuple[int, ...], bias: bool
) -> None:
    module: Any = kind(3, 4, bias=bias).double()
    cell = drop_in_for(module, input_size=3, hidden_size=4, bias=bias)
    x = torch.randn(5, *batch, 3, dtype=torch.float64)
    theirs = ours = None
    seen = []
    for x_t in x:
        theirs, ours = module(x_t, theirs), cell(x_t, ours)
        for a, b in zip(flat(theirs), flat(ours), strict=True):
            torch.testing.assert_close(b, a, rtol=0, atol=1e-12)
        seen.append(ours[0] if isinstance(ours, tuple) else ours)
    trace = cell.trace
    torch.testing.assert_close(trace.states["h"].reshape(5, *batch, 4), torch.stack(seen))
    if kind is nn.LSTMCell:
        i, f, g, c = (trace.gates.get(name, trace.states.get(name)) for name in "ifgc")
        for t, (before, after) in enumerate(pairwise(c), start=1):
            torch.testing.assert_close(after, f[t] * before + i[t] * g[t])


def test_a_recording_cell_begins_anew_with_a_state_that_it_did_not_give() -> None:
    cell = gs.RecordingGRUCell(3, 4)
    h = cell(torch.randn(2, 3))
    cell(torch.randn(2, 3), h)
    assert len(cell.trace.x) == 2
    cell(torch.randn(2, 3), h)
    assert len(cell.trace.x) == 1
    torch.testing.assert_close(cell.trace.initial["h"], h)


def test_a_drop_in_can_be_copied_after_a_call_and_the_copy_remembers_nothing() -> None:
    lstm, cell = gs.RecordingLSTM(3, 4), gs.RecordingLSTMCell(3, 4)
    lstm(torch.randn(5, 2, 3))
    cell(torch.randn(2, 3))
    assert copy.deepcopy(lstm).traces == {}
    assert lstm.traces
    with pytest.raises(gs.GatescopeError, match="not called yet"):
        _ = copy.deepcopy(cell).trace


def flat(returned: Any) -> list[torch.Tensor]:
    if isinstance(returned, torch.Tensor):
        return [returned]
    if isinstance(returned, nn.utils.rnn.PackedSequence):
        return [returned.data]
    return [tensor for part in returned for tensor in flat(part)]
