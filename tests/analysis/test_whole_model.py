"""Fresh windows of a whole model: cut along its time, or not at all; what its own code cannot do hides nothing else."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.measures.fresh_window import ALL, FreshWindow

mse = nn.functional.mse_loss
STEPS, SEQUENCES = 20, 9
WINDOWS = [1, 2, 5, 20]


class Reader(nn.Module):
    """Reads the last step of an LSTM, batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


class WithPositions(Reader):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(STEPS, 3))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.places)


class ThirdFromTheEnd(Reader):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -3])
        return y


class AtItsLengths(Reader):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][torch.arange(SEQUENCES), torch.arange(SEQUENCES) + STEPS - SEQUENCES])
        return y


class Convolved(Reader):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(self.conv(x.mT), (2, 0)).mT)


class Flipped(Reader):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(1))


class Tokens(Reader):
    """Time first outside, batch first inside."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.embed(x).transpose(0, 1))


class Carrying(Reader):
    """Goes on from the state in which the last call ended."""

    def __init__(self) -> None:
        super().__init__()
        self.state: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.rnn(x, self.state)
        self.state = (state[0].detach(), state[1].detach())
        y: Tensor = self.head(out[:, -1])
        return y


def data(steps: int = STEPS, sequences: int = SEQUENCES) -> tuple[Tensor, Tensor]:
    return torch.randn(sequences, steps, 3), torch.randn(sequences, 1)


def counted(steps: int, sequences: int) -> Tensor:
    """Tokens, time first, of which no two that follow each other are alike."""
    return (torch.arange(steps)[:, None] + torch.randint(7, (sequences,))) % 7


def windows(found: gs.Analysis) -> dict[str, FreshWindow]:
    return found.measured("fresh_window")


def whole(found: gs.Analysis) -> FreshWindow:
    """The one answer, of the whole model."""
    (one,) = windows(found).values()
    assert "one run of the whole model" in one.how
    return one


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (WithPositions, "must match the size of tensor"),
        (ThirdFromTheEnd, "out of bounds"),
        (AtItsLengths, "out of bounds"),
        (Convolved, "can't be greater than actual input size"),
    ],
)
def test_a_model_that_cannot_run_on_few_steps_is_asked_for_each_layer_by_itself(
    model: type[Reader], words: str
) -> None:
    found = gs.analyze(model(), *data(), loss=mse, lag=5, windows=WINDOWS)
    assert [(one.measure, words in one.why) for one in found.not_measured] == [("fresh_window", True)]
    assert "cannot run on the last" in found.not_measured[0].why
    assert list(windows(found)) == ["rnn.l0"]
    assert windows(found)["rnn.l0"].windows.tolist() == WINDOWS
    assert found.verdicts


def test_what_a_models_own_code_cannot_do_as_a_copy_hides_nothing_else() -> None:
    class Uncopied(Reader):
        def __deepcopy__(self, memo: object) -> "Uncopied":
            other = Uncopied()
            other.head = nn.Linear(4, 1)
            return other

    found = gs.analyze(Uncopied(), *data(), loss=mse, extra=("remedies",))
    (reason,) = (one.why for one in found.not_measured)
    assert "mat1 and mat2 shapes cannot be multiplied" in reason
    assert windows(found)


@pytest.mark.parametrize("batch_first", [True, False])
def test_as_many_sequences_as_steps_are_cut_along_time_and_not_along_the_batch(batch_first: bool) -> None:
    module = nn.LSTM(3, 5, batch_first=batch_first, dtype=torch.float64)
    x = torch.randn(12, 12, 3, dtype=torch.float64)
    time_first = x.transpose(0, 1) if batch_first else x

    def last(output: tuple[Tensor, tuple[Tensor, Tensor]], _: None) -> Tensor:
        return output[1][0].square().sum()

    found = whole(gs.analyze(module, x, loss=last, windows=[3, 12]))
    for place, steps in enumerate((3, 12)):
        given = time_first[-steps:]
        wanted = last(module(given.transpose(0, 1) if batch_first else given), None)
        assert found.loss[place] == pytest.approx(wanted.item(), rel=1e-12)


def test_tokens_are_cut_where_their_shape_shows_the_time() -> None:
    tokens, y = counted(STEPS, SEQUENCES), torch.randn(SEQUENCES, 1)
    model = Tokens()
    found = gs.analyze(model, tokens, y, loss=mse, windows=[4])
    assert whole(found).loss[0] == pytest.approx(mse(model(tokens[-4:]), y).item(), rel=1e-6)


def test_where_nothing_shows_the_time_nothing_is_cut() -> None:
    tokens, y = counted(12, 12), torch.randn(12, 1)
    found = gs.analyze(Tokens(), tokens, y, loss=mse, windows=[4])
    assert list(windows(found)) == ["rnn.l0"]
    assert "whole model" not in windows(found)["rnn.l0"].how
    assert not found.not_measured


def test_a_model_that_turns_time_round_is_asked_for_each_layer_by_itself() -> None:
    found = gs.analyze(Flipped(), *data(), loss=mse, windows=WINDOWS)
    assert list(windows(found)) == ["rnn.l0"]
    assert "whole model" not in windows(found)["rnn.l0"].how
    straight = gs.analyze(Reader(), *data(), loss=mse, windows=WINDOWS)
    assert "whatever runs from right to left begins there" in whole(straight).how


def test_every_window_of_a_model_that_carries_its_state_begins_where_the_whole_began() -> None:
    model, (x, y) = Carrying(), data()
    model(torch.randn(SEQUENCES, 4, 3))
    fresh = copy.deepcopy(model)
    found = whole(gs.analyze(model, x, y, loss=mse, windows=WINDOWS))
    wanted = [mse(copy.deepcopy(fresh)(x[:, -window:]), y).item() for window in WINDOWS]
    np.testing.assert_allclose(found.loss, wanted, rtol=1e-6)
    assert all(torch.equal(now, was) for now, was in zip(model.state, fresh.state, strict=True))


class Leaky(nn.Module):
    """h = (tanh a + h') / 2, as somebody wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size = 3
        self.from_x, self.from_h = nn.Linear(3, 4, bias=False), nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return (torch.tanh(self.from_x(x) + self.from_h(h)) + h) / 2


LEAKY = gs.Cell.from_step(
    "leaky",
    gates=(),
    step=lambda w, affine, prev: ({}, {"h": (torch.tanh(affine[0] + affine[1]) + prev["h"]) / 2}),
    parameters={"weight_ih": "from_x.weight", "weight_hh": "from_h.weight"},
)


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = Leaky()

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 4)
        for now in x:
            h = self.cell(now, h)
        return h


def test_windows_of_a_model_of_ones_own_cells_are_of_the_whole_model() -> None:
    model, x = Loop(), torch.randn(STEPS, SEQUENCES, 3)
    found = gs.analyze(model, x, loss=lambda h, _: h.square().sum(), windows=[3], cells={Leaky: LEAKY})
    assert whole(found).loss[0] == pytest.approx(model(x[-3:]).square().sum().item(), rel=1e-6)
    assert whole(found).loss_name == "your loss"


def test_the_analysis_is_the_same_within_inference_mode() -> None:
    model, (x, y) = Reader(), data()
    with torch.inference_mode():
        there = gs.analyze(model, x.clone(), y.clone(), loss=mse, lag=5)
    here = gs.analyze(model, x, y, loss=mse, lag=5)
    assert [str(one.level) for one in there.verdicts] == [str(one.level) for one in here.verdicts]
    assert np.array_equal(whole(there).loss, whole(here).loss)
    assert {one.measure for one in there.measurements} == {one.measure for one in here.measurements}


class Encoder(nn.Module):
    """An encoder and a decoder that take another number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(3, 4, batch_first=True), nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.encoder(x)
        out, _ = self.decoder(x[:, -6:], h)
        y: Tensor = out[:, -1]
        return y


class Twice(nn.Module):
    """One module that runs twice, and one that runs between."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.other = nn.GRU(3, 3, batch_first=True), nn.GRU(3, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shared(self.other(self.shared(x)[0])[0])[0][:, -1]
        return y


@pytest.mark.parametrize(
    ("model", "together"),
    [
        (Encoder, ["encoder.l0", "decoder.l0"]),
        (Twice, ["shared.l0, other.l0", "shared.l0#1"]),
    ],
)
def test_gradient_norms_are_of_what_ran_over_the_same_sequences(model: type[nn.Module], together: list[str]) -> None:
    with warnings.catch_warnings():
        found = gs.analyze(model(), data()[0], loss=lambda out, _: out.square().sum())
    assert list(found.measured("gradient_norms")) == together
    assert not [one for one in found.not_measured if one.measure == "gradient_norms"]


def test_where_all_layers_ran_over_the_same_sequences_the_gradient_is_of_all_of_them() -> None:
    model, (x, y) = Reader(), data()
    (norms,) = gs.analyze(model, x, y, loss=mse).measured("gradient_norms").items()
    assert norms[0] == ALL
    mse(model(x[:1]), y[:1]).div(SEQUENCES).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.rnn.parameters()]).norm()
    assert math.exp(norms[1].log_norm[0]) == pytest.approx(gradient.item(), rel=1e-4)
