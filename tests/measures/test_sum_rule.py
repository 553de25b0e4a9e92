"""What exponents add up to, against the exponents and against determinants by autograd."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.measures import MEASURES
from gatescope.measures.lyapunov import lyapunov
from gatescope.measures.sum_rule import SumRule, check_by_sum_rule, sum_rule
from gatescope.recording.recorder import Recorder
from oracles import NO_NUDGE, STEPS, Weights
from problems import Problem


@pytest.mark.parametrize("module", [nn.RNN, nn.LSTM, nn.GRU])
def test_all_exponents_together_are_the_log_determinant_of_the_steps(module: type[nn.RNNBase]) -> None:
    """24 units with strong recurrent weights, where the exponents are far apart."""
    net = module(2, 24, dtype=torch.float64)
    nn.init.normal_(net.weight_hh_l0, 0, 2.5 / math.sqrt(24))
    with Recorder(net) as rec:
        net(torch.randn(150, 2, 2, dtype=torch.float64))
    found = lyapunov(rec.traces["l0"], k=48, warm_up=30)
    assert found.exponents.shape[1] == found.size
    assert found.exponents.sum(1) == pytest.approx(sum_rule(rec.traces["l0"], warm_up=30), abs=1e-8)
    assert not found.lost.any()


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "lstm-proj", "gru"])
@pytest.mark.parametrize("name", ["l0", "l0_reverse"])
def test_it_is_the_log_determinant_of_autograds_jacobians(kind: str, name: str) -> None:
    size = 2 if kind == "lstm-proj" else 0
    problem = Problem(kind, bidirectional=True, layout="packed-unsorted", time=6, proj_size=size)
    module = problem.module()
    with Recorder(module) as rec:
        problem.call(module)
    trace = rec.traces[name]
    weights, sizes = Weights.of(problem.cell, trace.layer.weights), trace.layer.state_sizes
    for sequence, length in enumerate(trace.lengths.tolist()):
        log_dets = []
        for t in range(length):

            def after(flat: Tensor, t: int = t, sequence: int = sequence) -> Tensor:
                states = dict(zip(sizes, flat[None].split(list(sizes.values()), -1), strict=True))
                moment = STEPS[problem.cell](weights, trace.x[t, sequence][None], states, NO_NUDGE)
                return torch.cat([moment.states[name] for name in sizes], -1)[0]

            before = torch.cat([trace.previous[name][t, sequence] for name in sizes])
            log_dets.append(float(torch.func.jacrev(after)(before).slogdet().logabsdet))
        assert sum_rule(trace)[sequence] == pytest.approx(np.mean(log_dets), abs=1e-9)


def test_a_relu_that_is_off_shrinks_a_volume_to_nothing() -> None:
    module = nn.RNN(2, 6, nonlinearity="relu", dtype=torch.float64)
    with Recorder(module) as rec:
        module(torch.randn(10, 1, 2, dtype=torch.float64))
    assert sum_rule(rec.traces["l0"])[0] == -np.inf


def test_it_is_listed_among_the_measures() -> None:
    assert SumRule in MEASURES


def checked(module: nn.RNNBase, steps: int = 80) -> tuple[SumRule, np.ndarray]:
    """Of the last two of three sequences, and the right side for all three."""
    nn.init.normal_(module.weight_hh_l0, 0, 2.5 / math.sqrt(module.hidden_size))
    with Recorder(module) as rec:
        module(torch.randn(steps, 3, 2, dtype=torch.float64))
    trace = rec.traces["l0"]
    found = lyapunov(trace, k=99, sequences=[1, 2])
    return check_by_sum_rule(found, trace, sequences=[1, 2]), sum_rule(trace, warm_up=found.warm_up)


def test_a_full_spectrum_is_held_against_it_sequence_by_sequence() -> None:
    found, volumes = checked(nn.LSTM(2, 6, dtype=torch.float64))
    assert np.array_equal(found.volumes, volumes[1:])
    assert np.abs(found.difference).max() < 1e-8
    assert found.n == 2
    frame = found.to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "sequence", "value", "unit"]
    assert frame.quantity.unique().tolist() == ["sum of exponents", "log determinant", "difference"]
    assert frame.value.tolist() == [*found.exponents, *found.volumes, *found.difference]


def test_where_both_sides_lose_everything_they_do_not_differ() -> None:
    nothing = np.array([-np.inf])
    assert SumRule("l0", "forward", nothing, nothing).difference.tolist() == [0]
    assert SumRule("l0", "forward", np.array([-3.0]), nothing).difference.tolist() == [np.inf]


def test_a_part_of_a_spectrum_cannot_be_held_against_it() -> None:
    module = nn.GRU(2, 6, dtype=torch.float64)
    with Recorder(module) as rec:
        module(torch.randn(40, 1, 2, dtype=torch.float64))
    trace = rec.traces["l0"]
    with pytest.raises(InputError, match="5 of 6 exponents are there"):
        check_by_sum_rule(lyapunov(trace, k=5), trace)
