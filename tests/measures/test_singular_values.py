"""Singular values of Jacobian products, against products by autograd and against what random directions feel."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.errors import InputError
from gatescope.measures import MEASURES
from gatescope.measures.lag_curve import lag_curve
from gatescope.measures.singular_values import SingularValues, singular_values
from gatescope.recording.recorder import Recorder
from gatescope.trace import Trace
from oracles import NO_NUDGE, STEPS, Weights, halving_rnn, orthogonal_rnn, permutation_rnn
from problems import Problem


def recorded(module: nn.RNNBase, steps: int = 12, sequences: int = 3) -> Trace:
    with Recorder(module) as rec:
        module(torch.randn(steps, sequences, module.input_size, dtype=torch.float64))
    return rec.traces["l0"]


def test_it_is_listed_among_the_measures() -> None:
    assert SingularValues in MEASURES


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
@pytest.mark.parametrize("name", ["l0", "l0_reverse"])
def test_every_lag_is_that_of_the_whole_derivative_over_the_lag_by_autograd(kind: str, name: str) -> None:
    problem = Problem(kind, bidirectional=True, layout="packed-unsorted", batch=3, time=5, given_initial=True)
    module = problem.module()
    with Recorder(module) as rec:
        problem.call(module)
    trace = rec.traces[name]
    found = singular_values(trace, range(6), sequences=[0, 1, 2])
    weights, sizes = Weights.of(kind, trace.layer.weights), trace.layer.state_sizes
    for sequence, length in enumerate(trace.lengths.tolist()):
        times = list(range(length)) if name == "l0" else list(reversed(range(length)))
        for lag in range(1, length + 1):
            last = times[length - lag :]

            def over_the_lag(flat: torch.Tensor, last: list[int] = last, sequence: int = sequence) -> torch.Tensor:
                states = dict(zip(sizes, flat[None].split(list(sizes.values()), -1), strict=True))
                for t in last:
                    states = STEPS[kind](weights, trace.x[t, sequence][None], states, NO_NUDGE).states
                return torch.cat([states[name] for name in sizes], -1)[0]

            start = torch.cat([trace.previous[name][last[0], sequence] for name in sizes])
            matrix = torch.func.jacrev(over_the_lag)(start)
            assert found.largest[sequence, lag] == pytest.approx(
                float(torch.linalg.svdvals(matrix)[0].log()), abs=1e-10
            )
            assert found.rms[sequence, lag] == pytest.approx(
                float(matrix.norm().log()) - math.log(len(matrix)) / 2, abs=1e-10
            )
        assert np.isnan(found.largest[sequence, length + 1 :]).all()


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.1])
def test_a_multiple_of_an_orthogonal_matrix_stretches_every_direction_alike(rho: float) -> None:
    for form in (permutation_rnn(rho), orthogonal_rnn(rho)):
        with Recorder(form.module) as rec:
            form.module(form.x)
        found = singular_values(rec.traces["l0"])
        assert found.n == 4
        np.testing.assert_allclose(found.largest, np.tile(found.lags * math.log(rho), (4, 1)), rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.rms, found.largest, rtol=0, atol=1e-10)


def test_no_loss_is_stretched_by_more_and_random_ones_by_the_root_mean_square() -> None:
    module = nn.LSTM(3, 24, dtype=torch.float64)
    x = torch.randn(40, 1, 3, dtype=torch.float64)
    attenuations = []
    for _ in range(60):
        with Recorder(module) as rec:
            output, (_, c) = module(x)
            (output[-1] @ torch.randn(24).double() + c[0] @ torch.randn(24).double()).sum().backward()
        attenuations.append(lag_curve(rec.adjoints["l0"], loss="h and c, weighted").log_attenuation()[0])
    felt = np.stack(attenuations)
    found = singular_values(rec.traces["l0"], range(41))
    assert (felt <= found.largest + 1e-9).all()
    assert np.log(np.mean(np.exp(2 * felt), 0)) / 2 == pytest.approx(found.rms[0], abs=0.15)


def test_a_lag_far_beyond_the_smallest_number_has_a_logarithm() -> None:
    form = halving_rnn(1000)
    with Recorder(form.module) as rec:
        form.module(form.x)
    found = singular_values(rec.traces["l0"], [1000])
    assert found.largest == pytest.approx(-1000 * math.log(2), rel=1e-12)


def test_where_nothing_gets_through_it_is_minus_infinity() -> None:
    module = nn.RNN(3, 4, dtype=torch.float64)
    nn.init.zeros_(module.weight_hh_l0)
    found = singular_values(recorded(module), [0, 1, 2])
    assert found.largest[0].tolist() == [0.0, -math.inf, -math.inf]
    assert found.rms[0, 1:].tolist() == [-math.inf, -math.inf]


def test_by_default_it_looks_at_four_sequences_and_at_lags_in_even_ratios() -> None:
    found = singular_values(recorded(nn.GRU(2, 4, dtype=torch.float64), 50, 10))
    assert found.sequences == (0, 3, 6, 9)
    assert found.lags[0] == 1
    assert found.lags[-1] == 50
    assert len(found.lags) <= 16
    assert singular_values(recorded(nn.GRU(2, 4, dtype=torch.float64), 1, 1)).lags.tolist() == [1]


def test_what_the_trace_does_not_have_is_an_error() -> None:
    trace = recorded(nn.GRU(2, 4, dtype=torch.float64))
    with pytest.raises(InputError, match=r"l0: the sequences \[3\] were asked of 3"):
        singular_values(trace, sequences=[3])
    with pytest.raises(InputError, match=r"l0: the lags \[1, 13\] were asked of 12 steps"):
        singular_values(trace, [13, 1])


def test_nobody_can_change_it() -> None:
    found = singular_values(recorded(nn.GRU(2, 4, dtype=torch.float64)))
    for values in (found.largest, found.rms, found.lags):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_its_table_is_tidy() -> None:
    frame = singular_values(recorded(nn.GRU(2, 4, dtype=torch.float64)), [1, 2], sequences=[2, 1]).to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "lag", "sequence", "value", "unit"]
    assert len(frame) == 2 * 2 * 2
    assert frame["sequence"].unique().tolist() == [2, 1]
    assert set(frame["unit"]) == {"nats"}
