"""What people do around a recurrent module, and what the recorder makes of it."""

import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gatescope as gs
from gatescope.errors import GatescopeWarning, InputError, NotRecordedError, ReplayError
from gatescope.recording.inputs import check_options


def assert_adjoints_add_up(rec: gs.Recorder, module: Any, name: str = "l0") -> None:
    """dL/d bias is the sum of the pre-activation adjoints: of all of them, and of nothing else."""
    parts = [adjoint for key, adjoint in rec.adjoints.items() if key.split("#")[0] == name]
    total = sum(
        torch.cat([adjoint.preactivations[block].sum((0, 1)) for block in adjoint.layer.cell.blocks])
        for adjoint in parts
    )
    bias = module.bias_ih if hasattr(module, "bias_ih") else getattr(module, f"bias_ih_{name}")
    torch.testing.assert_close(total, bias.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("layout", ["unbatched", "batch_first", "batched"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_an_output_that_is_changed_in_place_later_still_feels_its_gradient(kind: Any, layout: str) -> None:
    module = kind(3, 4, batch_first=layout == "batch_first").double()
    x = torch.randn(5, 3) if layout == "unbatched" else torch.randn(5, 2, 3)
    with gs.Recorder(module) as rec:
        output, hidden = module(x.double())
        h_n = hidden[0] if isinstance(hidden, tuple) else hidden
        try:
            output.mul_(2)
            h_n.mul_(3)
            (output.square().sum() + h_n.sum()).backward()
        except RuntimeError as refused:
            assert "modified by an inplace operation" in str(refused)  # torch's own word on it  # noqa: PT017
            return
    assert_adjoints_add_up(rec, module)


@pytest.mark.parametrize("cell", [nn.GRUCell(3, 4), nn.LSTMCell(3, 4), nn.RNNCell(3, 4), gs.RecordingLSTMCell(3, 4)])
def test_steps_without_a_gradient_are_another_call_than_those_with_one(cell: Any) -> None:
    cell = cell.double()
    cell.zero_grad()
    with gs.Recorder(cell) as rec:
        state = None
        for step, x_t in enumerate(torch.randn(6, 2, 3, dtype=torch.float64)):
            with torch.set_grad_enabled(step >= 3):
                state = cell(x_t, state)
        (state[1] if isinstance(state, tuple) else state).square().sum().backward()
    assert [len(trace.x) for trace in rec.traces.values()] == [3, 3]
    assert list(rec.adjoints) == ["cell#1"]
    assert_adjoints_add_up(rec, cell, "cell")


def test_a_state_that_was_changed_in_place_begins_another_call() -> None:
    cell = nn.GRUCell(3, 4)
    with torch.no_grad(), gs.Recorder(cell) as rec:
        h = cell(torch.randn(2, 3))
        h[1] = 0  # an episode ended
        cell(torch.randn(2, 3), h)
    assert len(rec.traces) == 2
    assert torch.equal(rec.traces["cell#1"].initial["h"], h)


def test_a_gradient_of_a_gradient_enters_between_the_steps_and_that_is_said() -> None:
    gru = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    with gs.Recorder(gru) as rec:
        (felt,) = torch.autograd.grad(gru(x)[0].sum(), x, create_graph=True)
        with pytest.warns(GatescopeWarning, match="taken with create_graph=True; what a backward through that"):
            assert rec.adjoints["l0"].total["h"].abs().sum() > 0
        (felt.square().sum() + gru(x)[0].sum()).backward()
        assert rec.adjoints["l0#1"].total["h"].abs().sum() > 0


def test_what_comes_back_to_an_output_after_its_gradient_was_differentiated_is_refused() -> None:
    gru = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    with gs.Recorder(gru) as rec:
        output = gru(x)[0]
        (felt,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        (felt.square().sum() + output.square().sum()).backward()
    with pytest.raises(NotRecordedError, match=r"differentiated again \(create_graph=True\)"):
        rec.adjoints["l0"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_forward_that_checkpointing_runs_again_is_recorded_once(reentrant: bool) -> None:
    gru = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    with gs.Recorder(gru) as rec:
        checkpoint(lambda x: gru(x)[0], x, use_reentrant=reentrant).sum().backward()
    assert list(rec.traces) == ["l0"]


def test_a_layer_that_is_refused_hides_no_other() -> None:
    class Odd(nn.LSTM):
        def forward(self, *args: Any) -> Any:
            return super().forward(*args)[0]  # no states

    model = nn.ModuleDict({"odd": Odd(3, 4), "good": nn.GRU(3, 4)})
    with gs.Recorder(model) as rec:
        model["odd"](torch.randn(5, 2, 3))
        model["good"](torch.randn(5, 2, 3))
    assert rec.traces["good.l0"].residual < 1e-5
    with pytest.raises(ReplayError, match=r"odd \(Odd\) returns something else than torch's"):
        rec.traces["odd.l0"]


def test_a_batch_of_no_sequences_goes_through_and_is_refused_when_it_is_read() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        assert lstm(torch.randn(5, 0, 3))[0].shape == (5, 0, 4)
    with pytest.raises(InputError, match="a batch of no sequences; leave empty batches out"):
        rec.traces["l0"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_finite_network_that_returns_what_is_not_finite_is_refused(value: float) -> None:
    class Poisoned(nn.GRU):
        def forward(self, *args: Any) -> Any:
            output, h_n = super().forward(*args)
            return torch.cat([output[:3], torch.full_like(output[3:], value)]), h_n

    gru = Poisoned(3, 4)
    with gs.Recorder(gru) as rec:
        gru(torch.randn(5, 2, 3))
    with pytest.raises(ReplayError, match="l0: what its weights give differs"):
        rec.traces["l0"]


def test_a_gradient_that_is_not_finite_is_said() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        (lstm(torch.randn(5, 2, 3))[0].sum() * float("nan")).backward()
    with pytest.warns(GatescopeWarning, match="the gradient of l0 is NaN or infinite"):
        rec.adjoints["l0"]


def test_a_loop_that_is_read_while_it_runs_is_read_whole_afterwards() -> None:
    cell = nn.RNNCell(3, 4)
    with gs.Recorder(cell) as rec:
        h = cell(torch.randn(2, 3))
        assert len(rec.traces["cell"].x) == 1
        h = cell(torch.full((2, 3), float("nan")), h)
    with pytest.warns(GatescopeWarning, match="nan at step 1"):
        assert len(rec.traces["cell"].x) == 2


def test_a_half_precision_loop_is_followed_below_what_float16_can_carry() -> None:
    cell = nn.GRUCell(8, 32).half()
    x = torch.randn(200, 1, 8).half()
    with gs.Recorder(cell) as rec:
        h = None
        for x_t in x:
            h = cell(x_t, h)
        h.float().square().sum().backward()
    double = nn.GRUCell(8, 32).double()
    double.load_state_dict({name: w.double() for name, w in cell.state_dict().items()})
    with gs.Recorder(double) as truth:
        h = None
        for x_t in x.double():
            h = double(x_t, h)
        h.square().sum().backward()
    decades = (rec.adjoints["cell"].log_norm("h") - truth.adjoints["cell"].log_norm("h")) / 2.302585
    assert decades.abs().max() < 0.15


@pytest.mark.parametrize("parametrize", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.orthogonal])
def test_a_cell_with_a_parametrized_weight_is_recorded_with_the_weight_that_ran(parametrize: Any) -> None:
    cell = parametrize(nn.GRUCell(3, 4), "weight_hh")
    with gs.Recorder(cell) as rec:
        h = cell(torch.randn(2, 3))
        cell(torch.randn(2, 3), h)
    assert rec.traces["cell"].residual < 1e-6
    assert torch.equal(rec.traces["cell"].layer.weights["weight_hh"], cell.weight_hh.detach())


def test_tied_biases_are_two_biases() -> None:
    ours, theirs = gs.RecordingGRUCell(3, 4), nn.GRUCell(3, 4)
    theirs.load_state_dict(ours.state_dict())
    ours.bias_hh, theirs.bias_hh = ours.bias_ih, theirs.bias_ih
    x = torch.randn(2, 3)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("module", "x", "hx"),
    [
        (gs.RecordingLSTM(3, 4), torch.randn(5, 2, 3), (torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))),
        (gs.RecordingGRU(3, 4), torch.randn(5, 2, 3), torch.zeros(2, 2, 4)),
        (gs.RecordingGRUCell(3, 4), torch.randn(2, 3), torch.zeros(1, 4)),
        (gs.RecordingRNNCell(3, 4), torch.randn(3), torch.zeros(1, 4)),
        (gs.RecordingLSTM(3, 4, proj_size=2), torch.randn(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))),
    ],
)
def test_an_initial_state_of_another_shape_is_refused_and_not_broadcast(module: Any, x: Any, hx: Any) -> None:
    with pytest.raises(InputError, match=r"was given a state h of shape .*, and wants \[.*give it one state for each"):
        module(x, hx)


def test_overlapping_recorders_leave_torch_compile_as_it_was() -> None:
    compiled = torch.compile(nn.Sequential(nn.GRU(3, 4)), backend="eager")
    compiled(torch.randn(5, 2, 3))
    a, b = gs.Recorder(compiled), gs.Recorder(compiled)
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    compiled(torch.randn(5, 2, 3))
    b.__exit__(None, None, None)
    assert [len(rec.traces) for rec in (a, b)] == [0, 1]
    from torch._dynamo.eval_frame import _stance

    assert _stance.stance == "default"
    with pytest.raises(gs.GatescopeError, match="not recording; enter its block first"):
        b.__exit__(None, None, None)


def test_what_was_recorded_and_the_drop_ins_can_be_written_and_read_again() -> None:
    lstm = gs.RecordingLSTM(3, 4)
    cell = gs.RecordingLSTMCell(3, 4)
    with gs.Recorder(lstm) as rec:
        lstm(torch.randn(5, 2, 3))[0].sum().backward()
    cell(torch.randn(2, 3))
    for value in (lstm, cell, rec.traces["l0"], rec.adjoints["l0"]):
        again = pickle.loads(pickle.dumps(value))  # noqa: S301  (our own bytes)
        assert type(again) is type(value)
    restored = pickle.loads(pickle.dumps(rec.adjoints["l0"]))  # noqa: S301
    assert torch.equal(restored.log_norm("pair"), rec.adjoints["l0"].log_norm("pair"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((nn.GRU(3, 4), 1.5, None, None), "every=1.5 was given"),
        ((nn.GRU(3, 4), 1, None, "layer-wise"), "dropout='layer-wise' was given"),
        ((nn.GRU(3, 4), 1, {"a": 1}, None), "a module's class and a Cell are wanted"),
        ((nn.LSTM, 1, None, None), "A type was given, and an nn.Module is wanted"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):  # asked past the types, which the tests check before we can
        check_options(*options)


def test_a_cell_by_itself_has_no_passes_to_count() -> None:
    with pytest.raises(InputError, match=r"a GRUCell by itself is called once a step; give the model that loops"):
        gs.Recorder(nn.GRUCell(3, 4), every=2)


def test_a_model_whose_forward_is_called_past_its_hooks_is_told_so() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        lstm.forward(torch.randn(5, 2, 3))
    with pytest.raises(
        NotRecordedError, match=r"not called inside the block; .* model.forward\(x\) passes torch's hooks"
    ):
        rec.traces["l0"]


def test_recording_a_thousand_forwards_with_clear_holds_one() -> None:
    gru = nn.GRU(3, 4)
    with gs.Recorder(gru) as rec:
        for _ in range(1000):
            rec.clear()
            gru(torch.randn(5, 2, 3))
    assert len(rec.traces) == 1
    assert len(rec._kept.weights) <= 4
