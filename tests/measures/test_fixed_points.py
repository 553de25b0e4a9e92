"""Fixed points against maps solved by hand, against where the module itself comes to rest, and in a trained network."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.layers import RecurrentLayer, stack_of
from gatescope.measures import MEASURES
from gatescope.measures.fixed_points import FixedPoints, fixed_points, starts_from
from gatescope.recording.recorder import Recorder
from oracles import NO_NUDGE, STEPS, Weights
from problems import Problem


def layer_of(module: nn.RNNBase) -> RecurrentLayer:
    return stack_of(module)[0][0]


def plain(weight: Tensor, bias: Tensor, nonlinearity: str) -> RecurrentLayer:
    module = nn.RNN(1, len(weight), nonlinearity=nonlinearity, dtype=torch.float64)
    with torch.no_grad():
        module.weight_hh_l0.copy_(weight)
        module.weight_ih_l0.fill_(1.0)
        module.bias_ih_l0.copy_(bias)
        module.bias_hh_l0.zero_()
    return layer_of(module)


ONE, NO_BIAS = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)


def test_it_is_listed_among_the_measures() -> None:
    assert FixedPoints in MEASURES


def test_one_unit_that_doubles_itself_rests_at_two_values_and_leaves_zero() -> None:
    """h = tanh 2h: 0, where the slope is 2, and ±0.957504, where it is 2 (1 − h²)."""
    found = fixed_points(plain(2 * ONE, NO_BIAS, "tanh"), torch.linspace(-1, 1, 40)[:, None])
    assert np.sort(found.points[:, 0]) == pytest.approx([-0.957504, 0, 0.957504], abs=1e-6)
    assert found.stable.tolist() == [True, True, False]
    assert found.unstable_directions.tolist() == [0, 0, 1]
    assert found.eigenvalues[:, 0].real == pytest.approx([2 * (1 - 0.957504**2)] * 2 + [2], abs=1e-5)
    assert found.starts_led_here.sum() == found.starts == 40
    assert (found.speed < 1e-20).all()


def test_a_constant_input_moves_the_points_and_takes_some_away() -> None:
    layer, starts = plain(2 * ONE, NO_BIAS, "tanh"), torch.linspace(-1, 1, 40)[:, None]
    found = fixed_points(layer, starts, torch.ones(1))
    assert found.n == 1
    assert found.points[0, 0] == pytest.approx(math.tanh(2 * found.points[0, 0] + 1), abs=1e-10)
    assert found.x.tolist() == [1.0]
    assert len(found.unfinished_speed) == 40 - found.starts_led_here[0]


def test_a_start_from_which_newton_overshoots_is_led_to_rest_too() -> None:
    """h = tanh(20 h − 10): where the slope of F is nearly zero a whole Newton step goes far astray."""
    found = fixed_points(plain(20 * ONE, -10 * ONE[0], "tanh"), torch.linspace(-1, 1, 401)[:, None])
    assert found.n == 3
    assert found.starts_led_here.sum() == 401


def test_a_linear_network_rests_where_algebra_says() -> None:
    weight, bias = 0.1 * torch.rand(5, 5, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    found = fixed_points(plain(weight, bias, "relu"), torch.rand(8, 5))
    assert found.points == pytest.approx(torch.linalg.solve(torch.eye(5) - weight, bias)[None].numpy(), abs=1e-12)
    assert np.sort_complex(found.eigenvalues[0]) == pytest.approx(np.sort_complex(np.linalg.eigvals(weight.numpy())))


def test_a_state_that_moves_on_forever_has_no_fixed_point() -> None:
    found = fixed_points(plain(ONE, ONE[0], "relu"), torch.rand(3, 1))
    assert found.n == 0
    assert found.unfinished_speed == pytest.approx([0.5] * 3)
    assert found.to_frame().empty


def test_a_point_that_turns_states_around_it_has_a_pair_of_eigenvalues() -> None:
    turn = torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]], dtype=torch.float64)
    found = fixed_points(plain(1.2 * turn, NO_BIAS.repeat(2), "tanh"), 0.01 * torch.randn(4, 2))
    assert np.abs(np.angle(found.eigenvalues[0])) == pytest.approx([1, 1])
    assert found.unstable_directions[0] == 2


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "lstm-proj", "gru"])
def test_attractors_are_where_the_module_comes_to_rest_and_eigenvalues_are_autograds(kind: str) -> None:
    problem = Problem(kind, proj_size=2 if kind == "lstm-proj" else 0)
    module = problem.module()
    x = torch.randn(3, dtype=torch.float64)
    with Recorder(module) as rec:
        module(x.expand(2000, 1, 3))
    trace = rec.traces["l0"]
    rest = torch.cat([states[-1, 0] for states in trace.states.values()])
    found = fixed_points(layer_of(module), starts_from(trace, 20, noise=0.1), x)
    assert found.n == 1
    assert found.points[0] == pytest.approx(rest.numpy(), abs=1e-10)
    assert found.stable.all()

    sizes = trace.layer.state_sizes

    def step(flat: Tensor) -> Tensor:
        states = dict(zip(sizes, flat[None].split(list(sizes.values()), -1), strict=True))
        states = STEPS[problem.cell](Weights.of(problem.cell, trace.layer.weights), x[None], states, NO_NUDGE).states
        return torch.cat([states[name] for name in sizes], -1)[0]

    wanted = torch.linalg.eigvals(torch.func.jacrev(step)(rest))
    assert np.sort(np.abs(found.eigenvalues[0])) == pytest.approx(np.sort(wanted.abs().numpy()), abs=1e-9)


def test_an_lstm_that_latches_remembers_in_its_cell() -> None:
    """Forget gate open by h itself: two attractors of opposite cell state and a saddle between them."""
    module = nn.LSTM(1, 1, dtype=torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.weight_hh_l0[2] = 5.0
        module.bias_ih_l0[0] = module.bias_ih_l0[1] = module.bias_ih_l0[3] = 3.0
    found = fixed_points(layer_of(module), 2 * torch.randn(50, 2))
    assert found.stable.tolist() == [True, True, False]
    assert found.points[0] == pytest.approx(-found.points[1], abs=1e-9)
    assert found.points[2] == pytest.approx([0, 0], abs=1e-9)
    h, c = abs(found.points[0])
    i = 1 / (1 + math.exp(-3))
    assert c == pytest.approx(i * math.tanh(5 * h) / (1 - i), abs=1e-9)


def test_starts_are_states_that_ran_each_once_while_there_are_enough() -> None:
    problem = Problem("lstm", layout="packed-unsorted")
    module = problem.module()
    with Recorder(module) as rec:
        problem.call(module)
    trace = rec.traces["l0"]
    states = torch.cat([trace.states[name][trace.valid] for name in ("h", "c")], -1)
    drawn = starts_from(trace, len(states))
    assert torch.equal(drawn.sort(0).values, states.sort(0).values)
    assert starts_from(trace, 50).shape == (50, 8)
    assert torch.equal(starts_from(trace, 5, seed=1), starts_from(trace, 5, seed=1))
    assert not torch.equal(starts_from(trace, 5, seed=1), starts_from(trace, 5, seed=2))
    assert (starts_from(trace, 5, noise=0.1) - starts_from(trace, 5)).std() == pytest.approx(0.1, rel=0.5)


@pytest.mark.parametrize(
    ("starts", "x", "said"),
    [
        (torch.zeros(2, 3), None, r"starts of shape \[2, 3\]"),
        (torch.zeros(0, 2), None, "at least one state of 2 numbers"),
        (torch.zeros(2, 2), torch.zeros(4), "an input of 1"),
        (torch.full((2, 2), torch.nan), None, "not finite"),
    ],
)
def test_what_is_no_state_of_the_layer_is_an_error(starts: Tensor, x: Tensor | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fixed_points(layer_of(nn.LSTM(1, 1)), starts, x)


def test_nobody_can_change_it() -> None:
    held = torch.zeros(1, dtype=torch.float64)
    found = fixed_points(plain(2 * ONE, NO_BIAS, "tanh"), torch.rand(3, 1), held)
    for values in (found.points, found.eigenvalues, found.speed, found.x):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0.0
    held[0] = 1.0
    assert found.x.tolist() == [0.0]


def test_its_table_is_tidy() -> None:
    frame = fixed_points(plain(2 * ONE, NO_BIAS, "tanh"), torch.linspace(-1, 1, 40)[:, None]).to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "point", "index", "value", "unit"]
    assert len(frame) == 3 * (4 + 3)


def test_a_trained_memory_of_three_bits_has_eight_attractors(real: Path) -> None:
    """The flip-flop network of Golub & Sussillo's fixed-point finder: one attractor for each setting of its bits."""

    class Stub(nn.Module):
        """Stands for the class of that network, which lives in nobody's package."""

    classes = [(Stub, "__main__.FlipFlopNet"), nn.RNN, nn.Linear, set]
    with torch.serialization.safe_globals(classes):
        net = torch.load(real / "checkpoints/fixed_point_finder/flip_flop_net_6.pt", weights_only=True)
    pulse = (torch.rand(64, 100, 3) < 0.1) * torch.randn(64, 100, 3).sign()
    with Recorder(net.rnn_layer) as rec:
        net.rnn_layer(pulse)
    trace = rec.traces["l0"]
    found = fixed_points(trace.layer, starts_from(trace, 1024, noise=0.5))
    assert found.stable.sum() == 8
    bits = net.output_layer(torch.tensor(found.points[found.stable], dtype=torch.float32)).sign()
    assert len(bits.unique(dim=0)) == 8
    # Between them the saddles of a cube: twelve edges, six faces, one centre.
    assert np.bincount(found.unstable_directions)[:4].tolist() == [8, 12, 6, 1]
