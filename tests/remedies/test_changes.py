"""The changes: each on the cells that it fits, on a copy, from a seed; what cannot be changed or copied says why."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gatescope.cells import CELLS
from gatescope.errors import InputError
from gatescope.remedies.changes import CHANGES, changed
from gatescope.remedies.remedies import remedies
from remedies.models import Model, data, last_output, mse, one


def test_only_what_fits_a_cell_is_tried_on_it() -> None:
    names = {kind: {change.name for change in CHANGES if kind in change.cells} for kind in ("gru", "rnn-tanh")}
    assert names["gru"] == {"forget bias 1", "chrono", "uniform gates", "orthogonal"}
    assert names["rnn-tanh"] == {"orthogonal"}
    for module, kind in ((nn.GRU(3, 8), "gru"), (nn.RNN(3, 8), "rnn-tanh")):
        assert {r.change for r in remedies(module, torch.randn(20, 8, 3)).remedies} == names[kind]


def test_layers_of_a_module_that_a_change_does_not_fit_are_not_listed_with_it() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below, self.above = nn.LSTM(3, 6), nn.RNN(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.above(self.below(x)[0])[1][-1]

    found = remedies(Two(), torch.randn(20, 8, 3), torch.randn(8, 6), mse, lag=10)
    assert {r.change for r in found.of("above.l0")} == {"orthogonal"}
    assert {r.change for r in found.of("below.l0")} == {"forget bias 1", "chrono", "uniform gates", "orthogonal"}


def test_the_draws_are_seeded() -> None:
    module, other_seed = nn.LSTM(3, 8), 5

    def drawn(seed: int, change: str) -> bytes:
        which = next(one for one in CHANGES if one.name == change)
        copy = changed(module, which, t_max=50, seed=seed, cells={}).model
        return b"".join(p.detach().numpy().tobytes() for p in copy.parameters())

    for change in ("chrono", "uniform gates", "orthogonal"):
        assert drawn(0, change) == drawn(0, change)
        assert drawn(0, change) != drawn(other_seed, change)
    x = torch.randn(20, 8, 3)
    first, again, other = (remedies(module, x, lag=10, seed=seed).to_frame() for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_chrono_reaches_for_the_lag_that_the_task_needs_or_for_all_steps() -> None:
    chrono = next(change for change in CHANGES if change.name == "chrono")
    bias = changed(nn.LSTM(3, 64), chrono, t_max=1000, seed=0, cells={}).model.bias_ih_l0.detach()[64:128]
    assert math.log(500) < float(bias.max()) <= math.log(999)
    module, (x, y) = nn.LSTM(3, 8), data()
    y = torch.randn(12, 8)
    assert "17 steps" in one(remedies(module, x, y, last_output, lag=17), "chrono").does
    assert "30 steps" in one(remedies(module, x, y, last_output), "chrono").does
    refused = remedies(module, x, y, last_output, lag=2)
    assert not [r for r in refused.remedies if r.change == "chrono"]
    assert any(why.startswith("chrono: ") and "t_max = 2" in why for why in refused.left_out)


@pytest.mark.parametrize(
    ("module", "change", "words"),
    [
        (lambda: nn.LSTM(3, 8, bias=False), "forget bias 1", "bias=False"),
        (lambda: nn.GRU(3, 2), "uniform gates", "more than 2 units"),
        (lambda: parametrizations.weight_norm(nn.LSTM(3, 8), "weight_hh_l0"), "orthogonal", "weights from others"),
        (lambda: parametrizations.orthogonal(nn.RNN(3, 8), "weight_hh_l0"), "orthogonal", "weights from others"),
    ],
)
def test_a_module_that_cannot_be_changed_says_why(module: Callable[[], nn.Module], change: str, words: str) -> None:
    found = remedies(module(), torch.randn(20, 8, 3))
    assert not [r for r in found.remedies if r.change == change]
    assert any(why.startswith(f"{change}: ") and words in why for why in found.left_out)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weights_that_are_computed_in_the_old_way_are_copied_and_left_alone() -> None:
    module = nn.utils.weight_norm(nn.LSTM(3, 8), "weight_hh_l0")
    found = remedies(module, torch.randn(20, 8, 3), torch.randn(8, 8), last_output, lag=10)
    assert not found.remedies
    assert any("weights from others" in why for why in found.left_out)


def test_a_model_that_keeps_its_state_in_the_graph_can_be_copied() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 8)
            self.state: Any = None

        def forward(self, x: Tensor) -> Tensor:
            for x_t in x:
                self.state = self.cell(x_t, self.state)
            return self.state[0]

    model = Stateful()
    model(torch.randn(2, 8, 3))
    kept = model.state
    found = remedies(model, torch.randn(20, 8, 3), torch.randn(8, 8), mse, lag=10)
    assert model.state is kept
    assert kept[0].grad_fn is not None
    assert found.best("cell") is not None


def test_a_model_that_cannot_be_copied_says_so() -> None:
    model = Model(nn.LSTM(3, 8))
    model.lines = iter([])  # type: ignore[assignment]
    model.reader = (line for line in ["a"])  # type: ignore[assignment]
    with pytest.raises(InputError, match="could not be copied"):
        remedies(model, *data(), mse)


def test_the_cell_of_a_user_is_measured_and_not_changed() -> None:
    class Mine(nn.LSTMCell):
        pass

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mine = Mine(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for x_t in x:
                state = self.mine(x_t, state)
            return state[0]

    given = (Loop(), torch.randn(20, 8, 3), torch.randn(8, 8), mse, 10)
    assert not remedies(*given, cells={Mine: CELLS["lstm"]}).remedies
    assert remedies(*given, cells={Mine: CELLS["lstm"]}).truncation
    assert remedies(*given).remedies


def test_every_change_has_a_source_and_says_what_it_does() -> None:
    assert len({change.name for change in CHANGES}) == len(CHANGES)
    for change in CHANGES:
        assert change.source
        assert change.does.format(t_max=100)
