"""What is said beside a verdict: the numbers of networks that can be solved by hand, in plain sentences."""

import dataclasses
import inspect
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import gatescope.causes
from gatescope.causes import causes
from gatescope.errors import InputError
from gatescope.measures.gate_statistics import GateStatistics, gate_statistics
from gatescope.measures.lag_curve import lag_curve
from gatescope.measures.lyapunov import Lyapunov, lyapunov
from gatescope.measures.path_split import path_split
from gatescope.measures.truncation import truncation
from gatescope.measures.weights import weights
from gatescope.recording.recorder import Recorder
from gatescope.trace import Trace
from gatescope.verdicts import attenuation, horizons
from lag_curves import curve, straight
from oracles import ClosedForm, forget_gate_alone, keep_gate_alone, permutation_rnn

NUMBER = r"-?\d[\d.]*(?:e-?\d+)?"


def measured(module: nn.Module, x: torch.Tensor, readout: torch.Tensor) -> dict[str, object]:
    """Every measurement of the first layer that says something here, by name."""
    with Recorder(module) as rec:
        (module(x)[0][-1] * readout).sum().backward()
    trace, adjoint = rec.traces["l0"], rec.adjoints["l0"]
    found: list[object] = [
        lag_curve(adjoint, loss="the last state, weighted"),
        lyapunov(trace, k=3),
        gate_statistics(trace),
        weights(trace.layer),
        truncation(adjoint, loss="the last state, weighted"),
    ]
    if trace.layer.cell.kind in {"lstm", "gru"}:
        found.append(path_split(adjoint, loss="the last state, weighted"))
    return {type(one).__name__: one for one in found}


def of(form: ClosedForm) -> dict[str, object]:
    """With twice as many sequences, so that there are enough to judge."""
    return measured(form.module, form.x.repeat(1, 2, 1), form.readout.repeat(2, 1))


def ordinary(kind: type[nn.RNNBase], steps: int = 60) -> dict[str, object]:
    torch.manual_seed(1)
    return measured(kind(3, 16), torch.randn(steps, 12, 3), torch.randn(12, 16))


def trace_of(module: nn.RNNBase) -> Trace:
    with Recorder(module) as rec, torch.no_grad():
        module(torch.randn(20, 8, 3))
    return rec.traces["l0"]


def numbers(sentence: str) -> list[float]:
    return [float(found) for found in re.findall(NUMBER, sentence)]


def only(found: tuple[str, ...], start: str) -> str:
    (sentence,) = [one for one in found if start in one]
    return sentence


def test_the_exponent_and_the_slope_of_a_halving_network_are_one_number() -> None:
    found = of(permutation_rnn(0.5, steps=60))
    said = only(causes(found.values(), 40), "Lyapunov")
    assert f"is {math.log(0.5):.3g} ± " in said
    assert f"over lags 20 to 40 is {math.log(0.5):.3g} [{math.log(0.5):.3g}, {math.log(0.5):.3g}]" in said
    assert "8 sequences of 45 steps" in said  # a quarter of the sixty is the warm-up


def test_the_error_of_the_exponent_is_over_sequences_and_over_stretches_of_time_for_one() -> None:
    found = Lyapunov(
        layer="l0",
        direction="forward",
        size=2,
        exponents=np.array([[-0.9, -0.5], [-0.7, -0.3]]),
        standard_error=np.array([[0.03, 0.02], [0.03, 0.02]]),
        lost=np.zeros((2, 2), dtype=int),
        steps=np.array([80, 100]),
        warm_up=20,
        log_condition=1.0,
    )
    (said,) = causes([found])
    assert "is -0.4 ± 0.1 (standard error) nats a step, over 2 sequences of 100 steps" in said
    first = {name: getattr(found, name)[:1] for name in ("exponents", "standard_error", "lost", "steps")}
    (said,) = causes([dataclasses.replace(found, **first)])
    assert "is -0.5 ± 0.02 (standard error) nats a step, over 1 sequence of 80 steps" in said
    (said,) = causes([dataclasses.replace(found, exponents=np.full((2, 2), -np.inf))])
    assert "-inf" in said


def test_the_rate_is_that_of_the_judgement() -> None:
    given = curve(-0.002 * np.arange(61) ** 2 + straight(-0.05, lags=60, spread=0.5))  # steeper in the tail
    exponent = of(permutation_rnn(0.9, steps=60))["Lyapunov"]
    named = dataclasses.replace(exponent, layer=given.layer)
    slope = attenuation(given, 40).tail_slope
    assert f"over lags 20 to 40 is {slope}" in only(causes([given, named], 40), "Lyapunov")
    assert "over lags 30 to 59 is" in only(causes([given, named]), "Lyapunov")
    assert "over lags 30 to 59 is" in only(causes([given, named], 500), "Lyapunov")  # as far as the data reach


def test_a_forget_gate_alone_carries_everything_for_as_long_as_its_bias_says() -> None:
    found = of(forget_gate_alone(1.0))
    said = causes(found.values(), 20)
    tau = -1 / math.log(1 / (1 + math.exp(-1.0)))
    assert "is 100 % (median over 8 sequences)" in only(said, "of c 20 steps back")
    kept = only(said, "keeps 1/e")
    assert f"the gate f keeps 1/e of a gradient for {tau:.3g} [{tau:.3g}, {tau:.3g}] steps" in kept
    assert "in 0 of 5 units it is above the lag of 20" in kept
    horizon = -tau * math.log(0.01)
    reached = only(said, "By that gate alone")
    assert f"after {horizon:.3g} steps in that unit, {horizon:.3g} in the slowest" in reached
    assert f"measured, a hundredth of the gradient of c is left {math.ceil(horizon)} steps back" in reached


def test_units_above_the_lag_are_counted_and_without_a_lag_none_are() -> None:
    found = of(forget_gate_alone(3.0))  # tau 20.6
    assert "in 5 of 5 units it is above the lag of 20" in only(causes(found.values(), 20), "keeps 1/e")
    assert "in 0 of 5 units it is above the lag of 21" in only(causes(found.values(), 21), "keeps 1/e")
    assert "units it is above" not in only(causes(found.values()), "keeps 1/e")


def test_the_median_and_the_slowest_unit_are_told_apart() -> None:
    form, biases = forget_gate_alone(0.0), [-1.0, 0.0, 1.0, 2.0, 3.0]
    with torch.no_grad():
        form.module.bias_ih_l0[5:10] = torch.tensor(biases)
        form.module.bias_hh_l0[5:10] = 0.0
    said = causes(of(form).values(), 5)
    tau = [1 / math.log1p(math.exp(-bias)) for bias in biases]
    assert f"keeps 1/e of a gradient for {tau[2]:.3g} [" in only(said, "keeps 1/e")
    assert "in 2 of 5 units" in only(said, "keeps 1/e")
    horizon = [-one * math.log(0.01) for one in tau]
    assert f"after {horizon[2]:.3g} steps in that unit, {horizon[4]:.3g} in the slowest" in only(said, "By that gate")


def test_a_gru_keeps_by_z() -> None:
    said = causes(of(keep_gate_alone(1.0)).values(), 20)
    assert "the old state alone carried, through the gate z, is 100 %" in only(said, "of h 20 steps back")
    assert "the gate z keeps" in only(said, "keeps 1/e")


def test_what_reaches_further_than_the_slowest_gate_is_carried_by_the_recurrent_weights() -> None:
    """Large recurrent weights carry the gradient on where gates that are half open let go."""
    torch.manual_seed(0)
    module = nn.LSTM(3, 16)
    with torch.no_grad():
        module.weight_hh_l0 *= 4
    found = measured(module, torch.randn(80, 12, 3), torch.randn(12, 16))
    statistics = found["GateStatistics"]
    assert isinstance(statistics, GateStatistics)
    (horizon,) = [one for one in horizons(found["LagCurve"], quantity="c") if one.fraction == 0.01]
    assert (horizon.lag or 1000) > statistics.carousel_horizon(0.01).max()
    assert "carried by the recurrent weights" in only(causes(found.values()), "By that gate alone")
    alone = of(forget_gate_alone(-2.0, steps=20))
    steep = straight(-3.0, lags=80, sequences=12)
    slowest = dataclasses.replace(found["LagCurve"], log_norm=curve(steep, h=steep, c=steep).log_norm)
    assert "carried by" not in only(causes([slowest, statistics]), "By that gate alone")
    assert len(causes([alone["GateStatistics"]])) == 3


def test_the_share_of_the_memory_is_a_median_over_sequences_with_its_interval() -> None:
    found = ordinary(nn.LSTM)
    split = found["PathSplit"]
    said = only(causes([split], 5), "of c 5 steps back")
    share = 100 * np.median(np.exp(split.carousel[:, 5]))
    median, low, high = numbers(said.partition(", is ")[2])[:3]
    assert median == pytest.approx(share, rel=0.05)  # two digits are shown
    assert low <= median <= high
    assert low < high
    assert "median over 12 sequences" in said
    assert "the rest went through the recurrent weights" in said
    assert "59 steps back" in only(causes([split], 500), "Of the gradient of c")  # the longest that they have
    cancelled = dataclasses.replace(split, carousel=np.full_like(split.carousel, 0.1))
    assert "other paths cancel" in only(causes([cancelled], 5), "Of the gradient of c")
    silent = dataclasses.replace(split, carousel=np.full_like(split.carousel, np.nan))
    assert causes([silent], 5) == ()


def test_saturation_is_said_of_every_gate_that_has_any() -> None:
    form = forget_gate_alone(5.0)
    said = only(causes(of(form).values()), "steps and units")
    assert "f below 0.1 in 0 % and above 0.9 in 100 %" in said
    assert "8 sequences" in said
    module = nn.LSTM(3, 4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    half_open = causes([gate_statistics(trace_of(module))])
    assert "None of the gates i, f, o is ever below 0.1 or above 0.9, over 8 sequences." in half_open


def test_saturation_has_its_interval_over_sequences() -> None:
    module = nn.LSTM(3, 8)
    with torch.no_grad():
        module.weight_ih_l0 *= 8
    trace = trace_of(module)
    shares = (trace.gates["f"] > 0.9).double().mean((0, 2)).numpy()
    t = 2.3646  # Student's 97.5 % quantile for 7 degrees of freedom
    half = t * shares.std(ddof=1) / 8**0.5
    expected = [100 * one for one in (shares.mean(), shares.mean() - half, shares.mean() + half)]
    said = only(causes([gate_statistics(trace)]), "Of all steps").partition("f below")[2].partition("above 0.9 in ")[2]
    mean, low, high = numbers(said.replace("[", " "))[:3]
    np.testing.assert_allclose([mean, low, high], expected, rtol=0.05)  # two digits are shown


def test_saturation_of_a_tanh_network_is_that_of_its_state() -> None:
    module = nn.RNN(3, 6)
    with torch.no_grad():
        module.weight_hh_l0.zero_()
        module.weight_ih_l0.zero_()
        module.bias_ih_l0.copy_(torch.tensor([5.0, 5.0, 5.0, 0.0, 0.0, 0.0]))
    found = gate_statistics(trace_of(module))
    assert "In 50 % of all steps and units, over 8 sequences, |h| is above 0.99" in only(causes([found]), "|h|")


def test_the_bound_is_said_to_be_one() -> None:
    below = only(causes(of(permutation_rnn(0.5)).values()), "singular value")
    assert "is 0.5, below 1" in below
    assert "inconclusive" not in below
    for rho in (1.0, 1.1):
        above = only(causes(of(permutation_rnn(rho)).values()), "singular value")
        assert f"is {rho:.4g}, not below 1" in above
        assert "inconclusive" in above
    assert not [one for one in causes(ordinary(nn.LSTM).values()) if "singular value" in one]


def test_the_truncation_length_is_that_of_the_measure() -> None:
    found = ordinary(nn.GRU)
    curve_of_weights = found["Truncation"]
    steps, each = curve_of_weights.steps_for_sum(0.1), curve_of_weights.steps_for(0.1)
    said = only(causes([curve_of_weights]), "backpropagation")
    assert f"Of 60 steps of backpropagation the last {steps} ({each.min()} to {each.max()} in single" in said
    assert "to within 10 %" in said
    silent = dataclasses.replace(
        curve_of_weights, log_bias_of_sum=np.full(61, np.nan), log_bias=np.full_like(curve_of_weights.log_bias, np.nan)
    )
    assert causes([silent]) == ()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_each_measurement_speaks_for_itself_and_its_absence_is_silence(kind: type[nn.RNNBase]) -> None:
    found = ordinary(kind)
    everything = causes(found.values(), 20)
    assert 4 <= len(everything) <= 6
    for sentence in everything:
        assert re.search(r"\d", sentence)
        assert sentence.endswith(".")
        assert sentence[0].isupper()
        assert "nan" not in sentence
        assert len(sentence) < 300
    for name in found:
        without = causes([one for other, one in found.items() if other != name], 20)
        assert len(without) <= len(everything)
    assert causes([]) == ()
    assert causes([found["LagCurve"]]) == ()


def test_a_single_sequence_has_no_interval_and_no_nan() -> None:
    torch.manual_seed(0)
    found = measured(nn.LSTM(3, 6), torch.randn(30, 1, 3), torch.randn(1, 6))
    said = causes(found.values(), 10)
    assert len(said) >= 5
    assert not any("nan" in one or "inf" in one for one in said)
    assert "1 sequence" in only(said, "of c 10 steps back")


def test_measurements_of_two_layers_are_refused() -> None:
    found = of(forget_gate_alone(1.0))
    with pytest.raises(InputError, match=r"l0, l1.*choose one"):
        causes([found["LagCurve"], dataclasses.replace(found["Lyapunov"], layer="l1")])


def test_no_threshold_of_judgement_stands_here() -> None:
    source = inspect.getsource(gatescope.causes)
    assert not re.search(r"\b(VANISHING|EXPLODING|Level|bad|good|healthy)\b", source.partition('"""\n\n')[2])
