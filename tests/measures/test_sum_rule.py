"""What exponents add up to, against the exponents and against determinants by autograd."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.measures.lyapunov import lyapunov
from gatescope.measures.sum_rule import sum_rule
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
