"""Fresh windows against closed forms, against autograd in an unrolled loop, and on models that others wrote."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.errors import InputError
from gatescope.measures import MEASURES
from gatescope.measures.fresh_window import ALL, FreshWindow, fresh_window
from oracles import textbook, true_adjoints


class LastStep(nn.Module):
    """A stack whose last step is read by a linear layer, batch first."""

    def __init__(self, stack: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = stack
        self.head = nn.Linear(stack.hidden_size, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Loop(nn.Module):
    """A cell in a loop, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        h = None
        for step in x:
            h = self.cell(step, h)
        return h


def forecaster(cell: type[nn.RNNBase] = nn.LSTM, layers: int = 2) -> LastStep:
    return LastStep(cell(2, 4, layers, batch_first=True, dtype=torch.float64))


def batch(sequences: int = 5, steps: int = 12) -> tuple[Tensor, Tensor]:
    return torch.randn(sequences, steps, 2, dtype=torch.float64), torch.randn(sequences, 1, dtype=torch.float64)


def geometric(a: float) -> nn.RNN:
    """h_t = a h_{t-1} + x_t of one unit, of which only `a` is trained."""
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_ih_l0.fill_(1)
        rnn.weight_hh_l0.fill_(a)
    rnn.weight_ih_l0.requires_grad_(False)
    return rnn


def last_state(output: tuple[Tensor, Tensor], y: None) -> Tensor:
    return output[0][:, -1].sum()


def relative_gap(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found / wanted - 1).max())


def test_it_is_listed_among_the_measures() -> None:
    assert FreshWindow in MEASURES


@pytest.mark.parametrize("a", [0.5, 0.9, 0.98])
def test_a_scalar_relu_rnn_gives_its_closed_forms(a: float) -> None:
    windows = np.arange(1, 101)
    found = fresh_window(geometric(a), torch.ones(1, 100, 1, dtype=torch.float64), None, last_state, windows.tolist())
    wanted = (1 - a**windows - windows * a ** (windows - 1) * (1 - a)) / (1 - a) ** 2
    np.testing.assert_allclose(found.parameters["l0"], wanted, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.loss, (1 - a**windows) / (1 - a), rtol=1e-12)
    np.testing.assert_allclose(found.initial["l0"][:, 0], windows * math.log(a), rtol=1e-10)


def test_two_of_these_numbers_stand_here_in_full() -> None:
    ones = torch.ones(1, 100, 1, dtype=torch.float64)
    decaying = fresh_window(geometric(0.9), ones, None, last_state, [20])
    assert decaying.parameters["l0"][0] == pytest.approx(60.8253, abs=5e-5)
    summing = fresh_window(geometric(1.0), ones, None, last_state, [100])
    assert summing.parameters["l0"][0] == pytest.approx(4950, rel=1e-8)
    assert summing.initial["l0"][0, 0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("cell", "kind"), [(nn.LSTM, "lstm"), (nn.GRU, "gru"), (nn.RNN, "rnn-tanh")])
def test_each_window_is_what_autograd_gives_in_a_loop_over_its_steps(cell: type[nn.RNNBase], kind: str) -> None:
    model = forecaster(cell)
    x, y = batch()
    windows = [1, 2, 5, 12]
    found = fresh_window(model, x, y, nn.functional.mse_loss, windows)
    for place, window in enumerate(windows):
        run = textbook(kind, model.rnn.state_dict(), x[:, -window:].transpose(0, 1))
        loss = nn.functional.mse_loss(run.output[-1] @ model.head.weight.T + model.head.bias, y)
        adjoints = true_adjoints(run, loss)
        gradients = dict(zip(run.parameters, torch.autograd.grad(loss, [*run.parameters.values()]), strict=True))
        assert found.loss[place] == pytest.approx(loss.item(), rel=1e-12)
        squares = {"rnn.l0": 0.0, "rnn.l1": 0.0}
        for name, gradient in gradients.items():
            squares[f"rnn.{name[-2:]}"] += float(gradient.square().sum())
        for layer, square in squares.items():
            assert found.parameters[layer][place] == pytest.approx(math.sqrt(square), rel=1e-10)
            initial = torch.cat([*adjoints[layer.removeprefix("rnn.")]["initial"].values()], -1)
            np.testing.assert_allclose(np.exp(found.initial[layer][place]), initial.norm(dim=1).numpy(), rtol=1e-10)
        assert found.parameters[ALL][place] == pytest.approx(math.sqrt(sum(squares.values())), rel=1e-10)


def test_where_the_gradient_vanishes_that_of_the_parameters_goes_flat_and_that_of_the_start_falls() -> None:
    model = forecaster(nn.RNN, layers=1)
    with torch.no_grad():
        model.rnn.weight_hh_l0.mul_(0.5)
    found = fresh_window(model, *batch(steps=40), nn.functional.mse_loss, [10, 20, 40])
    assert found.parameters[ALL] == pytest.approx(found.parameters[ALL][-1], rel=0.01)
    assert found.initial["rnn.l0"].mean(1)[-1] < found.initial["rnn.l0"].mean(1)[0] - 20


def test_all_windows_end_at_the_same_step_and_a_window_of_all_is_the_whole() -> None:
    model = forecaster()
    x, y = batch()
    beginning_changed = x.clone()
    beginning_changed[:, :7] += 1
    windows = [1, 5, 12]
    one, other = (fresh_window(model, given, y, nn.functional.mse_loss, windows) for given in (x, beginning_changed))
    assert np.array_equal(one.loss[:2], other.loss[:2])
    assert one.loss[2] != other.loss[2]
    assert one.loss[2] == pytest.approx(float(nn.functional.mse_loss(model(x), y).detach()), rel=1e-12)


def test_time_may_be_the_first_dimension_and_the_cell_may_run_in_a_loop() -> None:
    model = Loop()
    x = torch.randn(9, 4, 2, dtype=torch.float64)
    found = fresh_window(model, x, None, lambda output, _: output.sum(), [3], time_dim=0)
    run = textbook("gru", model.cell.state_dict(), x[-3:])
    loss = run.output[-1].sum()
    gradients = torch.autograd.grad(loss, [*run.parameters.values()], retain_graph=True)
    assert found.parameters["cell"][0] == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
    initial = true_adjoints(run, loss)["cell"]["initial"]["h"].norm(dim=1)
    np.testing.assert_allclose(np.exp(found.initial["cell"][0]), initial.numpy(), rtol=1e-10)


class Leaky(nn.Module):
    """h = (tanh a + h') / 2, as somebody wrote it, knowing nothing of gatescope."""

    def __init__(self) -> None:
        super().__init__()
        self.from_x = nn.Linear(2, 3, bias=False, dtype=torch.float64)
        self.from_h = nn.Linear(3, 3, bias=False, dtype=torch.float64)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = x.new_zeros(len(x), 3) if h is None else h
        return (torch.tanh(self.from_x(x) + self.from_h(h)) + h) / 2


LEAKY = gs.Cell.from_step(
    "leaky",
    gates=(),
    step=lambda w, affine, prev: ({}, {"h": (torch.tanh(affine[0] + affine[1]) + prev["h"]) / 2}),
    parameters={"weight_ih": "from_x.weight", "weight_hh": "from_h.weight"},
)


def test_a_cell_of_ones_own_is_measured_when_it_is_named() -> None:
    model = Loop()
    model.cell = Leaky()
    x = torch.randn(9, 4, 2, dtype=torch.float64)
    loss = lambda output, _: output.square().sum()  # noqa: E731
    found = fresh_window(model, x, None, loss, [3, 9], time_dim=0, cells={Leaky: LEAKY})
    for place, window in enumerate((3, 9)):
        value = loss(model(x[-window:]), None)
        gradients = torch.autograd.grad(value, list(model.parameters()))
        norm = math.sqrt(sum(float(one.square().sum()) for one in gradients))
        assert found.loss[place] == pytest.approx(value.item(), rel=1e-12)
        assert found.parameters["cell"][place] == pytest.approx(norm, rel=1e-12)
        assert found.together[place] == found.parameters[ALL][place]
    with pytest.raises(InputError, match="name your own cell"):
        fresh_window(model, x, None, loss, [3], time_dim=0)


def test_only_trainable_parameters_count() -> None:
    model = forecaster(layers=1)
    x, y = batch()
    everything = fresh_window(model, x, y, nn.functional.mse_loss, [6]).parameters["rnn.l0"][0]
    model.rnn.weight_ih_l0.requires_grad_(False)
    assert fresh_window(model, x, y, nn.functional.mse_loss, [6]).parameters["rnn.l0"][0] < everything


def test_the_model_is_left_as_it_was() -> None:
    model = forecaster().train()
    x, y = batch()
    x.requires_grad_()
    nn.functional.mse_loss(model(x), y).backward()
    before = {name: (tensor.detach().clone(), tensor.grad.clone()) for name, tensor in model.named_parameters()}
    of_x = x.grad.clone()
    fresh_window(model, x, y, nn.functional.mse_loss, [3, 12])
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name][0])
        assert torch.equal(parameter.grad, before[name][1])
    assert torch.equal(x.grad, of_x)
    assert model.training
    assert not model.rnn._forward_hooks


def test_it_works_where_gradients_are_switched_off() -> None:
    model = forecaster()
    x, y = batch()
    with torch.no_grad():
        assert fresh_window(model, x, y, nn.functional.mse_loss, [4]).parameters[ALL][0] > 0


@pytest.mark.cuda
@pytest.mark.parametrize("training", [True, False])
def test_a_cuda_device_gives_the_numbers_of_the_cpu_in_either_mode(training: bool) -> None:
    model = forecaster().train(training)
    x, y = batch()
    here = fresh_window(model, x, y, nn.functional.mse_loss, [3, 12])
    there = fresh_window(model.cuda(), x.cuda(), y.cuda(), nn.functional.mse_loss, [3, 12])
    assert torch.backends.cudnn.enabled
    np.testing.assert_allclose(there.parameters[ALL], here.parameters[ALL], rtol=1e-8)
    np.testing.assert_allclose(there.initial["rnn.l0"], here.initial["rnn.l0"], rtol=1e-8)


def test_windows_are_sorted_and_named_once() -> None:
    found = fresh_window(forecaster(), *batch(), nn.functional.mse_loss, [12, 3, 3, 1])
    assert found.windows.tolist() == [1, 3, 12]
    assert found.n == 5
    assert found.loss_name == "mse_loss"
    assert "one run of the whole model for each window" in found.how


def test_the_frame_is_tidy() -> None:
    found = fresh_window(forecaster(), *batch(), nn.functional.mse_loss, [1, 3])
    frame = found.to_frame()
    assert list(frame.columns) == ["layer", "measure", "quantity", "window", "sequence", "value", "unit"]
    assert len(frame) == 2 * (1 + 3 + 2 * 5)
    of_layer = frame[(frame.layer == "rnn.l1") & (frame.window == 3)]
    start = of_layer[of_layer.quantity == "initial state"]
    assert start["value"].tolist() == found.initial["rnn.l1"][1].tolist()
    assert start["sequence"].tolist() == [0, 1, 2, 3, 4]
    assert of_layer[of_layer.quantity == "parameters"]["value"].item() == found.parameters["rnn.l1"][1]
    assert frame[frame.quantity == "loss"]["value"].tolist() == found.loss.tolist()


@pytest.mark.parametrize("windows", [[], [0, 3], [3, 13], [-1]])
def test_a_window_that_the_input_does_not_have_is_refused(windows: list[int]) -> None:
    with pytest.raises(InputError, match="were asked of 12 steps; choose some from 1 to 12"):
        fresh_window(forecaster(), *batch(), nn.functional.mse_loss, windows)


@pytest.mark.parametrize("time_dim", [3, -4])
def test_a_dimension_that_the_input_does_not_have_is_refused(time_dim: int) -> None:
    with pytest.raises(InputError, match=r"shape \[5, 12, 2\], which has no such dimension"):
        fresh_window(forecaster(), *batch(), nn.functional.mse_loss, [3], time_dim=time_dim)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda output, y: (output - y).square(), r"a tensor of shape \[5, 1\].*one number is wanted"),
        (lambda output, y: 0.5, "a float.*one number is wanted"),
        (lambda output, y: (output.detach() - y).square().mean(), "depends on no recurrent layer"),
        (lambda output, y: (output.detach() * y.requires_grad_()).mean(), "depends on no recurrent layer"),
    ],
)
def test_a_loss_that_has_no_gradient_here_is_refused(loss: Callable[[Tensor, Tensor], Tensor], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fresh_window(forecaster(), *batch(), loss, [3])


def test_a_frozen_model_is_refused() -> None:
    with pytest.raises(InputError, match="is frozen"):
        fresh_window(forecaster().requires_grad_(requires_grad=False), *batch(), nn.functional.mse_loss, [3])


def test_a_model_without_recurrence_is_refused() -> None:
    with pytest.raises(InputError, match=r"holds no nn\.LSTM"):
        fresh_window(nn.Linear(2, 1, dtype=torch.float64), *batch(), nn.functional.mse_loss, [3])
