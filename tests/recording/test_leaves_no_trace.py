"""The law of the observer: with the recorder, everything is bit for bit what it would be without it."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as global_hooks

import gatescope as gs


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.3)
        self.cell = nn.GRUCell(8, 5)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for x_t in self.drop(self.encoder(x)[0]):
            state = self.cell(x_t, state)
        return self.head(state)


def ran(watch: Callable[[nn.Module], Any] | None) -> tuple[list[torch.Tensor], nn.Module]:
    """Two training steps, with or without somebody watching; all that they leave behind."""
    torch.manual_seed(7)
    model = Model()
    optimiser = torch.optim.Adam(model.parameters())
    outputs = []

    def steps() -> None:
        for _ in range(2):
            optimiser.zero_grad()
            output = model(torch.randn(6, 2, 3))
            output.square().sum().backward()
            outputs.append(output.detach().clone())
            outputs.extend(p.grad.clone() for p in model.parameters())
            optimiser.step()

    if watch is None:
        steps()
    else:
        with watch(model) as rec:
            steps()
            assert rec.traces
            assert rec.adjoints
    return [*outputs, *model.parameters(), torch.get_rng_state()], model


def test_outputs_gradients_weights_and_random_numbers_are_bit_for_bit_the_same() -> None:
    alone, _ = ran(None)
    watched, _ = ran(gs.Recorder)
    for a, b in zip(alone, watched, strict=True):
        assert torch.equal(a, b)


def everything_set_on(model: nn.Module) -> list[dict[str, Any]]:
    return [{key: repr(value) for key, value in module.__dict__.items()} for module in model.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_set_on_the_model_before_within_or_after_the_block(fails: bool) -> None:
    model = Model().eval()
    before = everything_set_on(model)

    def block() -> None:
        with gs.Recorder(model) as rec:
            model(torch.randn(6, 2, 3)).sum().backward()
            model.zero_grad(set_to_none=True)
            assert everything_set_on(model) == before
            assert rec.traces
            if fails:
                raise KeyError("the user's own")

    if fails:
        with pytest.raises(KeyError, match="the user's own"):
            block()
    else:
        block()
    assert everything_set_on(model) == before
    assert not global_hooks._has_any_global_hook()
    assert not model.training
    assert all(p.requires_grad for p in model.parameters())


def test_after_the_block_the_outputs_carry_no_hook_either() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        output, (h_n, c_n) = lstm(torch.randn(5, 2, 3))
    assert all(not tensor._backward_hooks for tensor in (output, h_n, c_n))
    output.sum().backward()
    with pytest.raises(gs.GatescopeError, match=r"no gradient came back.*inside the block"):
        rec.adjoints["l0"]


def test_hooks_of_the_users_own_on_an_output_act_before_what_the_kernel_feels_is_caught() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        output, _ = lstm(torch.randn(5, 2, 3))
        assert output._backward_hooks is None
        output.register_hook(lambda gradient: 3 * gradient)
        output.grad_fn.register_prehook(lambda gradients: [g.zero_() for g in gradients if g is not None] and None)
        output.sum().backward()
    assert (rec.adjoints["l0"].total["h"][-1] == 3).all()
    assert (lstm.weight_hh_l0.grad == 0).all()


def test_two_recorders_around_each_other_record_the_same() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as outer, gs.Recorder(lstm) as inner:
        lstm(torch.randn(5, 2, 3))[0].sum().backward()
    assert torch.equal(outer.traces["l0"].gates["f"], inner.traces["l0"].gates["f"])
    assert torch.equal(outer.adjoints["l0"].total["c"], inner.adjoints["l0"].total["c"])


def test_a_recorder_used_again_begins_anew_and_within_itself_says_why_not() -> None:
    lstm = nn.LSTM(3, 4)
    recorder = gs.Recorder(lstm)
    with recorder:
        lstm(torch.randn(5, 2, 3))
        with pytest.raises(gs.GatescopeError, match="use a second one"), recorder:
            pass
        lstm(torch.randn(5, 2, 3))
    assert list(recorder.traces) == ["l0", "l0#1"]
    with recorder:
        lstm(torch.randn(9, 2, 3))
    assert [len(trace.x) for trace in recorder.traces.values()] == [9]


def test_two_threads_with_a_recorder_each_see_their_own_calls_alone() -> None:
    lstm = nn.LSTM(3, 4)
    seen: dict[int, list[int]] = {}
    together = threading.Barrier(2)

    def work(steps: int) -> None:
        with gs.Recorder(lstm) as rec:
            for _ in range(20):
                together.wait()
                lstm(torch.randn(steps, 2, 3))
        seen[steps] = [len(trace.x) for trace in rec.traces.values()]

    threads = [threading.Thread(target=work, args=(steps,)) for steps in (5, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {5: [5] * 20, 8: [8] * 20}


def test_calls_in_another_thread_are_named_when_they_are_missed() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        thread = threading.Thread(target=lstm, args=(torch.randn(5, 2, 3),))
        thread.start()
        thread.join()
    with pytest.raises(gs.GatescopeError, match="called in another thread"):
        rec.traces["l0"]


def test_a_model_can_be_copied_within_the_block() -> None:
    model = Model()
    with gs.Recorder(model) as rec:
        model(torch.randn(6, 2, 3))
        twin = copy.deepcopy(model)
        twin(torch.randn(6, 2, 3))  # the copy is another model, and nobody asked to record it
    assert [trace.call for trace in rec.traces.values()] == [0] * 5


def test_what_is_done_to_the_output_in_place_afterwards_does_not_reach_the_trace() -> None:
    lstm = nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    with torch.no_grad(), gs.Recorder(lstm) as rec:
        output, _ = lstm(x)
        h, features = output.clone(), x.clone()
        output.zero_()
        x.zero_()
    assert torch.equal(rec.traces["l0"].states["h"], h)
    assert torch.equal(rec.traces["l0"].x, features)


def test_a_step_of_the_optimiser_does_not_reach_the_trace() -> None:
    gru = nn.GRU(3, 4)
    optimiser = torch.optim.SGD(gru.parameters(), lr=10.0)
    with gs.Recorder(gru) as rec:
        for _ in range(3):
            optimiser.zero_grad()
            gru(torch.randn(5, 2, 3))[0].sum().backward()
            optimiser.step()
    weights = [trace.layer.weights["weight_hh"] for trace in rec.traces.values()]
    assert not torch.equal(weights[0], weights[1])
    assert all(trace.residual < 1e-5 for trace in rec.traces.values())
    second = rec.traces["l0#1"]
    torch.testing.assert_close(second.preactivations["z"].sigmoid(), second.gates["z"])
