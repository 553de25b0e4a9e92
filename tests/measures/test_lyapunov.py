"""Lyapunov exponents of maps whose exponents are known, and of layers against the lag curve."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.initialisations import forget_bias
from gatescope.measures import MEASURES
from gatescope.measures.lag_curve import lag_curve
from gatescope.measures.lyapunov import Lyapunov, kaplan_yorke, lyapunov, lyapunov_of_map
from gatescope.recording.recorder import Recorder
from gatescope.trace import Trace
from oracles import NO_NUDGE, STEPS, Weights
from problems import Problem


def recorded(module: nn.Module, steps: int, sequences: int = 1, *, scale: float = 1.0) -> dict[str, Trace]:
    """Driven by white noise."""
    x = scale * torch.randn(steps, sequences, module.input_size, dtype=torch.float64)
    with Recorder(module) as rec:
        module(x)
    return dict(rec.traces)


def with_gain(module: nn.RNNBase, gain: float) -> nn.RNNBase:
    """Recurrent weights drawn from N(0, gain² / units)."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "weight_hh" in name:
                weight.normal_(0, gain / math.sqrt(module.hidden_size))
    return module


def linear(matrix: Tensor) -> Callable[[int, Tensor], Tensor]:
    return lambda _, states: states @ matrix.T


DIAGONAL = torch.tensor([1.05, 0.9, 0.5, 0.1], dtype=torch.float64)


def test_it_is_listed_among_the_measures() -> None:
    assert Lyapunov in MEASURES


@pytest.mark.parametrize("t_ons", [1, 5])
def test_a_diagonal_map_has_the_logarithms_of_its_diagonal(t_ons: int) -> None:
    found = lyapunov_of_map(linear(DIAGONAL.diag()), torch.ones(1, 4, dtype=torch.float64), 200, t_ons=t_ons)
    assert found.spectrum == pytest.approx([0.0487902, -0.1053605, -0.6931472, -2.3025851], abs=1e-6)
    assert found.log_condition == pytest.approx(t_ons * math.log(1.05 / 0.1), abs=1e-9)


def test_the_first_of_a_few_exponents_is_the_largest_wherever_it_stands() -> None:
    matrix = DIAGONAL.flip(0).diag()
    found = lyapunov_of_map(linear(matrix), torch.ones(1, 4, dtype=torch.float64), 200, k=2)
    assert found.spectrum == pytest.approx([0.0487902, -0.1053605], abs=1e-6)
    assert found.size == 4
    assert math.isnan(lyapunov_of_map(linear(matrix), torch.ones(1, 4).double(), 200, k=1).dimension)


def test_a_map_far_from_normal_has_the_logarithms_of_its_eigenvalues() -> None:
    matrix = DIAGONAL.diag() + torch.randn(4, 4, dtype=torch.float64).triu(1)
    found = lyapunov_of_map(linear(matrix), torch.ones(1, 4, dtype=torch.float64), 500, warm_up=500)
    assert found.spectrum == pytest.approx(DIAGONAL.log().numpy(), abs=1e-6)


def henon(_: int, states: Tensor) -> Tensor:
    x, y = states.unbind(-1)
    return torch.stack([1 - 1.4 * x * x + y, 0.3 * x], -1)


def test_the_henon_map_has_its_published_exponents_and_dimension() -> None:
    """Sprott 2003 prints 0.41922, -1.62319 and 1.258; here 100 trajectories of 1000 steps, 1e5 in all."""
    initial = 0.1 * torch.rand(100, 2, dtype=torch.float64)
    found = lyapunov_of_map(henon, initial, 1000)
    assert found.spectrum == pytest.approx([0.41922, -1.62319], abs=3e-3)
    assert found.exponents.sum(1) == pytest.approx(math.log(0.3), abs=1e-10)
    assert found.dimension == pytest.approx(1.258, abs=2e-3)
    assert found.entropy_bound == found.spectrum[0]


def test_the_standard_error_is_the_spread_of_what_other_trajectories_give() -> None:
    found = lyapunov_of_map(henon, 0.1 * torch.rand(200, 2, dtype=torch.float64), 600)
    spread = found.exponents[:, 0].std(ddof=1)
    assert found.standard_error[:, 0].mean() == pytest.approx(spread, rel=0.5)


def test_the_logistic_map_doubles_a_difference_at_each_step() -> None:
    """Seen within 4e-5 for twelve seeds; in far more steps, rounding throws a state onto the fixed point 0 for good."""
    initial = torch.rand(300, 1, dtype=torch.float64)
    found = lyapunov_of_map(lambda _, x: 4 * x * (1 - x), initial, 4000, warm_up=20)
    assert found.spectrum[0] == pytest.approx(math.log(2), abs=1e-4)


NETS = {
    "a tame RNN": lambda: nn.RNN(2, 32, dtype=torch.float64),
    "a chaotic RNN": lambda: with_gain(nn.RNN(2, 32, dtype=torch.float64), 2.5),
    "an LSTM": lambda: nn.LSTM(2, 24, dtype=torch.float64),
    "a GRU": lambda: nn.GRU(2, 32, dtype=torch.float64),
}


@pytest.mark.parametrize("net", NETS)
def test_the_first_exponent_is_the_slope_of_the_lag_curve(net: str) -> None:
    module = NETS[net]()
    x = 0.5 * torch.randn(600, 3, 2, dtype=torch.float64)
    with Recorder(module) as rec:
        (module(x)[0][-1] * torch.randn(module.hidden_size)).sum().backward()
    curve = lag_curve(rec.adjoints["l0"], loss="the last state, weighted").log_attenuation()
    slope = (curve[:, 550] - curve[:, 50]) / 500
    found = lyapunov(rec.traces["l0"], k=1, warm_up=50)
    assert found.exponents[:, 0] == pytest.approx(slope, abs=0.015)
    assert (found.spectrum[0] > 0) == (net == "a chaotic RNN")


def test_an_open_forget_gate_slows_the_forgetting_to_what_its_bias_says() -> None:
    """Default LSTMs with 128 units and forget bias 1 lose 0.144 nats a step; 3 seeds."""
    rates = []
    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.LSTM(1, 128, dtype=torch.float64)
        forget_bias(module, 1.0)
        rates.append(lyapunov(recorded(module, 250)["l0"], k=1, warm_up=50).spectrum[0])
    assert np.mean(rates) == pytest.approx(-0.144, abs=0.02)


def test_a_stack_has_the_exponents_of_its_layers() -> None:
    module = with_gain(nn.LSTM(2, 4, num_layers=2, dtype=torch.float64), 2.0)
    x = torch.randn(500, 1, 2, dtype=torch.float64)
    with Recorder(module) as rec:
        module(x)
    of_layers = [lyapunov(trace, k=8, warm_up=100).spectrum for trace in rec.traces.values()]
    weights = [Weights.of("lstm", trace.layer.weights) for trace in rec.traces.values()]

    def both(t: int, states: Tensor) -> Tensor:
        h, c, h_above, c_above = states.chunk(4, -1)
        below = STEPS["lstm"](weights[0], x[t], {"h": h, "c": c}, NO_NUDGE).states
        above = STEPS["lstm"](weights[1], below["h"], {"h": h_above, "c": c_above}, NO_NUDGE).states
        return torch.cat([below["h"], below["c"], above["h"], above["c"]], -1)

    whole = lyapunov_of_map(both, torch.zeros(1, 16, dtype=torch.float64), 400, warm_up=100)
    assert np.sort(np.concatenate(of_layers))[::-1] == pytest.approx(whole.spectrum, abs=0.01)


def test_a_reverse_layer_is_followed_in_its_own_direction() -> None:
    module = nn.GRU(2, 4, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith("_reverse"):
                weight.copy_(module.get_parameter(name.removesuffix("_reverse")))
    x = torch.randn(60, 1, 2, dtype=torch.float64)
    with Recorder(module) as rec:
        module(x)
    backward = lyapunov(rec.traces["l0_reverse"])
    with Recorder(module) as rec:
        module(x.flip(0))
    assert backward.direction == "reverse"
    assert backward.exponents == pytest.approx(lyapunov(rec.traces["l0"]).exponents, abs=1e-12)


def test_a_state_that_forgets_at_once_loses_directions_and_says_how_often() -> None:
    """At the zero state of an LSTM, with no bias, tanh c = 0: h alone says nothing of the next step's h."""
    module = nn.LSTM(2, 6, bias=False, dtype=torch.float64)
    found = lyapunov(recorded(module, 80, scale=0.0)["l0"], warm_up=20)
    assert (found.spectrum == -np.inf).sum() == 6
    assert np.isfinite(found.spectrum).sum() == 6
    assert (found.lost[:, found.exponents[0] == -np.inf] == 60).all()
    matrix = 0.5 * torch.eye(6) + 0.25 * module.weight_hh_l0[12:18].detach()
    radius = torch.linalg.eigvals(matrix).abs().max().log().item()
    assert found.spectrum[0] == pytest.approx(radius, abs=0.02)


def test_sequences_of_other_lengths_have_their_own_exponents() -> None:
    problem = replace(Problem("lstm", layout="packed-unsorted", batch=3), time=61)  # lengths 1, 61, 31
    module = problem.module()
    with Recorder(module) as rec:
        problem.call(module)
    found = lyapunov(rec.traces["l0"], warm_up=10, sequences=[2, 1])
    assert found.steps.tolist() == [21, 51]
    module, x = problem.module(), problem.input()
    for row, (sequence, length) in enumerate([(2, 31), (1, 61)]):
        with Recorder(module) as rec:
            module(x[:length, sequence : sequence + 1])
        alone = lyapunov(rec.traces["l0"], warm_up=10)
        assert found.exponents[row] == pytest.approx(alone.exponents[0], abs=1e-12)
        assert found.standard_error[row] == pytest.approx(alone.standard_error[0], abs=1e-12)


def test_fewer_decompositions_find_the_same_exponents_while_these_are_close() -> None:
    trace = recorded(nn.GRU(2, 8, dtype=torch.float64), 120)["l0"]
    often, seldom = lyapunov(trace, k=3), lyapunov(trace, k=3, t_ons=5)
    assert often.exponents == pytest.approx(seldom.exponents, abs=1e-12)
    assert often.log_condition < seldom.log_condition


def test_what_the_first_directions_were_is_forgotten_in_the_warm_up() -> None:
    trace = recorded(nn.GRU(2, 8, dtype=torch.float64), 400)["l0"]

    def first(warm_up: int, seed: int) -> float:
        return float(lyapunov(trace, k=1, warm_up=warm_up, seed=seed).exponents[0, 0])

    def of_henon(seed: int) -> float:
        return float(lyapunov_of_map(henon, torch.zeros(1, 2).double(), 50, k=1, warm_up=0, seed=seed).spectrum[0])

    assert first(0, 1) == first(0, 1) != first(0, 2)
    assert abs(first(200, 1) - first(200, 2)) < 0.1 * abs(first(0, 1) - first(0, 2))
    assert of_henon(1) == of_henon(1) != of_henon(2)


def test_fewer_steps_than_blocks_have_no_standard_error() -> None:
    trace = recorded(nn.GRU(2, 4, dtype=torch.float64), 20)["l0"]
    assert np.isnan(lyapunov(trace, k=2).standard_error).all()


def test_by_default_the_warm_up_leaves_something_of_every_sequence() -> None:
    problem = Problem("gru", layout="packed-unsorted", time=41)  # lengths 1, 41, 21
    module = problem.module()
    with Recorder(module) as rec:
        problem.call(module)
    assert lyapunov(rec.traces["l0"], sequences=[2, 1]).warm_up == 5
    assert lyapunov(rec.traces["l0"]).steps.tolist() == [1, 41, 21]


def test_a_sequence_that_is_over_in_the_warm_up_is_an_error() -> None:
    trace = recorded(nn.GRU(2, 4, dtype=torch.float64), 20)["l0"]
    with pytest.raises(InputError, match="l0: the shortest sequence has 20 steps and the warm-up takes 20"):
        lyapunov(trace, warm_up=20)
    with pytest.raises(InputError, match="t_ons = 0"):
        lyapunov(trace, t_ons=0)


@pytest.mark.parametrize(
    ("exponents", "complete", "dimension"),
    [
        ([0.5, 0.0, -1.0, -2.0], True, 2.5),
        ([-0.1, -0.2], False, 0.0),
        ([0.5, 0.1], False, math.nan),
        ([0.5, 0.1], True, 2.0),
        ([0.5, -math.inf], True, 1.0),
    ],
)
def test_the_dimension_is_where_the_sum_of_exponents_turns_negative(
    exponents: list[float], complete: bool, dimension: float
) -> None:
    assert kaplan_yorke(np.array(exponents), complete=complete) == pytest.approx(dimension, nan_ok=True)


def test_nobody_can_change_it() -> None:
    found = lyapunov(recorded(nn.GRU(2, 4, dtype=torch.float64), 20)["l0"])
    with pytest.raises(ValueError, match="read-only"):
        found.exponents[0] = 0.0


def test_its_table_is_tidy() -> None:
    frame = lyapunov(recorded(nn.GRU(2, 4, dtype=torch.float64), 60, 2)["l0"], k=3).to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "exponent", "sequence", "value", "unit"]
    assert len(frame) == 3 * 2 * 3
    assert set(frame["measure"]) == {"lyapunov"}
    assert frame["exponent"].unique().tolist() == [1, 2, 3]


@pytest.mark.slow
def test_random_networks_have_the_exponent_of_the_theory() -> None:
    """Noisy tanh networks of N units, W_hh ~ N(0, g²/N), noise s, pre-activations of variance q:

        q = g² E tanh²(√q z) + s²,   λ_1 = ½ ln (g² E f'²) − r / 4N,   r = (3 E f'⁴ − (E f'²)²) / (E f'²)²

    Molgedey, Schuchhardt & Schuster 1992 (unverified) for N → ∞; the correction is ours.
    """
    for gain, sigma in ((1.5, 0.5), (2.0, 1.0), (3.0, 1.0)):
        z, weight = np.polynomial.hermite_e.hermegauss(101)
        weight = weight / weight.sum()
        q = 1.0
        for _ in range(500):
            q = gain**2 * (weight * np.tanh(np.sqrt(q) * z) ** 2).sum() + sigma**2
        slope = 1 - np.tanh(np.sqrt(q) * z) ** 2
        second, fourth = (weight * slope**2).sum(), (weight * slope**4).sum()
        units = 400
        wanted = 0.5 * math.log(gain**2 * second) - (3 * fourth - second**2) / second**2 / (4 * units)
        module = with_gain(nn.RNN(units, units, bias=False, dtype=torch.float64), gain)
        with torch.no_grad():
            module.weight_ih_l0.copy_(sigma * torch.eye(units))
        found = lyapunov(recorded(module, 1200)["l0"], k=1)
        assert found.spectrum[0] == pytest.approx(wanted, abs=max(0.02, 3 * found.standard_error[0, 0]))


@pytest.mark.slow
def test_thirty_two_exponents_of_a_large_lstm_over_a_thousand_steps_take_seconds() -> None:
    trace = recorded(nn.LSTM(16, 256, dtype=torch.float64), 1000)["l0"]
    began = time.process_time()
    found = lyapunov(trace, k=32)
    assert time.process_time() - began < 5
    assert found.exponents.shape == (1, 32)
