"""Jacobians and their products against torch.func.jacrev through the textbook's step, for every kind and direction."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import gatescope as gs
from gatescope.cells import CELLS
from gatescope.dynamics.jacobian import linearised, linearised_at, state_size
from gatescope.dynamics.unroll import unroll
from gatescope.errors import GatescopeWarning, InputError
from gatescope.trace import Trace
from oracles import NO_NUDGE, STEPS, Weights
from problems import Problem

KINDS = {
    kind: Problem(kind, bidirectional=True, layout="packed-unsorted", given_initial=True, proj_size=size, time=5)
    for kind, size in {"rnn-tanh": 0, "rnn-relu": 0, "lstm": 0, "lstm-proj": 2, "gru": 0}.items()
}
every_kind = pytest.mark.parametrize("problem", KINDS.values(), ids=KINDS)
every_direction = pytest.mark.parametrize("name", ["l0", "l0_reverse"])


def recorded(problem: Problem) -> dict[str, Trace]:
    module = problem.module()
    with gs.Recorder(module) as rec:
        problem.call(module)
    return dict(rec.traces)


def textbook_jacobian(trace: Trace, step: int, sequence: int) -> Tensor:
    """By autograd, at the states that ran; `step` counts in processing order."""
    kind, weights, sizes = trace.layer.cell.kind, trace.layer.weights, trace.layer.state_sizes
    length = int(trace.lengths[sequence])
    at = step if trace.layer.direction == "forward" else length - 1 - step
    before = torch.cat([trace.previous[name][at, sequence] for name in sizes])

    def after(flat: Tensor) -> Tensor:
        states = dict(zip(sizes, flat[None].split(list(sizes.values()), -1), strict=True))
        moment = STEPS[kind](Weights.of(kind, weights), trace.x[at, sequence][None], states, NO_NUDGE)
        return torch.cat([moment.states[name] for name in sizes], -1)[0]

    return torch.func.jacrev(after)(before)


@every_kind
@every_direction
def test_every_step_of_every_sequence_has_the_jacobian_of_the_textbook(problem: Problem, name: str) -> None:
    trace = recorded(problem)[name]
    jacobians = linearised(trace)
    assert len(jacobians) == trace.lengths.max()
    for step in range(len(jacobians)):
        matrices = jacobians[step].matrix()
        for sequence, length in enumerate(trace.lengths.tolist()):
            ended = torch.eye(state_size(trace.layer), dtype=torch.float64)
            wanted = textbook_jacobian(trace, step, sequence) if step < length else ended
            torch.testing.assert_close(matrices[sequence], wanted, rtol=0, atol=1e-12)


@every_kind
def test_push_and_pull_are_the_jacobian_and_its_transpose(problem: Problem) -> None:
    jacobian = linearised(recorded(problem)["l0"])[2]
    matrices = jacobian.matrix()
    vectors = torch.randn(len(matrices), 3, matrices.shape[1], dtype=torch.float64)
    torch.testing.assert_close(jacobian.push(vectors), vectors @ matrices.mT, rtol=0, atol=1e-12)
    torch.testing.assert_close(jacobian.pull(vectors), vectors @ matrices, rtol=0, atol=1e-12)


@every_kind
@every_direction
def test_the_product_over_a_lag_ends_at_each_sequences_last_step(problem: Problem, name: str) -> None:
    trace = recorded(problem)[name]
    products = [product.normalised["product"] * product.log_scale.exp()[:, None, None] for product in
                linearised(trace).products()]  # fmt: skip
    assert len(products) == trace.lengths.max() + 1
    for sequence, length in enumerate(trace.lengths.tolist()):
        wanted = torch.eye(state_size(trace.layer), dtype=torch.float64)
        for lag in range(length + 1):
            torch.testing.assert_close(products[lag][sequence], wanted, rtol=0, atol=1e-12)
            if lag < length:
                wanted = wanted @ textbook_jacobian(trace, length - 1 - lag, sequence)


def test_some_sequences_alone_have_the_same_jacobians() -> None:
    trace = recorded(KINDS["lstm"])["l0_reverse"]
    some = linearised(trace, [2, 0])
    assert some.lengths.tolist() == trace.lengths[[2, 0]].tolist()
    for step in range(len(some)):
        torch.testing.assert_close(some[step].matrix(), linearised(trace)[step].matrix()[[2, 0]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("sequences", [[], [3], [-1]])
def test_sequences_that_the_trace_does_not_have_are_an_error(sequences: list[int]) -> None:
    with pytest.raises(InputError, match="were asked of 3; choose some from 0 to 2"):
        linearised(recorded(KINDS["lstm"])["l0"], sequences)


def test_a_product_far_below_the_smallest_number_has_a_logarithm() -> None:
    problem = replace(Problem("rnn-tanh", time=400), layout="batched")
    module = problem.module()
    with torch.no_grad():
        module.weight_hh_l0.mul_(1e-3)
    with gs.Recorder(module) as rec:
        problem.call(module)
    *_, last = linearised(rec.traces["l0"]).products()
    assert torch.isfinite(last.log_scale).all()
    assert (last.log_scale < -1000).all()
    assert last.normalised["product"].flatten(1).norm(dim=1).allclose(torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_from_any_state_has_its_jacobian(kind: str) -> None:
    rows = {"rnn-tanh": 1, "rnn-relu": 1, "lstm": 4}.get(kind, 3) * 4
    weights = {
        "weight_ih": torch.randn(rows, 2, dtype=torch.float64),
        "weight_hh": torch.randn(rows, 4, dtype=torch.float64),
    }
    layer = gs.RecurrentLayer("l0", CELLS[kind], weights)
    x, state = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, state_size(layer), dtype=torch.float64)
    after, jacobian = linearised_at(layer, x, state)
    parts = state.split(list(layer.state_sizes.values()), -1)
    initial = dict(zip(layer.state_sizes, (part.contiguous() for part in parts), strict=True))
    trace = unroll(layer, x[None], initial, torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(after, torch.cat([s[0] for s in trace.states.values()], -1), rtol=0, atol=1e-14)
    for sequence, matrix in enumerate(jacobian.matrix()):
        torch.testing.assert_close(matrix, textbook_jacobian(trace, 0, sequence), rtol=0, atol=1e-12)


def test_a_cell_of_ones_own_has_the_same_jacobians_from_its_step_alone() -> None:
    trace = recorded(KINDS["lstm"])["l0"]
    lstm = trace.layer.cell
    by_step = gs.Cell.from_step("own", gates=lstm.gates, memory=lstm.memory, step=lstm.step)
    own = unroll(replace(trace.layer, cell=by_step), trace.x, trace.initial, trace.lengths)
    for ours, theirs in zip(linearised(own).products(), linearised(trace).products(), strict=True):
        torch.testing.assert_close(ours.normalised["product"], theirs.normalised["product"], rtol=0, atol=1e-12)
    for step in range(5):
        torch.testing.assert_close(linearised(own)[step].matrix(), linearised(trace)[step].matrix(), rtol=0, atol=1e-12)


def test_a_float32_trace_is_linearised_in_float64_unless_told_otherwise() -> None:
    trace = recorded(replace(KINDS["gru"], dtype=torch.float32))["l0"]
    assert linearised(trace)[0].matrix().dtype == torch.float64
    assert linearised(trace, dtype=torch.float32)[0].matrix().dtype == torch.float32
    torch.testing.assert_close(
        linearised(trace)[1].matrix(), linearised(trace, dtype=torch.float32)[1].matrix().double(), rtol=0, atol=1e-6
    )


def test_where_a_state_is_not_finite_there_is_no_jacobian_but_there_is_for_other_sequences() -> None:
    module = torch.nn.GRU(2, 3, dtype=torch.float64)
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    x[2, 1, 0] = torch.nan
    with gs.Recorder(module) as rec:
        module(x)
    with pytest.warns(GatescopeWarning):
        trace = rec.traces["l0"]
    with pytest.raises(InputError, match=r"nan at step 2 of sequence 1, .* choose `sequences` that stay finite"):
        linearised(trace)
    assert len(linearised(trace, [0, 2])) == 5
