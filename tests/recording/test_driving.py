"""A model that was driven for an analysis is afterwards what it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.recording.driving import drive, drive_on_noise


class Model(nn.Module):
    """With all that a careless run would leave changed: running means, dropout's random numbers, gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.rnn = nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(self.norm(x.transpose(1, 2)).transpose(1, 2))
        y: Tensor = self.head(nn.functional.dropout(out[:, -1], training=self.training))
        return y


X, Y = torch.randn(5, 6, 3), torch.randn(5, 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", ["loss", "forward", "noise"])
def test_nothing_of_the_model_or_of_torch_is_changed(how: str, training: bool) -> None:
    model = Model().train(training)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before, state, random = copy.deepcopy(model.state_dict()), dict(vars(model.rnn)), torch.get_rng_state()
    x = X.clone().requires_grad_()
    if how == "noise":
        drive_on_noise(model)
    else:
        drive(model, x, Y, nn.functional.mse_loss if how == "loss" else None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all((parameter.grad == 7.0).all() for parameter in model.parameters())
    assert vars(model.rnn) == state
    assert model.training == training
    assert torch.equal(torch.get_rng_state(), random)
    assert x.grad is None


def test_dropout_draws_from_the_seed() -> None:
    model = Model()
    values = [drive(model, X, Y, nn.functional.mse_loss, seed=seed).loss for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_frozen_parameters_are_no_obstacle() -> None:
    model = Model().eval().requires_grad_(False)
    ran = drive(model, X, Y, nn.functional.mse_loss)
    assert set(ran.recorder.adjoints) == {"rnn.l0", "rnn.l1"}


def test_a_tuple_is_several_arguments_and_a_dict_is_arguments_by_name() -> None:
    class Two(Model):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return super().forward(x) * scale

    model = Two().eval()
    once = drive(model, (X, torch.tensor(2.0)), Y, nn.functional.mse_loss).loss
    assert once == drive(model, {"scale": torch.tensor(2.0), "x": X}, Y, nn.functional.mse_loss).loss


def test_a_stock_module_is_given_packed_sequences_where_there_are_lengths() -> None:
    module, lengths = nn.GRU(3, 4), torch.tensor([2, 6, 4, 1, 3])
    ran = drive(module, X.transpose(0, 1), lengths=lengths)
    assert torch.equal(ran.recorder.traces["l0"].lengths, lengths)


@pytest.mark.parametrize("module", [nn.RNN(3, 4), nn.LSTM(3, 4, batch_first=True), nn.GRUCell(3, 4), nn.LSTMCell(3, 4)])
def test_noise_is_of_32_sequences_of_200_steps_in_any_module(module: nn.Module) -> None:
    (trace,) = drive_on_noise(module).recorder.traces.values()
    assert trace.x.shape == (200, 32, 3)
    again = next(iter(drive_on_noise(module).recorder.traces.values()))
    assert torch.equal(trace.x, again.x)
    assert abs(float(trace.x.mean())) < 0.03  # 19 200 numbers: 4 standard errors
    assert abs(float(trace.x.std()) - 1) < 0.03


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda out, y: (out - y) ** 2, r"a tensor of shape \[5, 1\]"),
        (lambda out, y: 1.0, "a float"),
    ],
)
def test_a_loss_that_is_no_number_is_refused(loss: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        drive(Model(), X, Y, loss)


def test_lengths_that_x_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match="5 lengths from 2 to 9 were given for 5 sequences of 6 steps"):
        drive(nn.GRU(3, 4, batch_first=True), X, lengths=torch.tensor([2, 3, 4, 5, 9]))
