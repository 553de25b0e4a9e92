"""A model that was driven for an analysis is afterwards what it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gatescope.cells import Cell
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


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(self.embed(x))[0][:, -1])
        return y


def test_a_frozen_layer_on_frozen_tokens_feels_what_it_would_feel_if_it_were_trained() -> None:
    model, tokens = Tokens(), torch.randint(7, (5, 6))
    trained = drive(model, tokens, Y, nn.functional.mse_loss).recorder.adjoints["rnn.l0"]
    model.embed.requires_grad_(False)
    model.rnn.requires_grad_(False)
    frozen = drive(model, tokens, Y, nn.functional.mse_loss).recorder.adjoints["rnn.l0"]
    assert torch.equal(frozen.state["h"], trained.state["h"])
    assert [name for name, one in model.named_parameters() if one.requires_grad] == ["head.weight", "head.bias"]


def test_the_gradient_is_felt_within_inference_mode_too() -> None:
    model = Model().eval()
    with torch.inference_mode():
        ran = drive(model, X, Y, nn.functional.mse_loss)
        assert torch.is_inference_mode_enabled()
    assert set(ran.recorder.adjoints) == {"rnn.l0", "rnn.l1"}


def test_a_tuple_is_several_arguments_and_a_dict_is_arguments_by_name() -> None:
    class Two(Model):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return super().forward(x) * scale

    model = Two().eval()
    once = drive(model, (X, torch.tensor(2.0)), Y, nn.functional.mse_loss).loss
    assert once == drive(model, {"scale": torch.tensor(2.0), "x": X}, Y, nn.functional.mse_loss).loss


def test_a_list_is_one_argument() -> None:
    class Listed(Model):
        def forward(self, x: list[Tensor]) -> Tensor:
            return super().forward(torch.stack(x))

    model = Listed().eval()
    once = drive(model, list(X), Y, nn.functional.mse_loss).loss
    assert once == pytest.approx(nn.functional.mse_loss(model(list(X)), Y).item())


@pytest.mark.parametrize("batch_first", [True, False])
def test_what_a_module_returns_of_packed_sequences_is_padded_before_the_loss_reads_it(batch_first: bool) -> None:
    module, lengths = nn.LSTM(3, 4, batch_first=batch_first), torch.tensor([2, 5, 4, 1, 3])
    x = X if batch_first else X.transpose(0, 1)
    seen: list[Tensor] = []

    def loss(output: tuple[Tensor, tuple[Tensor, Tensor]], _: None) -> Tensor:
        seen.append(output[0] if batch_first else output[0].transpose(0, 1))
        return output[1][0].square().sum()

    ran = drive(module, x, None, loss, lengths=lengths)
    out, (h, _) = ran.output
    assert seen[0].shape == (5, 6, 4)
    assert out.shape == (*x.shape[:2], 4)
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(seen[0][row, length - 1], h[0, row])
        assert (seen[0][row, length:] == 0).all()
    assert ran.recorder.adjoints["l0"].lengths.tolist() == lengths.tolist()


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


class Demanding(nn.Module):
    """A cell whose forward wants a state, and is of somebody's own."""

    def __init__(self, memory: tuple[str, ...]) -> None:
        super().__init__()
        self.input_size, self.memory = 3, memory
        self.weight_ih, self.weight_hh = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor, state: Tensor | tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        h, *c = state if self.memory else (state,)
        inner = torch.tanh(x @ self.weight_ih.T + h @ self.weight_hh.T) + sum(c)
        return (inner, inner) if self.memory else inner


@pytest.mark.parametrize("memory", [(), ("c",)])
def test_noise_begins_in_a_cell_that_demands_a_state_from_zeros(memory: tuple[str, ...]) -> None:
    def step(w: object, affine: tuple[Tensor, Tensor], prev: dict[str, Tensor]) -> object:
        inner = torch.tanh(affine[0] + affine[1]) + prev.get("c", 0)
        return {}, dict.fromkeys(("h", *memory), inner)

    spec = Cell.from_step("demanding", gates=(), memory=memory, step=step)
    (trace,) = drive_on_noise(Demanding(memory), cells={Demanding: spec}).recorder.traces.values()
    assert trace.x.shape == (200, 32, 3)
    assert all((initial == 0).all() for initial in trace.initial.values())
    assert set(trace.initial) == {"h", *memory}


@pytest.mark.parametrize(("loss", "name"), [(nn.MSELoss(), "MSELoss"), (nn.functional.mse_loss, "mse_loss")])
def test_a_loss_of_torchs_on_a_module_that_returns_a_tuple_is_told_what_it_was_given(loss: object, name: str) -> None:
    called = rf"{name}\(\)" if isinstance(loss, nn.Module) else name
    says = (
        rf"a tuple of a tensor \[5, 6, 4\], a tuple of .*, and {name} takes one tensor; .*: {called}\(output\[0\], y\)"
    )
    with pytest.raises(InputError, match=says):
        drive(nn.LSTM(3, 4, batch_first=True), X, Y, loss)


def test_what_somebodys_own_loss_raises_is_theirs() -> None:
    with pytest.raises(AttributeError, match="'tuple' object has no attribute 'mean'"):
        drive(nn.LSTM(3, 4, batch_first=True), X, Y, lambda output, _: output.mean())


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
