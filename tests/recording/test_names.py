"""Which trace has which name."""

import pytest
import torch
from torch import nn

import gatescope as gs


class Decoder(nn.Module):
    """A loop that somebody wrote over a cell, with a head that reads every step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, seen = None, []
        for x_t in x:
            state = self.cell(x_t, state)
            seen.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(seen)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
        self.decoder = Decoder(nn.GRUCell(8, 5))
        self.head = nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder(self.encoder(x)[0]))


def test_a_layer_is_named_by_its_modules_path_and_torchs_suffix() -> None:
    model = Model()
    with gs.Recorder(model) as rec:
        model(torch.randn(6, 2, 3))
    assert list(rec.traces) == ["encoder.l0", "encoder.l0_reverse", "encoder.l1", "encoder.l1_reverse", "decoder.cell"]
    assert rec.traces["decoder.cell"].x.shape == (6, 2, 8)
    assert rec.traces["decoder.cell"].states["h"].shape == (6, 2, 5)


def test_at_the_root_a_layer_is_l0_and_a_cell_is_cell() -> None:
    gru, cell = nn.GRU(3, 4), nn.LSTMCell(3, 4)
    with gs.Recorder(gru) as rec, gs.Recorder(cell) as of_cell:
        gru(torch.randn(5, 2, 3))
        cell(torch.randn(2, 3))
    assert list(rec.traces) == ["l0"]
    assert list(of_cell.traces) == ["cell"]


def test_a_module_called_again_counts_its_calls() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        _, state = lstm(torch.randn(5, 2, 3))
        lstm(torch.randn(5, 2, 3), state)
        lstm(torch.randn(7, 1, 3))
    assert list(rec.traces) == ["l0", "l0#1", "l0#2"]
    assert torch.equal(rec.traces["l0#1"].initial["c"], state[1][0])


def test_a_shared_module_has_one_name_and_keeps_the_others_as_aliases() -> None:
    shared = nn.LSTM(3, 4)
    model = nn.ModuleDict({"source": shared, "target": shared})
    with gs.Recorder(model) as rec:
        model["target"](torch.randn(5, 2, 3))
    assert list(rec.traces) == ["source.l0"]
    assert rec.traces["source.l0"].layer.aliases == ("target.l0",)


def test_a_loop_over_a_cell_is_one_trace_and_interleaved_loops_are_two() -> None:
    cell = nn.GRUCell(3, 4)
    left, right = torch.randn(2, 5, 2, 3)
    with gs.Recorder(cell) as rec:
        a = b = None
        for x, y in zip(left, right, strict=True):
            a, b = cell(x, a), cell(y, b)
    assert list(rec.traces) == ["cell", "cell#1"]
    assert torch.equal(rec.traces["cell"].x, left)
    assert torch.equal(rec.traces["cell#1"].x, right)
    assert torch.equal(rec.traces["cell#1"].states["h"][-1], b)


def test_a_state_that_was_detached_begins_another_call_because_no_gradient_passes_there() -> None:
    cell = nn.LSTMCell(3, 4)
    with gs.Recorder(cell) as rec:
        state = None
        for step, x_t in enumerate(torch.randn(6, 2, 3)):
            state = cell(x_t, state)
            if step == 3:
                state = tuple(s.detach() for s in state)
    assert [len(trace.x) for trace in rec.traces.values()] == [4, 2]


def test_a_state_from_which_two_loops_go_on_is_continued_by_the_first() -> None:
    cell = nn.GRUCell(3, 4)
    x = torch.randn(4, 2, 3)
    with gs.Recorder(cell) as rec:
        root = cell(x[0])
        first = cell(x[1], root)
        second = cell(x[2], root)
        (first.sum() + 2 * second.sum()).backward()
    assert [len(trace.x) for trace in rec.traces.values()] == [2, 1]
    assert torch.equal(rec.traces["cell#1"].initial["h"], root)
    felt = rec.adjoints
    # What the root felt came back through both loops.
    through_first = felt["cell"].preactivations
    assert set(through_first) == {"r", "z", "n", "q"}
    root_again = root.detach().requires_grad_()
    (cell(x[1], root_again).sum() + 2 * cell(x[2], root_again).sum()).backward()
    torch.testing.assert_close(felt["cell"].total["h"][0], root_again.grad)


def test_the_name_of_a_compiled_or_wrapped_model_is_that_of_the_model_itself() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.compile(nn.GRU(3, 4), backend="eager")

    model = Wrapper()
    with gs.Recorder(nn.DataParallel(model)) as rec:
        model.encoder(torch.randn(5, 2, 3))
    assert list(rec.traces) == ["encoder.l0"]


def test_a_name_that_is_not_there_is_answered_with_those_that_are() -> None:
    lstm = nn.LSTM(3, 4)
    with gs.Recorder(lstm) as rec:
        lstm(torch.randn(5, 2, 3))
    with pytest.raises(gs.GatescopeError, match="'encoder'; there are those of l0"):
        rec.traces["encoder"]
