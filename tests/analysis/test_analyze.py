"""`analyze` asks every layer every question, of the right gradient, and says in words what it could not ask.

This is one file because every sentence here is of the same call, on models that differ in one thing.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.analysis.frame import COLUMNS
from gatescope.errors import GatescopeWarning, ReplayError
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


@pytest.mark.parametrize("loss", [None, lambda out, y: out.square().mean()])
@pytest.mark.parametrize("module", ["packed", "wrapped"])
def test_no_sequence_need_be_as_long_as_the_data(module: str, loss: object) -> None:
    """Padded to a fixed number of steps, as where a batch is one of many."""
    gru, lengths = nn.GRU(3, 5, batch_first=True), torch.arange(12) + 12
    x = torch.randn(12, 40, 3)
    if module == "wrapped":
        found = gs.analyze(Reader(gru, "mean"), x, loss=loss, lengths=lengths)
    else:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        read = None if loss is None else lambda out, y: loss(out[1], y)
        found = gs.analyze(gru, packed, loss=read, lengths=[10] * 12)
    (layer,) = found.layers
    assert layer.steps == (23 if module == "wrapped" else 10)
    assert found.measured("onset")[layer.name].backward is None
    assert len(found.measured("truncation")[layer.name].log_bias_of_sum) == layer.steps + 1


class Signed(nn.Module):
    """A cell of one's own with a gate between -1 and 1, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(5, 3) / 2)
        self.weight_hh = nn.Parameter(torch.randn(5, 5) / 3)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight_ih.T + h @ self.weight_hh.T)


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = Signed()

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 5)
        for step in x.unbind(1):
            h = self.cell(step, h)
        return h


def test_a_gate_whose_statistics_are_not_defined_hides_no_other_answer() -> None:
    def step(w: object, affine: tuple[Tensor, Tensor], prev: object) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        a = torch.tanh(affine[0] + affine[1])
        return {"a": a}, {"h": a}

    cells = {Signed: gs.Cell.from_step("signed", gates=("a",), step=step)}
    found = gs.analyze(Loop(), torch.randn(9, 20, 3), torch.randn(9, 5), loss=mse, cells=cells, lag=12)
    assert not found.measured("gate_statistics")
    (why,) = [one.why for one in found.not_measured if one.measure == "gate_statistics"]
    assert "the gate a reaches from" in why
    assert "lag_curve" in {one.measure for one in found.measurements}


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
    for name in ("truncation", "onset", "path_split", "contributions"):
        assert parts.measured(name)["rnn.l1"].loss == "mse_loss, of the first 4 of 9 sequences"
    (norms,) = parts.measured("gradient_norms").values()
    assert "of the first 4 of 9 sequences" in norms.of
    assert "reduced" not in whole.provenance
    assert whole.measured("truncation")["rnn.l1"].loss == "mse_loss"


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
    at = frame[(frame.quantity == "log attenuation of pair") & (frame.lag == 12) & (frame.layer == "rnn.l1")]
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


def test_a_full_spectrum_is_checked_by_its_sum_and_the_adaptive_rule_is_kept(tmp_path: Path) -> None:
    model, x = nn.LSTM(3, 5, batch_first=True), torch.randn(9, 40, 3)
    found = gs.load(gs.analyze(model, x, extra=("full_spectrum",)).save(tmp_path / "run"))
    (check,) = found.measured("sum_rule").values()
    assert np.abs(check.difference).max() < 1e-4  # the smallest of ten exponents have few digits left
    assert check.n == 8
    (cut,) = found.measured("truncation").values()
    assert cut.adaptive.steps >= cut.steps_for_sum(0.1)
    assert not gs.analyze(model, x).measured("sum_rule")


class Output(nn.Module):
    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        return given[0]


class Fed(nn.Module):
    """A loop that is fed what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        h, ys = x.new_zeros(len(x), 5), [x.new_zeros(len(x), 1)]
        for now in x.unbind(1):
            h = self.cell(torch.cat([now, ys[-1]], -1), h)
            ys.append(self.head(h))
        return ys[1:]


def test_a_loop_that_is_fed_its_own_output_is_judged_from_its_last_step_or_not_at_all() -> None:
    x, y = torch.randn(9, 20, 3), torch.randn(9, 1)
    many = gs.analyze(Fed(), x, loss=lambda out, _: torch.stack(out).square().mean(), lag=10)
    assert verdicts(many) == {"cell": ["insufficient data"]}
    assert "cannot be told apart" in many.verdicts[0].claim
    last = gs.analyze(Fed(), x, y, loss=lambda out, y: mse(out[-1], y), lag=10)
    assert verdicts(last)["cell"][0] in {"vanishing", "stable", "borderline"}


def test_progress_is_told() -> None:
    told = []
    gs.analyze(nn.GRU(3, 5, batch_first=True), torch.randn(9, 20, 3), progress=lambda *news: told.append(news))
    assert told == [("measuring l0", 0, 2), ("done", 2, 2)]


def test_the_dtype_of_the_linearisation_is_the_callers() -> None:
    model, x = nn.GRU(3, 5, batch_first=True), torch.randn(9, 20, 3)
    found = [gs.analyze(model, x, dtype=dtype) for dtype in (torch.float64, torch.float32)]
    assert [one.provenance["linearised in"] for one in found] == ["float64", "float32"]
    a, b = (one.curves["l0"].log_norm["pair"] for one in found)
    assert 0 < np.abs(a - b).max() < 1e-4
