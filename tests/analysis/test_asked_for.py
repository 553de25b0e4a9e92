"""What `analyze` is asked for and cannot have is refused in a sentence, or said not to be measured."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.analysis.asked_for import known_extras, whole_lag
from gatescope.errors import GatescopeError, InputError

mse = nn.functional.mse_loss


class Reader(nn.Module):
    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


X = torch.zeros(4, 9, 3)


class Unused(Reader):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_lag_may_be_any_kind_of_whole_number() -> None:
    for lag in (torch.tensor(7), np.int64(7)):
        found = gs.analyze(nn.GRU(3, 5, batch_first=True), torch.randn(9, 20, 3), lag=lag)
        assert found.lag == 7
        assert type(found.lag) is int


def test_one_extra_may_be_asked_for_by_its_name_alone() -> None:
    found = gs.analyze(nn.GRU(3, 5, batch_first=True), torch.randn(9, 20, 3), extra="fixed_points")
    assert list(found.measured("fixed_points")) == ["l0"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_window_that_is_longer_than_the_data_is_said_not_to_be_measured(whole: bool) -> None:
    x, y, loss = torch.randn(9, 20, 3), torch.randn(9, 1), mse
    given = (x, y, loss) if whole else (x,)
    found = gs.analyze(Reader(nn.GRU(3, 5, batch_first=True)), *given, windows=[5, 10, 500])
    (fresh,) = found.measured("fresh_window").values()
    assert fresh.windows.tolist() == [5, 10]
    assert [one.why for one in found.not_measured if one.measure == "fresh_window"] == [
        "Windows of 500 steps were asked for, and the longest sequence has 20; give more steps, or shorter windows."
    ]


def test_lengths_of_another_batch_are_refused() -> None:
    model, x = Reader(nn.GRU(3, 5, batch_first=True)), torch.randn(9, 20, 3)
    with pytest.raises(InputError, match="there are 9 sequences of up to 20 steps"):
        gs.analyze(model, x, torch.randn(9, 1), loss=mse, lengths=[3, 4])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gs.analyze("model.pt"), "model.pt could not be read"),
        (lambda: gs.analyze(nn.Linear(2, 2)), "holds no nn.LSTM"),
        (lambda: gs.analyze(nn.GRU(3, 5), loss=mse), "loss was given without data"),
        (lambda: gs.analyze(nn.GRU(3, 5), lag=0), "The lag was given as 0"),
        (lambda: gs.analyze(nn.GRU(3, 5), lag=True), "The lag was given as True, and a whole number of steps"),
        (lambda: whole_lag(10.5), "The lag was given as 10.5, and a whole number of steps"),
        (lambda: whole_lag("10"), "The lag was given as '10', and a whole number of steps"),
        (lambda: known_extras(["fixed_points", "fixedpoints"]), "'fixedpoints' was asked for"),
        (lambda: gs.analyze(nn.GRU(3, 5), X, X), "y was given without a loss"),
        (lambda: gs.analyze(nn.GRU(3, 5), X, shown=(0, 99)), "Sequence 99 was to be shown, and there are 9"),
        (lambda: gs.analyze(nn.GRU(3, 5), X, shown=(-1,)), "Sequence -1 was to be shown"),
        (lambda: gs.analyze(nn.GRU(3, 5), [X]), "x was given as a list"),
        (lambda: gs.analyze(nn.GRU(3, 5), X, windows=[5, 0]), "A window of 0 was asked for"),
        (lambda: gs.analyze(gs.Recorder(nn.GRU(3, 5))), "no recurrent module was called"),
        (lambda: gs.analyze(Unused(nn.GRU(3, 5)), X), "no recurrent module was called"),
        (lambda: gs.analyze(gs.Recorder(nn.GRU(3, 5)), torch.randn(2, 2, 3)), "A Recorder was given together with x"),
        (
            lambda: gs.analyze(nn.GRU(3, 5), torch.randn(4, 9, 3), lengths=[3, 4]),
            "2 lengths from 3 to 4 were given for 9",
        ),
    ],
)
def test_what_cannot_be_analysed_is_refused_in_a_sentence(call: object, says: str) -> None:
    with warnings.catch_warnings(), pytest.raises(GatescopeError, match=says):
        call()
