"""The closed forms are what an unrolled loop gives, and the steps' contributions sum to torch's gradient."""

import math

import numpy as np
import pytest
import torch

from oracles import (
    affine_adjoints,
    first_underflows,
    forget_gate_alone,
    halving_rnn,
    keep_gate_alone,
    orthogonal_rnn,
    permutation_rnn,
    plain_loop_adjoints,
    step_contributions,
    textbook,
    true_adjoints,
)
from problems import Problem

CLOSED_FORMS = {
    **{f"permutation, rho {rho}": permutation_rnn(rho) for rho in (0.5, 0.9, 1.0, 1.1)},
    **{f"orthogonal, rho {rho}": orthogonal_rnn(rho) for rho in (0.5, 0.9, 1.0, 1.1)},
    **{f"forget gate alone, bias {bias}": forget_gate_alone(bias) for bias in (-1.0, 0.0, 1.0, 5.0)},
    **{f"keep gate alone, bias {bias}": keep_gate_alone(bias) for bias in (-1.0, 0.0, 1.0, 5.0)},
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_autograd_in_an_unrolled_loop_gives_the_closed_form(name: str) -> None:
    form = CLOSED_FORMS[name]
    run = textbook(form.kind, form.module.state_dict(), form.x)
    torch.testing.assert_close(run.output, form.module(form.x)[0], rtol=0, atol=1e-12)
    adjoint = true_adjoints(run, form.loss(run.output))["l0"]
    for state, wanted in form.log_attenuation.items():
        by_lag = torch.cat([adjoint["initial"][state][None], adjoint["total"][state]]).flip(0)
        attenuation = (by_lag.norm(dim=2).log() - by_lag[0].norm(dim=1).log()).numpy()
        np.testing.assert_allclose(attenuation, np.broadcast_to(wanted[:, None], attenuation.shape), rtol=0, atol=1e-10)


def test_a_forget_gate_of_bias_one_lets_two_thousandths_through_after_twenty_steps() -> None:
    assert math.exp(forget_gate_alone(1.0).log_attenuation["c"][20]) == pytest.approx(1.901269e-3, rel=1e-6)
    assert math.exp(keep_gate_alone(1.0).log_attenuation["h"][20]) == pytest.approx(1.901269e-3, rel=1e-6)


def test_a_plain_float32_loop_underflows_at_lag_127_and_is_zero_at_lag_150() -> None:
    """The smallest normal number is 2**-126, the smallest of all 2**-149."""
    form = halving_rnn(200)
    adjoints = plain_loop_adjoints(form)
    for sequence, unit in np.ndindex(*adjoints.shape[1:]):
        assert first_underflows(adjoints[:, sequence, unit]) == (127, 150)


def test_in_float64_the_halving_network_halves() -> None:
    form = halving_rnn(200)
    run = textbook(form.kind, form.module.state_dict(), form.x)
    adjoint = true_adjoints(run, form.loss(run.output))["l0"]["total"]["h"]
    norms = adjoint.flip(0).norm(dim=2).log().numpy()
    np.testing.assert_allclose(norms - norms[0], form.log_attenuation["h"][:-1, None].repeat(2, axis=1), atol=1e-12)


CONTRIBUTORS = {
    "rnn-tanh": Problem("rnn-tanh"),
    "lstm": Problem("lstm"),
    "lstm-proj": Problem("lstm-proj", proj_size=2),
    "gru": Problem("gru"),
}


@pytest.mark.parametrize("name", CONTRIBUTORS)
def test_the_contributions_of_all_steps_sum_to_the_gradient_of_the_fused_kernel(name: str) -> None:
    problem = CONTRIBUTORS[name]
    parts = step_contributions(problem.cell, problem.module())
    parts.loss(parts.module(parts.x)[0]).backward()
    for parameter, tensor in parts.module.named_parameters():
        assert tensor.grad is not None
        total = parts.contributions[parameter.removesuffix("_l0")].sum((0, 1))
        torch.testing.assert_close(total, tensor.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", CONTRIBUTORS)
def test_a_contributions_norm_is_the_product_of_two_vector_norms(name: str) -> None:
    problem = CONTRIBUTORS[name]
    parts = step_contributions(problem.cell, problem.module())
    run = textbook(problem.cell, parts.module.state_dict(), parts.x)
    adjoint = true_adjoints(run, parts.loss(run.output))["l0"]
    layer = run.layers["l0"]
    input_side, hidden_side = (side.norm(dim=2) for side in affine_adjoints(adjoint["preactivations"]))
    products = {
        "weight_ih": input_side * parts.x.norm(dim=2),
        "weight_hh": hidden_side * layer.previous["h"].norm(dim=2),
        "bias_ih": input_side,
        "bias_hh": hidden_side,
    }
    if problem.proj_size:
        m = layer.gates["o"] * layer.states["c"].tanh()
        products["weight_hr"] = adjoint["total"]["h"].norm(dim=2) * m.norm(dim=2)
    assert products.keys() == parts.contributions.keys()
    for parameter, product in products.items():
        torch.testing.assert_close(product, parts.norm(parameter), rtol=1e-10, atol=1e-14)
