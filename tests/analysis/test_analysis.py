"""What an analysis says of itself: in words that fit a terminal, and in one table whose every number has its object."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.analysis.frame import ABOUT, COLUMNS
from gatescope.analysis.in_words import FEW, WIDTH
from gatescope.errors import GatescopeWarning, InputError
from gatescope.verdicts import MIN_GRADIENTS, Level
from gatescope.verdicts.reach import reach

mse = nn.functional.mse_loss


class Reader(nn.Module):
    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


class Stepper(nn.Module):
    """A decoder that is called for one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.split(1, 1):
            out, state = self.rnn(step, state)
        return out[:, -1]


@cache
def example(
    kind: type[nn.RNNBase] = nn.LSTM,
    lag: int | None = 12,
    sequences: int = 9,
    layers: int = 2,
    extra: tuple[str, ...] = (),
) -> gs.Analysis:
    torch.manual_seed(0)
    model = Reader(kind(3, 5, layers, batch_first=True))
    x, y = torch.randn(sequences, 30, 3), torch.randn(sequences, 1)
    return gs.analyze(model, x, y, mse, lag, extra=extra)


def words(analysis: gs.Analysis) -> str:
    """What is printed, in one line."""
    return " ".join(str(analysis).split())


def test_the_first_line_says_which_data_and_which_loss() -> None:
    value = example().provenance["value of the loss"]
    assert str(example()).startswith(f"Data given: float32 [9, 30, 3]. Loss: mse_loss, {value}. The task needs lag 12.")


def test_noise_is_called_synthetic_wherever_it_is_shown() -> None:
    found = gs.analyze(nn.GRU(3, 5))
    assert str(found).startswith("Data synthetic: independent N(0, 1)")
    assert "synthetic" in repr(found)
    frame = found.to_frame()
    assert frame.data.dropna().str.startswith("synthetic").all()
    assert set(frame.measure[frame.data.isna()]) == {"weights", "zero_state"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
def test_no_line_is_wider_than_a_terminal(kind: type[nn.RNNBase]) -> None:
    assert max(map(len, str(example(kind)).splitlines())) <= WIDTH


def test_each_layer_has_its_claim_with_interval_number_threshold_and_horizons() -> None:
    said = words(example())
    for verdict in example().verdicts:
        if verdict.level is not Level.NOT_EXPLODING:
            assert f"{verdict.layer}: {str(verdict.level).upper()}. {verdict.claim}" in said
            assert re.search(r"ean log attenuation -\d.*95 % CI \[.*\] over 9 sequences, ", verdict.ground)
            assert verdict.ground[1:] in said
    for found in example().horizons.values():
        half, tenth, *_ = found
        assert f"The gradient falls below a half at lag {half}, a tenth at {tenth}" in said
    for sentences in example().causes.values():
        for sentence in sentences:
            assert sentence in said


def test_that_nothing_explodes_is_a_clause_and_no_headline() -> None:
    for found in (example(), example(lag=None)):
        assert "NOT EXPLODING" not in str(found)
        assert words(found).count(f"it does not explode over {reach(found.curves['rnn.l0'], 'pair')} steps") == 2


def test_without_a_lag_the_horizons_are_the_answer() -> None:
    found = example(lag=None)
    assert "No lag given: nothing is called vanishing." in words(found)
    half, *_ = found.horizons["rnn.l1"]
    assert f"rnn.l1: the gradient falls below a half at lag {half}, " in words(found)
    assert "a mean over 9 sequences" in words(found)


def test_the_best_remedy_is_said_where_it_was_measured() -> None:
    found = example(extra=("remedies",))
    (tried,) = found.measured("remedies").values()
    for layer in found.layers:
        assert tried.sentence(layer.name) in words(found)
    assert "measured changes" not in str(example())


def test_what_was_not_measured_is_said_once_with_its_reason() -> None:
    said = words(example(nn.RNN))
    assert said.count("Not measured: path_split of rnn.l0 and of 1 more: rnn.l0 is a rnn-tanh cell") == 1


def test_what_is_suspicious_is_said() -> None:
    x = torch.randn(9, 30, 3)
    for row in range(8):
        x[row, 28 - 2 * row :] = 0
    with pytest.warns(GatescopeWarning, match="alike"):
        found = gs.analyze(nn.GRU(3, 5, batch_first=True), x)
    (suspicion,) = found.suspicions
    assert f"Suspicion: {suspicion}." in words(found)


def test_many_layers_are_short_and_have_the_causes_of_the_first_findings() -> None:
    found = example(layers=24)
    assert len(str(found).splitlines()) < 240
    explained = [name for name, sentences in found.causes.items() if sentences[0] in words(found)]
    fine = {Level.STABLE, Level.NOT_EXPLODING}
    findings = {one.layer for one in found.verdicts if one.level not in fine}
    assert len(explained) == min(FEW, len(findings))
    assert set(explained) <= findings
    assert "Why, in the layers without a reason here: analysis.causes." in str(found)


def test_layers_of_which_the_same_is_not_known_stand_together() -> None:
    found = gs.analyze(Stepper(), torch.randn(9, 12, 3), loss=lambda out, _: out.square().mean())
    assert len(found.verdicts) == 12
    said = words(found)
    assert said.count("too little data") == 1
    assert "rnn.l0 to rnn.l0#11 (12 layers): INSUFFICIENT DATA." in said


def test_two_verdicts_of_one_level_have_one_headline() -> None:
    model = nn.RNN(3, 5, batch_first=True, nonlinearity="relu")
    with torch.no_grad():
        model.weight_hh_l0.copy_(2 * torch.eye(5))
        model.bias_ih_l0.fill_(1.0)
    found = gs.analyze(model, torch.rand(9, 30, 3), lag=12)
    assert [one.level for one in found.verdicts] == [Level.EXPLODING, Level.EXPLODING]
    assert str(found).count("EXPLODING") == 1
    assert all(one.claim in words(found) for one in found.verdicts)


def test_the_spread_of_single_sequences_gradients_is_judged_where_there_are_enough() -> None:
    assert {one.layer for one in example().verdicts} == {"rnn.l0", "rnn.l1"}
    found = example(sequences=MIN_GRADIENTS)
    *_, verdict = found.verdicts
    assert verdict.layer == "the weights of all recurrent layers"
    assert verdict.claim.startswith(f"None of {MIN_GRADIENTS} gradients of single sequences is more than 10 times")
    assert "one sequence's part of the loss (mse_loss" in verdict.because
    assert f"{verdict.layer}: {verdict.claim}" in words(found)
    readout = gs.analyze(nn.GRU(3, 5, batch_first=True), torch.randn(MIN_GRADIENTS, 20, 3))
    assert {one.layer for one in readout.verdicts} == {"l0"}


def test_every_number_says_of_how_many_of_which_loss_and_of_which_data() -> None:
    frame = example(nn.GRU).to_frame()
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert tuple(frame.columns[-len(ABOUT) :]) == ABOUT
    of_weights = frame.measure.isin(["weights", "zero_state"])
    assert frame.n[~of_weights].notna().all()
    assert frame.n[of_weights].isna().all()
    assert (frame.n[frame.sequence.notna()] == 1).all()
    assert (frame.n[frame.measure.isin(["attenuation", "horizon", "gate_statistics"])] == 9).all()
    assert (frame.data[~of_weights] == "given: float32 [9, 30, 3]").all()
    felt = ["lag_curve", "attenuation", "horizon", "truncation", "contributions", "onset", "fresh_window"]
    assert frame.loss[frame.measure.isin([*felt, "gradient_norms", "path_split"])].str.startswith("mse_loss").all()
    assert frame.loss[frame.measure.isin(["gate_statistics", "lyapunov", "singular_values"])].isna().all()
    assert frame.direction[frame.layer.isin(["rnn.l0", "rnn.l1"])].eq("forward").all()


def test_the_norm_of_a_gradient_is_told_from_its_attenuation_which_begins_at_lag_zero() -> None:
    frame = example(nn.GRU).to_frame()
    by_quantity = frame[frame.lag.notna()].groupby("quantity").measure.unique()
    assert list(by_quantity["pair"]) == ["lag_curve"]
    assert list(by_quantity["log attenuation of pair"]) == ["attenuation"]
    start = frame[(frame.measure == "attenuation") & (frame.lag == 0)]
    assert len(start) == 2 * 2
    assert np.array_equal(start[["value", "low", "high"]], np.zeros((4, 3)))


def test_horizons_are_named_in_words() -> None:
    frame = example(nn.GRU).to_frame()
    named = frame.quantity[frame.measure == "horizon"].unique().tolist()
    assert named == ["below a half", "below a tenth", "below a hundredth", "below what float32 resolves"]


def test_a_measure_that_does_not_exist_is_refused_and_one_without_an_answer_is_empty() -> None:
    with pytest.raises(InputError, match=r"'fresh_windows' was asked for, which is no measure; choose one of .*fresh_"):
        example().measured("fresh_windows")
    assert example(nn.RNN).measured("path_split") == {}


def test_what_is_of_the_whole_model_has_one_name() -> None:
    found = gs.analyze(recorded(), extra=("remedies",))
    assert [(one.layer, one.measure) for one in found.not_measured] == [("all recurrent layers", "remedies")]


def recorded() -> gs.Recorder:
    model = nn.GRU(3, 5, batch_first=True)
    with gs.Recorder(model) as recorder:
        model(torch.randn(9, 20, 3))
    return recorder
