"""The truncation curve against torch itself, run to the cut, detached there, and run on; and against a closed form."""

import math
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.measures import MEASURES, partial_sums
from gatescope.measures.truncation import Truncation, adaptive_length, truncation
from gatescope.recording.recorder import Recorder
from oracles import halving_rnn
from problems import KINDS, Problem

STACKS = [
    Problem(kind, layers=2, layout="packed-unsorted", given_initial=True, proj_size=2 if kind == "lstm-proj" else 0)
    for kind in KINDS
]
BOTH_WAYS = [
    Problem(kind, bidirectional=True, layout="packed-sorted", proj_size=2 if kind == "lstm-proj" else 0)
    for kind in KINDS
]
LOSS = "the final states, weighted"


def final_states(h_n: Tensor, c_n: Tensor | None = None) -> Tensor:
    """[sequence]; read at each sequence's last processed step."""
    weighted = [
        state * torch.linspace(-1, 2, state[:, 0].numel(), dtype=torch.float64).view(len(state), 1, -1)
        for state in (h_n, c_n)
        if state is not None
    ]
    return sum((one.sum((0, 2)) for one in weighted), torch.zeros(()))


def measured(problem: Problem) -> dict[str, Truncation]:
    module = problem.module()
    with Recorder(module) as rec:
        _, states = problem.call(module)
        final_states(*(states if isinstance(states, tuple) else (states,))).sum().backward()
    return {name: truncation(adjoint, loss=LOSS) for name, adjoint in rec.adjoints.items()}


def detached(problem: Problem, layer: str, sequence: int, steps: int) -> Tensor:
    """The gradient of a layer's parameters when torch's own kernel has the state detached `steps` before the end."""
    module, reverse = problem.module(), layer.endswith("_reverse")
    weights = {name: values for name, values in module.state_dict().items() if name.endswith("_reverse") == reverse}
    one_way = replace(problem, bidirectional=False).module()
    one_way.load_state_dict({name.removesuffix("_reverse"): values for name, values in weights.items()})
    x = problem.input()[: int(problem.lengths()[sequence]), sequence : sequence + 1]
    x = x.flip(0) if reverse else x
    given = problem.initial()
    states = None
    if given is not None:
        states = tuple(s[:, sequence : sequence + 1] for s in (given if isinstance(given, tuple) else (given,)))
    cut = len(x) - steps
    if cut:
        _, after = one_way(x[:cut], _as_torch_has_it(states))
        states = tuple(s.detach() for s in (after if isinstance(after, tuple) else (after,)))
    ends = one_way(x[cut:], _as_torch_has_it(states))[1]
    both = problem.layers * (2 if problem.bidirectional else 1)
    ends = [_in_row(s, both, int(reverse)) if problem.bidirectional else s for s in _each(ends)]
    final_states(*ends).sum().backward()
    named = dict(one_way.named_parameters())
    own = [name for name in named if name.endswith(layer.removesuffix("_reverse"))]
    return torch.cat([named[name].grad.flatten() for name in own])


def _as_torch_has_it(states: tuple[Tensor, ...] | None) -> Tensor | tuple[Tensor, ...] | None:
    return states[0] if states is not None and len(states) == 1 else states


def _each(states: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)


def _in_row(state: Tensor, rows: int, row: int) -> Tensor:
    """The same state where a bidirectional module has it, zero for the other direction."""
    return torch.cat([state if k == row else torch.zeros_like(state) for k in range(rows)])


def steady(a: float, steps: int) -> Truncation:
    """h = a h + 1 at rest, h = 1 / (1 − a): what lag k adds is a^k of what lag 0 adds, for every parameter."""
    module = nn.RNN(1, 1, nonlinearity="relu", dtype=torch.float64)
    for name, value in {"weight_ih": 1.0, "weight_hh": a, "bias_ih": 0.0, "bias_hh": 0.0}.items():
        nn.init.constant_(module.get_parameter(f"{name}_l0"), value)
    rest = torch.full((1, 2, 1), 1 / (1 - a), dtype=torch.float64)
    with Recorder(module) as rec:
        module(torch.ones(steps, 2, 1, dtype=torch.float64), rest)[0][-1].sum().backward()
    return truncation(rec.adjoints["l0"], loss="the last state")


def test_it_is_listed_among_the_measures() -> None:
    assert Truncation in MEASURES


@pytest.mark.parametrize("forming", [0, math.inf], ids=["formed", "by-gram"])
@pytest.mark.parametrize("problem", STACKS + BOTH_WAYS, ids=str)
def test_every_truncation_is_what_torch_gives_with_a_real_detach(
    problem: Problem, forming: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_sums, "_FORMING", forming)
    for name, found in measured(problem).items():
        lengths = problem.lengths().tolist()
        summed = [torch.zeros(()) for _ in range(max(lengths) + 1)]
        for sequence, length in enumerate(lengths):
            truncated = [torch.zeros(()), *(detached(problem, name, sequence, k) for k in range(1, length + 1))]
            g = truncated[-1]
            assert found.log_norm[sequence] == pytest.approx(math.log(g.norm()), abs=1e-10)
            for k in range(length + 1):
                bias = (g - truncated[k]).norm() / g.norm()
                assert found.relative_bias[sequence, k] == pytest.approx(float(bias), rel=1e-10, abs=1e-15)
            for k in range(1, length + 1):
                cosine = torch.cosine_similarity(g, truncated[k], dim=0)
                assert found.cosine[sequence, k] == pytest.approx(float(cosine), abs=1e-10)
                added = (truncated[k] - truncated[k - 1]).norm()
                assert np.exp(found.log_step[sequence, k - 1]) == pytest.approx(float(added), rel=1e-10, abs=1e-14)
            assert np.isnan(found.log_bias[sequence, length + 1 :]).all()
            summed = [total + truncated[min(k, length)] for k, total in enumerate(summed)]
        g = summed[-1]
        for k, g_k in enumerate(summed):
            assert found.relative_bias_of_sum[k] == pytest.approx(
                float((g - g_k).norm() / g.norm()), abs=1e-14, rel=1e-10
            )
            assert np.exp(found.log_truncated_of_sum[k]) == pytest.approx(float(g_k.norm()), rel=1e-10)


def test_the_parameters_of_a_projection_are_counted() -> None:
    problem = Problem("lstm-proj", proj_size=2)
    assert measured(problem)["l0"].parameters == ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    assert measured(Problem("gru", bias=False))["l0"].parameters == ("weight_ih", "weight_hh")


@pytest.mark.parametrize(("a", "wanted"), [(0.5, 4), (0.9, 22), (0.98, 114)])
def test_at_rest_the_bias_falls_by_the_weight_at_every_step(a: float, wanted: int) -> None:
    found = steady(a, steps=1500)
    for log_bias in (*found.log_bias, found.log_bias_of_sum):
        np.testing.assert_allclose(log_bias[:300], math.log(a) * np.arange(300), rtol=0, atol=1e-6)
    assert found.steps_for(0.1).tolist() == [wanted, wanted]
    assert found.steps_for_sum(0.1) == wanted


def test_a_bias_too_small_to_be_a_number_is_one() -> None:
    form = halving_rnn(1500)
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    found = truncation(rec.adjoints["l0"], loss="the last state")
    wanted = math.log(0.5)
    np.testing.assert_allclose(np.diff(found.log_bias[:, 100:1400]).mean(1), wanted, atol=1e-3)
    assert (found.log_bias[:, 1400] < -900).all()
    assert found.log_bias_of_sum[1400] < -900
    assert found.log_bias[:, 1500].tolist() == [-np.inf] * 2


def test_the_adaptive_rule_is_exact_where_the_fall_is_geometric() -> None:
    found = steady(0.9, steps=1000)
    rule = adaptive_length(found, 0.1, tau=5)
    truth = np.exp(found.log_norm_of_sum + found.log_bias_of_sum) / 2
    assert rule.beta == pytest.approx(0.9, abs=1e-9)
    np.testing.assert_allclose(rule.bound[:200], truth[:200], rtol=1e-9)
    assert rule.least_norm == pytest.approx(float(truth[0]), rel=1e-9)
    assert rule.steps == 22


def test_the_adaptive_bound_is_never_below_the_bias_and_loosens_with_beta() -> None:
    problem = replace(Problem("lstm", layout="packed-unsorted"), time=40)
    found = measured(problem)["l0"]
    truth = np.exp(found.log_norm_of_sum + found.log_bias_of_sum) / found.n
    for tau, beta in product((0, 5, 20), (None, 0.95)):
        rule = adaptive_length(found, 0.1, tau=tau, beta=beta)
        assert (rule.bound >= truth * (1 - 1e-12)).all()
        assert rule.least_norm <= truth[0]
        assert rule.steps is None or found.relative_bias_of_sum[rule.steps] < 0.1
    by_hand = np.exp(np.where(np.isnan(found.log_step), -np.inf, found.log_step)).mean(0)
    rule = adaptive_length(found, 0.1, tau=5, beta=0.95)
    assert rule.bound[2] == pytest.approx(by_hand[2:5].sum() + by_hand[5] / 0.05)
    assert rule.bound[7] == pytest.approx(by_hand[5] * 0.95**2 / 0.05)


@pytest.mark.parametrize("beta", [1.0, 1.05])
def test_nothing_is_bounded_where_the_contributions_do_not_fall(beta: float) -> None:
    rule = adaptive_length(steady(0.9, steps=50), 0.1, tau=5, beta=beta)
    assert np.isinf(rule.bound).all()
    assert rule.steps is None


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    found = steady(0.5, steps=10)
    with pytest.raises(InputError, match="choose one from 0 to 8"):
        adaptive_length(found, 0.1, tau=9)
    with pytest.raises(InputError, match="a factor above 0"):
        adaptive_length(found, 0.1, tau=1, beta=0.0)
    with pytest.raises(InputError, match="choose one above 0"):
        found.steps_for(0.0)


def test_a_sequence_without_any_gradient_has_no_bias_and_no_length() -> None:
    module = nn.GRU(3, 4, dtype=torch.float64)
    with Recorder(module) as rec:
        (module(torch.randn(5, 2, 3, dtype=torch.float64))[0][-1] * torch.tensor([[0.0], [1.0]])).sum().backward()
    found = truncation(rec.adjoints["l0"], loss="the last state of the second sequence")
    assert found.log_norm[0] == -np.inf
    assert np.isnan(found.log_bias[0]).all()
    assert np.isnan(found.cosine[0]).all()
    assert found.steps_for(0.1)[0] == -1
    np.testing.assert_allclose(found.log_bias[1], found.log_bias_of_sum, atol=1e-12)


def test_its_table_has_a_row_for_every_number_and_says_what_it_is_of() -> None:
    found = measured(Problem("gru", bidirectional=True, layout="packed-unsorted"))["l0_reverse"]  # lengths 1, 7, 4
    frame = found.to_frame()
    columns = ["layer", "direction", "measure", "quantity", "window", "sequence", "value", "unit"]
    assert list(frame.columns) == columns
    assert len(frame) == 2 * (2 + 8 + 5 + 8) + 3 + 1 + 1
    assert set(frame["direction"]) == {"reverse"}
    assert (found.layer, found.cell, found.loss, found.n) == ("l0_reverse", "gru", LOSS, 3)
    row = frame[(frame.quantity == "log bias") & (frame.sequence == 2) & (frame.window == 3)]
    assert row["value"].item() == found.log_bias[2, 3]
    row = frame[(frame.quantity == "cosine") & frame.sequence.isna() & (frame.window == 3)]
    assert row["value"].item() == found.cosine_of_sum[3]
    needed = frame[frame.quantity == "steps for bias 0.1"]
    assert needed["value"].tolist() == [*found.steps_for(0.1), found.steps_for_sum(0.1)]
    (by_rule,) = frame["value"][frame.quantity == "adaptive steps for bias 0.1"]
    assert by_rule == found.adaptive.steps or (math.isnan(by_rule) and found.adaptive.steps is None)


def test_the_adaptive_rule_stands_beside_the_number_of_steps_that_was_found() -> None:
    found = steady(0.9, steps=1000)
    assert (found.adaptive.bias, found.adaptive.tau, found.adaptive.steps) == (0.1, 500, 22)
    assert steady(0.5, steps=2).adaptive.tau == 0
    assert steady(0.5, steps=1).adaptive is None


@pytest.mark.parametrize("grows", [3.0, 1e30])
def test_the_adaptive_rule_bounds_nothing_that_explodes_and_is_silent(grows: float) -> None:
    module = nn.RNN(1, 1, nonlinearity="relu", bias=False, dtype=torch.float64)
    nn.init.constant_(module.weight_ih_l0, 1e-200)
    nn.init.constant_(module.weight_hh_l0, grows)
    with Recorder(module) as rec:
        module(torch.ones(12, 2, 1, dtype=torch.float64))[0][-1].sum().backward()
    with warnings.catch_warnings(action="error"):
        assert truncation(rec.adjoints["l0"], loss="the last state").adaptive.steps is None
