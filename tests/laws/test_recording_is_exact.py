"""The law of the recorder: whatever the call, its gates, states and gradients are those of an unrolled loop."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import gatescope as gs
from oracles import true_adjoints
from problems import LOSSES, PROBLEMS, Problem

GATES_TOLERANCE = 1e-12  # float64 sums in another order
ADJOINT_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}  # relative to the largest adjoint of the layer


def recorded(problem: Problem, loss: str | None = None) -> gs.Recorder:
    module = problem.module()
    with gs.Recorder(module) as rec:
        output, states = problem.call(module)
        if loss is not None:
            problem.loss(loss, output, states).backward()
    return rec


def error(ours: Tensor, truth: Tensor, scale: float) -> float:
    return float((ours.double() - truth).abs().max()) / scale


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_every_gate_and_state_is_that_of_the_unrolled_loop(problem: Problem) -> None:
    truth = problem.unrolled()
    traces = recorded(problem).traces
    assert list(traces) == list(truth.layers)
    for name, trace in traces.items():
        run = truth.layers[name]
        assert trace.residual < GATES_TOLERANCE
        assert torch.equal(trace.valid, truth.valid)
        for gate in trace.layer.cell.gates:
            assert error(trace.gates[gate], run.gates[gate], 1) < GATES_TOLERANCE, gate
        for state, values in trace.states.items():
            assert error(values, run.states[state], 1) < GATES_TOLERANCE, state
            assert error(trace.previous[state], run.previous[state] * truth.valid[..., None], 1) < GATES_TOLERANCE, (
                state
            )
            assert error(trace.initial[state], run.initial[state], 1) < GATES_TOLERANCE, state
        for block, values in trace.preactivations.items():
            if block in run.preactivations:
                assert error(values, run.preactivations[block], 1) < GATES_TOLERANCE * 10, block


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_every_adjoint_is_that_of_autograd_in_the_unrolled_loop(problem: Problem, loss: str) -> None:
    assert_adjoints_agree(problem, loss)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_in_float32_it_is_so_to_five_digits(problem: Problem, loss: str) -> None:
    assert_adjoints_agree(replace(problem, dtype=torch.float32), loss)


def assert_adjoints_agree(problem: Problem, loss: str) -> None:
    run = problem.unrolled()
    truth = true_adjoints(run, LOSSES[loss](run.output, run.states, run.lengths))
    adjoints = recorded(problem, loss).adjoints
    assert list(adjoints) == list(truth)
    tolerance = ADJOINT_TOLERANCE[problem.dtype]
    for name, adjoint in adjoints.items():
        scale = max(float(values.abs().max()) for part in truth[name].values() for values in part.values()) or 1.0
        for part in ("total", "state", "preactivations", "initial"):
            ours = getattr(adjoint, part)
            assert set(ours) == set(truth[name][part]) or problem.cell.startswith("rnn"), part
            for key, values in ours.items():
                wanted = truth[name][part].get(key, next(iter(truth[name][part].values())))
                assert error(values, wanted, scale) < tolerance, (name, part, key)


@pytest.mark.parametrize("layout", ["batched", "packed-unsorted"])
@pytest.mark.parametrize("kind", ["rnn-tanh", "rnn-relu", "lstm", "lstm-proj", "gru"])
def test_sequences_longer_than_a_block_of_time_are_replayed_without_a_seam(kind: str, layout: str) -> None:
    proj_size = 2 if kind == "lstm-proj" else 0
    problem = Problem(kind, layout=layout, bidirectional=True, time=83, proj_size=proj_size)
    truth = problem.unrolled()
    for name, trace in recorded(problem).traces.items():
        run = truth.layers[name]
        for quantity, values in {**run.gates, **run.states}.items():
            ours = trace.gates[quantity] if quantity in trace.gates else trace.states[quantity]
            assert error(ours, values.detach(), 1) < GATES_TOLERANCE, quantity
