"""The lag curve against autograd in an unrolled loop, and against networks whose curve is known by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gatescope.measures import MEASURES
from gatescope.measures.lag_curve import LagCurve, lag_curve
from gatescope.recording.recorder import Recorder
from oracles import ClosedForm, forget_gate_alone, halving_rnn, keep_gate_alone, permutation_rnn, true_adjoints
from problems import LOSSES, PROBLEMS, Problem

CLOSED_FORMS = {
    **{f"linear RNN, factor {rho}": permutation_rnn(rho) for rho in (0.5, 0.9, 1.0, 1.1)},
    **{f"forget gate alone, bias {bias}": forget_gate_alone(bias) for bias in (0.0, 1.0, 5.0)},
    **{f"keep gate alone, bias {bias}": keep_gate_alone(bias) for bias in (0.0, 1.0, 5.0)},
}
RAGGED = [problem for problem in PROBLEMS if problem.layout.startswith("packed") and problem.time > 1]


def measured(form: ClosedForm) -> LagCurve:
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    return lag_curve(rec.adjoints["l0"], loss="the last state, weighted")


def curves_of(problem: Problem, loss: str = "h_n and c_n") -> dict[str, LagCurve]:
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss(loss, *problem.call(module)).backward()
    return {name: lag_curve(adjoint, loss=loss) for name, adjoint in rec.adjoints.items()}


def norms_by_lag(
    at_steps: Float[Tensor, "time sequence _"], initial: Float[Tensor, "sequence _"], problem: Problem, name: str
) -> Float[np.ndarray, "sequence lag"]:
    """One sequence after the other, one step after the other: the last processed step first, the initial state last."""
    lengths = problem.lengths().tolist()
    norms = np.full((len(lengths), max(lengths) + 1), np.nan)
    for sequence, length in enumerate(lengths):
        steps = range(length) if name.endswith("_reverse") else reversed(range(length))
        for lag, step in enumerate(steps):
            norms[sequence, lag] = at_steps[step, sequence].norm()
        norms[sequence, length] = initial[sequence].norm()
    return norms


def test_it_is_listed_among_the_measures() -> None:
    assert LagCurve in MEASURES


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_network_that_can_be_solved_by_hand_gives_its_closed_form_at_every_lag(name: str) -> None:
    form = CLOSED_FORMS[name]
    curve = measured(form)
    for state, wanted in form.log_attenuation.items():
        found = curve.log_attenuation(state)
        np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), rtol=0, atol=1e-10)


def test_a_forget_gate_of_bias_one_leaves_two_thousandths_after_twenty_steps() -> None:
    curve = measured(forget_gate_alone(1.0))
    assert np.exp(curve.log_attenuation("c")[:, 20]) == pytest.approx(1.901269e-3, rel=1e-6)


def test_the_pair_holds_h_fixed_in_the_gradient_of_c() -> None:
    """The loss reads the last h alone: with that held fixed c feels nothing there, though its total gradient does."""
    form = forget_gate_alone(1.0)
    curve = measured(form)
    assert curve.log_norm["pair"][:, 0] == pytest.approx(form.readout.norm(dim=1).log().numpy(), abs=1e-12)
    # One step back h feels nothing and c what the forget gate lets through of the total.
    one_back = curve.log_norm["c"][:, 0] - math.log1p(math.exp(-1))
    assert curve.log_norm["pair"][:, 1] == pytest.approx(one_back, abs=1e-12)


@pytest.mark.parametrize("problem", RAGGED, ids=str)
def test_every_lag_of_every_sequence_is_what_autograd_gives_in_an_unrolled_loop(problem: Problem) -> None:
    run = problem.unrolled()
    truth = true_adjoints(run, LOSSES["h_n and c_n"](run.output, run.states, run.lengths))
    curves = curves_of(problem)
    assert curves.keys() == truth.keys()
    for name, curve in curves.items():
        layer = truth[name]
        for state in layer["total"]:
            wanted = norms_by_lag(layer["total"][state], layer["initial"][state], problem, name)
            np.testing.assert_allclose(np.exp(curve.log_norm[state]), wanted, rtol=1e-10, atol=1e-14)
        pair = torch.cat([*layer["state"].values()], -1), torch.cat([*layer["initial"].values()], -1)
        np.testing.assert_allclose(
            np.exp(curve.log_norm["pair"]), norms_by_lag(*pair, problem, name), rtol=1e-10, atol=1e-14
        )


def test_it_says_what_it_is_of() -> None:
    problem = Problem("lstm", bidirectional=True, batch=2)
    curve = curves_of(problem)["l0_reverse"]
    assert (curve.layer, curve.cell, curve.direction, curve.loss) == ("l0_reverse", "lstm", "reverse", "h_n and c_n")
    assert curve.n == 2
    assert curve.lags.tolist() == list(range(8))
    assert tuple(curve.log_norm) == ("pair", "h", "c")


def test_a_second_call_of_a_module_keeps_its_own_name() -> None:
    module = nn.GRU(3, 4)
    with Recorder(module) as rec:
        (module(torch.randn(5, 2, 3))[0][-1].sum() + module(torch.randn(5, 2, 3))[0][-1].sum()).backward()
    assert lag_curve(rec.adjoints["l0#1"], loss="sum").layer == "l0#1"


def test_lags_that_a_sequence_does_not_have_are_no_numbers_and_no_rows() -> None:
    problem = replace(Problem("gru", layout="packed-unsorted", batch=3), time=7)  # lengths 1, 7, 4
    curve = curves_of(problem)["l0"]
    assert curve.exists.sum(1).tolist() == [2, 8, 5]
    assert np.array_equal(np.isnan(curve.log_norm["pair"]), ~curve.exists)
    frame = curve.to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "lag", "sequence", "value", "unit"]
    assert len(frame) == 2 * (2 + 8 + 5)
    assert not frame["value"].isna().any()
    row = frame[(frame.quantity == "h") & (frame.sequence == 2) & (frame.lag == 4)]
    assert row["value"].item() == curve.log_norm["h"][2, 4]
    assert set(frame["unit"]) == {"nats"}
    assert set(frame["measure"]) == {"lag_curve"}


def test_a_sequence_without_any_gradient_has_no_attenuation() -> None:
    module = nn.RNN(3, 4, dtype=torch.float64)
    with Recorder(module) as rec:
        (module(torch.randn(5, 2, 3, dtype=torch.float64))[0][-1] * torch.tensor([[0.0], [1.0]])).sum().backward()
    curve = lag_curve(rec.adjoints["l0"], loss="the last state of the second sequence")
    assert (curve.log_norm["pair"][0] == -np.inf).all()
    assert np.isnan(curve.log_attenuation()[0]).all()
    assert np.isfinite(curve.log_attenuation()[1]).all()


def test_a_thousand_lags_in_float32_are_numbers() -> None:
    curve = measured(halving_rnn(1000))
    wanted = -math.log(2) * np.arange(1001)
    np.testing.assert_allclose(curve.log_attenuation(), np.broadcast_to(wanted, (2, 1001)), rtol=1e-6, atol=1e-6)


def test_nobody_can_change_it() -> None:
    curve = measured(forget_gate_alone(1.0, steps=5))
    with pytest.raises(ValueError, match="read-only"):
        curve.log_norm["pair"][0, 0] = 0.0
    with pytest.raises(TypeError, match="item assignment"):
        curve.log_norm["h"] = curve.log_norm["c"]  # type: ignore[index]
