"""The demo in a small edition: what it measures is measured right, and what it says follows from its numbers."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.errors import InputError
from gatescope.measures.lag_curve import lag_curve
from gatescope.recording.recorder import Recorder
from gatescope.report.numbers import number, number_from_log
from gatescope.research.demo import LOSS, Demo, Forecaster, Moment, Network, Settings, run_demo
from gatescope.research.findings import findings
from gatescope.tasks import sine
from gatescope.verdicts import Level, attenuation

SMALL = Settings(epochs=3, hidden_size=5, sequences=600, batch_size=480, ahead=20, shown=3)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
def demo(told: list[tuple[str, int, int]]) -> Demo:
    return run_demo(lambda what, done, of: told.append((what, done, of)), settings=SMALL)


def test_five_networks_of_three_kinds_are_compared(demo: Demo) -> None:
    assert [(network.name, network.cell) for network in demo.networks] == [
        ("tanh RNN", "rnn-tanh"),
        ("LSTM", "lstm"),
        ("GRU", "gru"),
        ("LSTM, forget bias 1", "lstm"),
        ("LSTM, chrono", "lstm"),
    ]


def test_the_classic_example_is_the_default() -> None:
    settings = Settings()
    assert (settings.period, settings.window, settings.sequences) == (50, 20, 1000)
    assert (settings.hidden_size, settings.layers, settings.epochs, settings.lr) == (50, 2, 200, 1e-3)
    assert settings.batch_size == (1 - settings.held_out) * settings.sequences
    model = Forecaster(nn.LSTM, settings)
    assert model.rnn.batch_first
    assert model(torch.randn(3, 20, 1)).shape == (3, 1)


def test_the_last_fifth_of_the_series_is_held_out(demo: Demo) -> None:
    whole = sine(points=620)
    assert torch.equal(demo.task.x, whole.x[480:])
    assert demo.truth.tolist() == whole.y[480:, 0].tolist()


def test_the_lstms_differ_in_their_biases_only(demo: Demo) -> None:
    plain, biased, spread = (network for network in demo.networks if network.cell == "lstm")
    traces = [network.before.traces["rnn.l0"] for network in (plain, biased, spread)]
    weights = [trace.layer.weights for trace in traces]
    for name in ("weight_ih", "weight_hh"):
        assert torch.equal(weights[0][name], weights[1][name])
        assert torch.equal(weights[0][name], weights[2][name])
    forget = [(w["bias_ih"] + w["bias_hh"])[5:10] for w in weights]
    assert forget[1].tolist() == [1.0] * 5
    assert (forget[2] > 0).all()
    assert (forget[2].exp() <= 19).all()  # 1 / (1 - f) up to the window of 20


def test_training_is_what_lies_between_before_and_after(demo: Demo) -> None:
    for network in demo.networks:
        assert len(network.losses) == 3
        assert network.losses[-1] < network.losses[0]
        before, after = (moment.traces["rnn.l0"].layer.weights for moment in (network.before, network.after))
        assert not torch.equal(before["weight_hh"], after["weight_hh"])


def test_curves_are_of_windows_that_do_not_overlap(demo: Demo) -> None:
    for moment in moments(demo):
        for name, curve in moment.curves.items():
            assert curve.layer == name
            assert curve.n == 6  # 120 held-out windows, one in 21
            assert curve.loss == LOSS
            assert set(curve.lengths) == {20}


def test_the_shown_sequences_do_not_overlap_and_have_different_phases(demo: Demo) -> None:
    assert demo.shown == (0, 21, 42)
    assert len({start % SMALL.period for start in demo.shown}) == 3
    for network in demo.networks:
        for trace in network.after.traces.values():
            assert trace.x.shape[:2] == (20, 3)
    first_layer = demo.networks[0].after.traces["rnn.l0"]
    assert torch.equal(first_layer.x.transpose(0, 1), demo.task.x[[0, 21, 42]])


def test_every_gate_and_state_of_the_shown_sequences_is_there(demo: Demo) -> None:
    wanted = {"rnn-tanh": {"h"}, "lstm": {"i", "f", "g", "o", "h", "c"}, "gru": {"r", "z", "n", "q", "h"}}
    for network in demo.networks:
        assert list(network.after.traces) == ["rnn.l0", "rnn.l1"]
        for trace in network.after.traces.values():
            assert set(trace.gates) | set(trace.states) == wanted[network.cell]


def test_a_continuation_begins_with_the_prediction_and_is_held_against_what_came(demo: Demo) -> None:
    for network in demo.networks:
        assert network.continued.shape == demo.to_continue.shape == (3, 20)
        assert network.continued[:, 0] == pytest.approx(network.predictions[list(demo.shown)], abs=1e-6)
    assert demo.to_continue[1] == pytest.approx(demo.truth[21:41])


def test_the_errors_are_those_of_the_predictions(demo: Demo) -> None:
    for network in demo.networks:
        assert network.error == pytest.approx(np.square(network.predictions - demo.truth).mean(), rel=1e-5)
    assert demo.persistence == pytest.approx(0.00789, rel=0.05)
    assert demo.twin < 1e-6


def test_attenuations_span_the_whole_window(demo: Demo) -> None:
    for moment in moments(demo):
        for name, curve in moment.curves.items():
            assert moment.attenuations[name] == attenuation(curve, 19)
        assert moment.windows.windows.tolist() == [1, 2, 3, 5, 7, 10, 14, 20]


def test_the_gates_are_proven(demo: Demo) -> None:
    assert all(moment.residual < 1e-5 for moment in moments(demo))


def test_progress_counts_the_epochs_of_all_networks(demo: Demo, told: list[tuple[str, int, int]]) -> None:
    assert [(done, of) for _, done, of in told] == [(done, 15) for done in range(1, 16)]
    assert told[0][0] == "training the tanh RNN"
    assert told[-1][0] == "training the LSTM, chrono"


def test_the_same_settings_give_the_same_numbers_and_leave_torch_alone(demo: Demo) -> None:
    state = torch.get_rng_state()
    again = run_demo(settings=SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert findings(again) == findings(demo)
    for one, other in zip(demo.networks, again.networks, strict=True):
        assert np.array_equal(one.losses, other.losses)
        assert np.array_equal(
            one.after.curves["rnn.l0"].log_norm["pair"], other.after.curves["rnn.l0"].log_norm["pair"]
        )


def test_it_runs_on_one_thread_and_gives_the_others_back() -> None:
    during = []
    torch.set_num_threads(2)
    try:
        run_demo(lambda what, done, of: during.append(torch.get_num_threads()), settings=replace(SMALL, epochs=1))
        assert during == [1] * 5
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_another_seed_gives_other_networks(demo: Demo) -> None:
    other = run_demo(settings=replace(SMALL, seed=1, epochs=1))
    assert other.networks[1].losses[0] != demo.networks[1].losses[0]


def test_what_is_shown_is_of_the_very_networks() -> None:
    """Once outside: an untrained LSTM, built and recorded here, has the curves and the predictions of the demo's."""
    demo = run_demo(settings=replace(SMALL, epochs=0))
    lstm = demo.networks[1]
    torch.manual_seed(0)
    model = Forecaster(nn.LSTM, SMALL)
    held_out = sine(points=620)[480:]
    with Recorder(model) as rec:
        nn.functional.mse_loss(model(held_out.x[::21]), held_out.y[::21]).backward()
    for name, adjoint in rec.adjoints.items():
        expected = lag_curve(adjoint, loss=LOSS).log_norm["pair"]
        np.testing.assert_array_equal(lstm.before.curves[name].log_norm["pair"], expected)
    with torch.no_grad():
        assert lstm.predictions == pytest.approx(model(held_out.x)[:, 0].numpy(), abs=1e-6)
        read = held_out.x[21].tolist()
        for said in lstm.continued[1]:
            assert said == pytest.approx(model(torch.tensor([read[-20:]])).item(), abs=1e-6)
            read.append([float(said)])


def test_there_must_be_something_to_go_on_against() -> None:
    with pytest.raises(InputError, match="go on for 20 steps after held-out sequences, of which there are only 10"):
        run_demo(settings=replace(SMALL, sequences=50))


# What it says


def test_a_finding_follows_from_the_numbers(demo: Demo) -> None:
    """Every number of the sentence on the whole window, once more from the curves."""
    (sentence,) = (finding for finding in findings(demo) if finding.startswith("At lag 19"))
    for network in demo.networks[:3]:
        for moment in (network.before, network.after):
            left = [number_from_log(curve.log_attenuation()[:, 19].mean()) for curve in moment.curves.values()]
            assert f"{left[0]} and {left[1]} ({network.name})" in sentence


def test_a_finding_says_that_shorter_windows_are_not_what_the_networks_learned_from(demo: Demo) -> None:
    (sentence,) = (finding for finding in findings(demo) if "use more than the task needs" in finding)
    windows = demo.networks[0].after.windows
    middle = len(windows.windows) // 2
    assert f"shown only the last {windows.windows[middle]} their error" in sentence
    for network in demo.networks:
        times = number(network.after.windows.loss[middle] / demo.persistence)
        assert f"{times} ({network.name})" in sentence


def test_a_finding_says_what_the_intervals_are_over(demo: Demo) -> None:
    (sentence,) = (finding for finding in findings(demo) if finding.startswith("The 95 % intervals"))
    assert "over 6 windows, phases of one sine, for one training of each network from seed 0" in sentence


def test_networks_that_learnt_nothing_are_not_said_to_have_learnt(demo: Demo) -> None:
    assert findings(demo)[0].startswith("0 of 5 networks")
    learnt = replace(demo, networks=tuple(replace(network, error=1e-6) for network in demo.networks[:2]))
    assert findings(replace(learnt, networks=(*learnt.networks, *demo.networks[2:])))[0].startswith("2 of 5 networks")


def with_curves_of(demo: Demo, rate: float) -> Demo:
    """The same demo, had every gradient changed by `rate` nats a step."""

    def changed(moment: Moment) -> Moment:
        lags = np.arange(21)
        curves = {
            name: replace(curve, lengths=np.full(10, 20), log_norm={"pair": np.tile(rate * lags, (10, 1))})
            for name, curve in moment.curves.items()
        }
        return replace(
            moment, curves=curves, attenuations={name: attenuation(curve, 19) for name, curve in curves.items()}
        )

    def network(one: Network) -> Network:
        return replace(one, before=changed(one.before), after=changed(one.after))

    return replace(demo, networks=tuple(map(network, demo.networks)))


LOST = "less than a hundredth in layer rnn.l0 of the tanh RNN, layer rnn.l1 of the tanh RNN, layer rnn.l0 of the LSTM"


@pytest.mark.parametrize(
    ("rate", "needed", "lost", "exploding"),
    [
        (-0.4, "stable in every layer of every network.", LOST, "no layer of any"),
        (0.0, "stable in every layer of every network.", "a hundredth in none of them;", "no layer of any network"),
        (
            -6.0,
            "except tanh RNN, rnn.l0 (vanishing)",
            LOST,
            "no layer of any network",
        ),
        (
            0.4,
            "stable in every layer of every network.",
            "a hundredth in none of them;",
            "explodes in tanh RNN, rnn.l0, ",
        ),
    ],
)
def test_the_sentences_change_with_the_gradients(
    demo: Demo, rate: float, needed: str, lost: str, exploding: str
) -> None:
    said = " ".join(findings(with_curves_of(demo, rate)))
    assert needed in said
    assert lost in said
    assert exploding in said


def test_no_sentence_holds_an_unfilled_place_or_a_raw_float(demo: Demo) -> None:
    for finding in findings(demo):
        assert finding.endswith(".")
        assert not re.search(r"[{}]|nan|\d\.\d{5,}|e-\d", finding), finding


@pytest.mark.slow
def test_the_whole_demo_finds_what_it_promises() -> None:
    """All solve the task, and the gradient across the window is small in each that starts as torch has it."""
    demo = run_demo()
    for network in demo.networks:
        assert network.error < demo.persistence / 30
        assert {verdict.level for verdict in network.after.verdicts} <= {Level.STABLE, Level.NOT_EXPLODING}
    top = {network.name: network.after.attenuations["rnn.l1"].value.mean for network in demo.networks}
    assert top["LSTM"] == pytest.approx(-7, abs=1)
    assert top["tanh RNN"] == pytest.approx(-6, abs=1)
    assert top["GRU"] == pytest.approx(-7, abs=1)
    assert top["LSTM"] + 2 < top["LSTM, forget bias 1"] < top["LSTM, chrono"] - 1


def moments(demo: Demo) -> list[Moment]:
    return [moment for network in demo.networks for moment in (network.before, network.after)]
