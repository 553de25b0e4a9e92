"""The table of problems is as broad as it says."""

from dataclasses import fields, replace
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from oracles import true_adjoints
from problems import KINDS, LOSSES, PROBLEMS, Problem

OPTIONS = [f.name for f in fields(Problem) if len({getattr(problem, f.name) for problem in PROBLEMS}) > 1]


def _pairs(problems: list[Problem], one: str, other: str) -> set[tuple[object, object]]:
    return {(getattr(problem, one), getattr(problem, other)) for problem in problems}


@pytest.mark.parametrize("kind", KINDS)
def test_any_two_options_meet_in_every_combination_of_their_values_for_each_kind(kind: str) -> None:
    problems = [problem for problem in PROBLEMS if problem.kind == kind]
    free = [option for option in OPTIONS if option not in ("kind", "proj_size")]
    assert free == ["layers", "bidirectional", "bias", "batch_first", "layout", "given_initial", "time"]
    for one, other in combinations(free, 2):
        ones, others = ({getattr(problem, option) for problem in problems} for option in (one, other))
        assert len(_pairs(problems, one, other)) == len(ones) * len(others), (one, other)


def test_every_problem_has_a_name_of_its_own() -> None:
    assert len({problem.id for problem in PROBLEMS}) == len(PROBLEMS) == 80


@pytest.mark.parametrize("option", [option for option in (*OPTIONS, "dtype") if option != "proj_size"])
def test_the_name_of_a_problem_tells_each_option(option: str) -> None:
    values = {getattr(problem, option) for problem in PROBLEMS} | ({torch.float32} if option == "dtype" else set())
    assert len({replace(PROBLEMS[0], **{option: value}).id for value in values}) == len(values) > 1


def test_a_problem_is_the_same_at_every_asking_and_leaves_the_global_generator_alone() -> None:
    problem = Problem("lstm", layers=2, given_initial=True)
    before = torch.get_rng_state()
    modules = problem.module(), problem.module()
    inputs = problem.input(), problem.input()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*inputs)
    assert all(torch.equal(*pair) for pair in zip(*(module.parameters() for module in modules), strict=True))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_in_float32_is_the_same_one_rounded(kind: str) -> None:
    problem = Problem(kind, layers=2, given_initial=True, proj_size=2 * (kind == "lstm-proj"))
    rounded = replace(problem, dtype=torch.float32)
    output, states = rounded.time_major(*rounded.call(rounded.module()))
    assert output.dtype == torch.float32
    # A float32 step is good to 6e-8 of numbers of order one, and fourteen of them follow each other.
    torch.testing.assert_close(output.double(), problem.unrolled().output, rtol=0, atol=1e-6)
    loss = rounded.loss("every step", output, states).item()
    assert loss == pytest.approx(problem.loss("every step", *problem.call(problem.module())).item(), rel=1e-5)


def test_unsorted_lengths_need_a_permutation_that_is_not_its_own_inverse() -> None:
    """One that is would hide it if somebody mixed up sorting and unsorting."""
    problem = Problem("gru", layout="packed-unsorted")
    output, _ = problem.call(problem.module())
    assert isinstance(output, PackedSequence)
    assert output.sorted_indices is not None
    assert output.sorted_indices.tolist() == [1, 2, 0]
    assert output.unsorted_indices is not None
    assert output.unsorted_indices.tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("layout", ["batched", "packed-unsorted"])
def test_a_loss_is_the_same_number_whichever_axis_comes_first(name: str, layout: str) -> None:
    plain = Problem("lstm", layers=2, layout=layout)
    other = Problem("lstm", layers=2, layout=layout, batch_first=True)
    assert plain.loss(name, *plain.call(plain.module())).item() == pytest.approx(
        other.loss(name, *other.call(other.module())).item(), rel=1e-13
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_reads_the_steps_that_its_name_says_and_none_after_a_sequences_end(name: str) -> None:
    lengths = Problem("lstm", layout="packed-unsorted").lengths()
    output, states = torch.randn(7, 3, 4, requires_grad=True), torch.randn(1, 3, 4, requires_grad=True)
    at_output, at_states = torch.autograd.grad(
        LOSSES[name](output, states, lengths), [output, states], materialize_grads=True
    )
    time = torch.arange(7)[:, None]
    steps = {"last step": time == lengths - 1, "h_n and c_n": time < 0 * lengths}.get(name, time < lengths)
    assert torch.equal((at_output != 0).any(2), steps)
    assert (at_states != 0).all() == (name == "h_n and c_n")


@pytest.mark.parametrize("problem", [problem for problem in PROBLEMS if problem.time > 1], ids=str)
def test_no_problem_is_so_dull_that_its_first_step_feels_nothing(problem: Problem) -> None:
    run = problem.unrolled()
    loss: Tensor = LOSSES["every step"](run.output, run.states, run.lengths)
    for parts in true_adjoints(run, loss).values():
        assert (parts["total"]["h"][0].abs() > 1e-6).any()
        assert (parts["initial"]["h"].abs() > 1e-6).any()
