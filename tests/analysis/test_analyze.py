"""`analyze` asks every layer every question, of the right gradient, and says in words what it could not ask."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.analysis.analysis import COLUMNS
from gatescope.errors import GatescopeWarning, InputError, ReplayError
from oracles import textbook, true_adjoints

mse = nn.functional.mse_loss


class Reader(nn.Module):
    """A recurrent stack and a head; `read` says what of the output the head sees."""

    def __init__(self, rnn: nn.RNNBase, read: str = "last") -> None:
        super().__init__()
        self.rnn, self.read = rnn, read
        self.head = nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), 1, dtype=rnn.weight_ih_l0.dtype)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x)
        seen = {
            "last": lambda: out[:, -1],
            "every": lambda: out,
            "mean": lambda: out.mean(1),
            "detached": lambda: out[:, -1].detach() + 0 * self.head.weight.sum(),
        }[self.read]()
        y: Tensor = self.head(seen)
        return y


def example(kind: type[nn.RNNBase] = nn.LSTM, read: str = "last", steps: int = 30, **options: object) -> gs.Analysis:
    model = Reader(kind(3, 5, batch_first=True, **options), read)
    x = torch.randn(9, steps, 3)
    y = torch.randn(9, steps, 1) if read == "every" else torch.randn(9, 1)
    return gs.analyze(model, x, y, loss=mse, lag=12)


def verdicts(analysis: gs.Analysis) -> dict[str, list[str]]:
    return {layer.name: [str(v.level) for v in analysis.verdicts if v.layer == layer.name] for layer in analysis.layers}


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_every_layer_is_asked_every_question(kind: type[nn.RNNBase]) -> None:
    found = example(kind, num_layers=2)
    assert [layer.name for layer in found.layers] == ["rnn.l0", "rnn.l1"]
    of_a_layer = {
        "lag_curve",
        "truncation",
        "contributions",
        "gate_statistics",
        "lyapunov",
        "singular_values",
        "state_geometry",
        "weights",
        "zero_state",
    }
    for name in of_a_layer | ({"path_split"} if kind is not nn.RNN else set()):
        assert list(found.measured(name)) == ["rnn.l0", "rnn.l1"], name
    assert list(found.measured("fresh_window")) == ["all recurrent layers"]
    if kind is nn.RNN:
        assert {(one.layer, one.measure) for one in found.not_measured} == {
            ("rnn.l0", "path_split"),
            ("rnn.l1", "path_split"),
        }
        assert "no memory path" in found.not_measured[0].why
    assert len(found.verdicts) == 4
    assert [one.layer for one in found.excerpts] == ["rnn.l0", "rnn.l1"]


def test_the_lag_curve_is_that_of_autograd_in_an_unrolled_loop() -> None:
    model = Reader(nn.LSTM(3, 5, 2, batch_first=True, dtype=torch.float64))
    x, y = torch.randn(9, 30, 3, dtype=torch.float64), torch.randn(9, 1, dtype=torch.float64)
    found = gs.analyze(model, x, y, loss=mse)
    run = textbook("lstm", model.rnn.state_dict(), x.transpose(0, 1))
    truth = true_adjoints(run, mse(model.head(run.output[-1]), y))
    for name, curve in found.curves.items():
        state = truth[name.removeprefix("rnn.")]["state"]
        pair = (state["h"].square().sum(-1) + state["c"].square().sum(-1)).sqrt().log()
        assert np.allclose(curve.log_norm["pair"][:, :30], pair.flip(0).T.numpy(), rtol=0, atol=1e-10)


def test_where_the_loss_reads_every_step_each_step_is_a_source_of_its_own() -> None:
    model = Reader(nn.GRU(3, 5, batch_first=True, dtype=torch.float64), "every")
    x, y = torch.randn(9, 30, 3, dtype=torch.float64), torch.randn(9, 30, 1, dtype=torch.float64)
    found = gs.analyze(model, x, y, loss=mse, lag=15)
    curve = found.curves["rnn.l0"]
    assert "read at 30 steps; mean over 8 of them" in curve.loss
    run = textbook("gru", model.rnn.state_dict(), x.transpose(0, 1))
    logs = []
    for source in (29, 27, 25, 23, 21, 19, 17, 15):  # evenly over the last half
        loss = ((model.head(run.output[source]) - y[:, source]) ** 2).mean() / 30
        log_norm = true_adjoints(run, loss)["l0"]["state"]["h"].norm(dim=-1).log()
        logs.append(torch.stack([log_norm[source - lag] for lag in range(16)], 1))
    wanted = torch.stack(logs).mean(0).numpy()
    assert np.allclose(curve.log_norm["pair"][:, :16], wanted, rtol=0, atol=1e-10)
    assert verdicts(found)["rnn.l0"][0] == "vanishing"


def test_a_bidirectional_layer_of_which_only_the_last_step_is_read_has_no_lag_in_its_reverse_direction() -> None:
    found = example(bidirectional=True, num_layers=2)
    assert verdicts(found)["rnn.l0_reverse"] == ["no signal"]
    assert verdicts(found)["rnn.l1_reverse"] == ["no signal"]
    assert verdicts(found)["rnn.l0"][0] == "vanishing"
    (because,) = (v.because for v in found.verdicts if v.layer == "rnn.l1_reverse")
    assert "read h_n" in because
    assert "no signal" not in str(verdicts(example(read="mean", bidirectional=True)))


def test_a_loss_that_does_not_reach_the_layer_is_said_to() -> None:
    found = example(read="detached")
    assert verdicts(found) == {"rnn.l0": ["no signal"]}
    assert found.verdicts[0].claim == "The loss does not reach this layer."
    assert "lag_curve" not in {one.measure for one in found.measurements}
    assert "gate_statistics" in {one.measure for one in found.measurements}


def test_without_a_lag_nothing_is_called_vanishing() -> None:
    model = Reader(nn.RNN(3, 5, batch_first=True))
    found = gs.analyze(model, torch.randn(9, 60, 3), torch.randn(9, 1), loss=mse)
    assert verdicts(found) == {"rnn.l0": ["not exploding"]}
    half, *_ = found.horizons["rnn.l0"]
    assert half.lag is not None


def test_a_lag_longer_than_the_data_and_too_few_sequences_are_said_in_words() -> None:
    model = Reader(nn.GRU(3, 5, batch_first=True))
    longer = gs.analyze(model, torch.randn(9, 20, 3), torch.randn(9, 1), loss=mse, lag=50)
    assert verdicts(longer)["rnn.l0"][0] == "insufficient data"
    assert "20 steps" in longer.verdicts[0].because
    few = gs.analyze(model, torch.randn(3, 20, 3), torch.randn(3, 1), loss=mse, lag=5)
    assert verdicts(few)["rnn.l0"][0] == "insufficient data"
    assert "8 sequences" in few.verdicts[0].because


def test_without_a_loss_each_sequence_has_a_random_direction_of_h_n_and_every_output_says_so() -> None:
    model = Reader(nn.LSTM(3, 5, batch_first=True, bidirectional=True))
    found = gs.analyze(model, torch.randn(9, 40, 3), seed=3)
    assert "random linear readout of h_n" in found.provenance["loss"]
    assert all("random linear readout" in v.because for v in found.verdicts)
    assert verdicts(found) == {"rnn.l0": ["not exploding"], "rnn.l0_reverse": ["not exploding"]}
    starts = [curve.log_norm["pair"][:, 0] for curve in found.curves.values()]
    assert len(set(np.concatenate(starts).round(9))) == 18


def test_without_data_it_is_noise_and_says_synthetic() -> None:
    found = gs.analyze(Reader(nn.GRU(3, 5, batch_first=True)))
    assert found.provenance["data"].startswith("synthetic: independent N(0, 1), 32 sequences of 200 steps")
    assert (found.layers[0].sequences, found.layers[0].steps) == (32, 200)


def test_a_recorder_is_analysed_by_the_gradient_it_recorded() -> None:
    model = Reader(nn.LSTM(3, 5, batch_first=True))
    x, y = torch.randn(9, 30, 3), torch.randn(9, 1)
    with gs.Recorder(model) as rec:
        mse(model(x), y).backward()
    found, direct = gs.analyze(rec, lag=12), gs.analyze(model, x, y, loss=mse, lag=12)
    assert np.allclose(
        found.curves["rnn.l0"].log_norm["pair"], direct.curves["rnn.l0"].log_norm["pair"], atol=1e-5, equal_nan=True
    )
    assert list(found.measured("fresh_window")) == ["rnn.l0"]
    with torch.no_grad(), gs.Recorder(model) as silent:
        model(x)
    assert "random linear readout" in gs.analyze(silent).provenance["loss"]


def test_padded_sequences_count_their_lags_from_their_own_ends() -> None:
    model = nn.GRU(3, 5, batch_first=True)
    x, lengths = torch.randn(9, 30, 3), [30, 29, 28, 27, 26, 25, 24, 23, 22]
    packed = gs.analyze(model, x, lengths=lengths)
    assert packed.curves["l0"].lengths.tolist() == lengths
    last_valid = torch.tensor(lengths) - 1

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = model

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.rnn(x)[0][torch.arange(9), last_valid]
            return out

    padded = gs.analyze(Padded(), x, torch.zeros(9, 5), loss=mse, lengths=lengths)
    assert padded.curves["rnn.l0"].lengths.tolist() == lengths
    statistics = [found.measured("gate_statistics") for found in (packed, padded)]
    assert statistics[0]["l0"].steps == statistics[1]["rnn.l0"].steps == sum(lengths)


def test_sequences_that_do_not_fit_the_memory_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Reader(nn.LSTM(3, 5, 2, batch_first=True))
    x, y = torch.randn(9, 30, 3), torch.randn(9, 1)
    whole = gs.analyze(model, x, y, loss=mse, lag=12)
    monkeypatch.setattr("gatescope.recording.linearised.MEMORY", 4 * 8 * 30 * (3 + 16 * 5))
    parts = gs.analyze(model, x, y, loss=mse, lag=12)
    for name, curve in whole.curves.items():
        assert np.allclose(
            parts.curves[name].log_norm["pair"], curve.log_norm["pair"], rtol=0, atol=1e-6
        )  # c as float32 had it
    assert parts.measured("gate_statistics")["rnn.l1"].n == 9
    assert parts.measured("truncation")["rnn.l1"].n == 4
    assert "of all 9 sequences, every other number of the first 4" in parts.provenance["reduced"]
    assert "reduced" not in whole.provenance


@pytest.mark.parametrize("read", ["last", "every"])
def test_the_same_seed_gives_the_same_bytes(read: str, tmp_path: pytest.TempPathFactory) -> None:
    torch.manual_seed(0)
    model = Reader(nn.LSTM(3, 5, batch_first=True, bidirectional=True), read)
    x, y = torch.randn(9, 30, 3), torch.randn(9, 30, 1) if read == "every" else torch.randn(9, 1)
    files = []
    for name in ("a", "b"):
        torch.manual_seed(hash(name) % 100)
        files.append(gs.analyze(model, x, y, loss=mse).save(tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_the_frame_is_tidy() -> None:
    found = example(nn.GRU, num_layers=2)
    frame = found.to_frame()
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert set(frame.measure.unique()) == {one.measure for one in found.measurements if len(one.to_frame())} | {
        "attenuation",
        "horizon",
    }
    at = frame[
        (frame.measure == "attenuation") & (frame.lag == 12) & (frame.layer == "rnn.l1") & (frame.quantity == "pair")
    ]
    assert len(at) == 1
    y = found.curves["rnn.l1"].log_attenuation()[:, 12]
    assert float(at.value.iloc[0]) == pytest.approx(y.mean())
    assert float(at.low.iloc[0]) < y.mean() < float(at.high.iloc[0])


def test_what_is_not_finite_is_placed_and_hides_no_other_answer(tmp_path: pytest.TempPathFactory) -> None:
    x = torch.randn(9, 30, 3)
    x[2, 10] = torch.nan
    model = Reader(nn.GRU(3, 5, batch_first=True))
    found = gs.analyze(model, x, torch.randn(9, 1), loss=mse, lag=12)
    assert verdicts(found) == {"rnn.l0": ["non-finite"]}
    where = gs.load(found.save(tmp_path / "run")).measured("onset")["rnn.l0"].forward
    assert (where.quantity, where.step, where.sequence) == ("gate r", 10, 2)
    assert {one.measure for one in found.not_measured} == {"state_geometry", "lyapunov"}


def test_constant_tails_without_lengths_are_warned_of_and_stand_beside_the_verdict() -> None:
    x = torch.randn(9, 30, 3)
    for row in range(8):
        x[row, 28 - 2 * row :] = 0
    model = Reader(nn.GRU(3, 5, batch_first=True))
    with pytest.warns(GatescopeWarning, match="7 of 9 sequences of rnn.l0 end in steps that are all alike"):
        found = gs.analyze(model, x, torch.randn(9, 1), loss=mse, lag=12)
    assert all("give lengths" in verdict.because for verdict in found.verdicts)
    with warnings.catch_warnings(action="error"):
        told = gs.analyze(model.rnn, x, lengths=[28, 26, 24, 22, 20, 18, 16, 14, 30])
    assert not any("give lengths" in verdict.because for verdict in told.verdicts)


@pytest.mark.parametrize(("dtype", "level"), [(torch.float32, "vanishing"), (torch.bfloat16, "dead")])
def test_dead_is_what_the_dtype_of_the_network_does_not_resolve(dtype: torch.dtype, level: str) -> None:
    model = Reader(nn.GRU(3, 5, batch_first=True)).to(dtype)
    x, y = torch.randn(9, 30, 3, dtype=dtype), torch.randn(9, 1, dtype=dtype)
    found = gs.analyze(model, x, y, loss=mse, lag=14)  # e^-7 is left: above 2^-24, below 2^-8
    assert verdicts(found)["rnn.l0"][0] == level


class Scaled(nn.GRU):
    """A module whose output is not what its weights give."""

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        out, h = super().forward(*given)
        return out * 1.1, h


def test_a_layer_that_cannot_be_proven_hides_no_other_and_is_an_error_where_there_is_no_other() -> None:
    both = nn.Sequential(Scaled(3, 5, batch_first=True), Output(), nn.LSTM(5, 4, batch_first=True))
    found = gs.analyze(both, torch.randn(9, 20, 3))
    assert [layer.name for layer in found.layers] == ["2.l0"]
    assert [(one.layer, one.measure) for one in found.not_measured] == [("0.l0", "everything")]
    with pytest.raises(ReplayError, match="its gates are not known"):
        gs.analyze(Scaled(3, 5), torch.randn(20, 9, 3))


class Output(nn.Module):
    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        return given[0]


def test_lengths_of_another_batch_are_refused() -> None:
    model, x = Reader(nn.GRU(3, 5, batch_first=True)), torch.randn(9, 20, 3)
    with pytest.raises(InputError, match="there are 9 sequences of up to 20 steps"):
        gs.analyze(model, x, torch.randn(9, 1), loss=mse, lengths=[3, 4])


def test_progress_is_told() -> None:
    told = []
    gs.analyze(nn.GRU(3, 5, batch_first=True), torch.randn(9, 20, 3), progress=lambda *news: told.append(news))
    assert told == [("measuring l0", 0, 1), ("done", 1, 1)]


def test_the_dtype_of_the_linearisation_is_the_callers() -> None:
    model, x = nn.GRU(3, 5, batch_first=True), torch.randn(9, 20, 3)
    found = [gs.analyze(model, x, dtype=dtype) for dtype in (torch.float64, torch.float32)]
    assert [one.provenance["linearised in"] for one in found] == ["float64", "float32"]
    a, b = (one.curves["l0"].log_norm["pair"] for one in found)
    assert 0 < np.abs(a - b).max() < 1e-4


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gs.analyze("model.pt"), "model.pt is a file"),
        (lambda: gs.analyze(nn.Linear(2, 2)), "holds no nn.LSTM"),
        (lambda: gs.analyze(nn.GRU(3, 5), loss=mse), "loss was given without data"),
        (lambda: gs.analyze(nn.GRU(3, 5), lag=0), "The lag was given as 0"),
        (lambda: gs.analyze(gs.Recorder(nn.GRU(3, 5)), torch.randn(2, 2, 3)), "A Recorder was given together with x"),
        (
            lambda: gs.analyze(nn.GRU(3, 5), torch.randn(4, 9, 3), lengths=[3, 4]),
            "2 lengths from 3 to 4 were given for 9",
        ),
    ],
)
def test_what_cannot_be_analysed_is_refused_in_a_sentence(call: object, says: str) -> None:
    with warnings.catch_warnings(), pytest.raises(InputError, match=says):
        call()
