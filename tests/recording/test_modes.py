"""In whatever mode the model runs, the gates are those which ran."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

import gatescope as gs

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("training", [True, False])
def test_with_and_without_gradients_in_training_and_evaluation(kind: str, mode: Any, training: bool) -> None:
    module = KINDS[kind](3, 4, num_layers=2).train(training)
    x = torch.randn(5, 2, 3)
    with mode(), gs.Recorder(module) as rec:
        output, _ = module(x)
    assert rec.traces["l1"].residual < 1e-6
    assert torch.equal(rec.traces["l1"].states["h"], output.detach().clone())
    rec.traces["l1"].states["h"].mul_(2)  # an ordinary tensor, outside inference mode too


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 3e-2), (torch.float16, 5e-3)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_low_precision_model_is_replayed_from_what_it_rounded(
    kind: str, dtype: torch.dtype, bound: float, layers: int, device: str
) -> None:
    module = KINDS[kind](16, 32, num_layers=layers, bidirectional=True).to(device, dtype)
    with gs.Recorder(module) as rec:
        module(torch.randn(100, 4, 16, dtype=dtype, device=device))[0].sum().backward()
    for trace in rec.traces.values():
        assert 0 < trace.residual < bound
        assert trace.states["h"].dtype == torch.float32
    assert all(adjoint.log_norm("pair").isfinite().all() for adjoint in rec.adjoints.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proj_size", [0, 8])
@pytest.mark.parametrize("layers", [1, 2])
def test_under_autocast_the_kernel_runs_again_as_it_ran(kind: str, layers: int, proj_size: int) -> None:
    options = {"proj_size": proj_size} if kind == "lstm" else {}
    module = KINDS[kind](16, 32, num_layers=layers, batch_first=True, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16), gs.Recorder(module) as rec:
        output, states = module(torch.randn(4, 50, 16))
        output.float().sum().backward()
    h_n = states[0] if kind == "lstm" else states
    for k, trace in enumerate(rec.traces.values()):
        assert 0 < trace.residual < 3e-2
        # The inner layers' too: oneDNN's kernel bit for bit, the others but for the order of sums of the layout.
        exact = kind == "lstm" and not proj_size
        last = h_n[k].detach().float()
        torch.testing.assert_close(trace.states["h"][-1], last, rtol=0, atol=0 if exact else 2e-2)
    assert set(rec.adjoints) == set(rec.traces)


@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_over_a_cell_under_autocast(kind: str) -> None:
    cell = CELLS[kind](16, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16), gs.Recorder(cell) as rec:
        state = None
        for x_t in torch.randn(20, 4, 16):
            state = cell(x_t, state)
    assert 0 < rec.traces["cell"].residual < 3e-2
    assert len(rec.traces["cell"].x) == 20


def test_the_layer_of_a_bfloat16_trace_has_the_weights_that_the_kernel_read() -> None:
    module = nn.GRU(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16), gs.Recorder(module) as rec:
        x = torch.randn(5, 2, 3)
        module(x)
    assert torch.equal(rec.traces["l0"].x, x.bfloat16().float())
    weight = rec.traces["l0"].layer.weights["weight_hh"]
    assert torch.equal(weight, module.weight_hh_l0.detach().bfloat16().float())


class Compiled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 4, batch_first=True)
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for x_t in self.encoder(x)[0].unbind(1):
            state = self.cell(x_t, state)
        return state


@pytest.mark.filterwarnings("error:.*global hooks.*")
@pytest.mark.parametrize("warm", [True, False])
def test_a_compiled_model_is_recorded_and_is_compiled_again_afterwards(warm: bool) -> None:
    model = Compiled()
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(2, 6, 3)
    if warm:
        compiled(x)
    with gs.Recorder(compiled) as rec:
        compiled(x).sum().backward()
    assert list(rec.traces) == ["encoder.l0", "cell"]
    assert len(rec.traces["cell"].x) == 6
    assert set(rec.adjoints) == {"encoder.l0", "cell"}
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize(("kind", "bidirectional", "packed"), list(product(KINDS, [False, True], [False, True])))
@pytest.mark.parametrize("dropout", [None, "layerwise"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_active_dropout_between_layers_is_seen_mask_and_all(
    kind: str,
    bidirectional: bool,
    packed: bool,
    dropout: Any,
    batch_first: bool,
) -> None:
    options = {"num_layers": 3, "dropout": 0.4, "bidirectional": bidirectional, "batch_first": batch_first}
    module = KINDS[kind](3, 4, **options).double()
    x: Any = torch.randn(2, 6, 3, dtype=torch.float64) if batch_first else torch.randn(6, 2, 3, dtype=torch.float64)
    if packed:
        x = nn.utils.rnn.pack_padded_sequence(x, [4, 6], batch_first=batch_first, enforce_sorted=False)
    torch.manual_seed(3)
    alone, _ = module(x)
    torch.manual_seed(3)
    with gs.Recorder(module, dropout=dropout) as rec:
        output, _ = module(x)
        loss = (output.data if packed else output).square().sum()
        loss.backward()
    if packed:
        alone, output = alone.data, output.data
    torch.testing.assert_close(output, alone, rtol=0, atol=1e-12)
    assert all(trace.residual < 1e-12 for trace in rec.traces.values())
    dropped = rec.traces["l1"].x == 0
    assert 0.2 < dropped[rec.traces["l1"].valid].float().mean() < 0.6
    # dL/d bias is the sum of the pre-activation adjoints: right only if the gradient passed the same masks.
    for name, adjoint in rec.adjoints.items():
        blocks = [adjoint.preactivations[block].sum((0, 1)) for block in adjoint.layer.cell.blocks]
        torch.testing.assert_close(torch.cat(blocks), getattr(module, f"bias_ih_{name}").grad, rtol=1e-9, atol=1e-11)


def test_with_every_one_forward_in_so_many_is_recorded() -> None:
    model = nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    with gs.Recorder(model, every=3) as rec:
        for _ in range(7):
            model(torch.randn(2, 5, 3))
    assert [trace.forward for trace in rec.traces.values()] == [0, 3, 6]
    assert list(rec.traces) == ["0.l0", "0.l0#1", "0.l0#2"]


def test_with_every_a_module_that_is_called_by_itself_counts_its_own_calls() -> None:
    model = nn.ModuleDict({"encoder": nn.GRU(3, 4)})
    with gs.Recorder(model, every=2) as rec:
        for _ in range(4):
            model["encoder"](torch.randn(5, 2, 3))
    assert [trace.forward for trace in rec.traces.values()] == [0, 2]


def test_clear_forgets_so_that_a_long_loop_holds_one_recording_at_a_time() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        lstm(torch.randn(5, 2, 3))
        rec.clear()
        lstm(torch.randn(8, 2, 3))
    assert [len(trace.x) for trace in rec.traces.values()] == [8]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_several_backwards_add_up_as_grad_does(kind: str, device: str) -> None:
    module = KINDS[kind](3, 4).to(device, torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, device=device)
    with gs.Recorder(module) as rec:
        output, _ = module(x)
        output[-1].sum().backward(retain_graph=True)
        once = rec.adjoints["l0"].total["h"].clone()
        output[-1].sum().backward()
    torch.testing.assert_close(rec.adjoints["l0"].total["h"], 2 * once)
