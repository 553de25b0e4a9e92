"""A gradient that vanishes or explodes is still a number: the normalised sweep against closed forms and float64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gatescope as gs
from gatescope.dynamics.scaled import Scaled, unit_scale
from oracles import (
    ClosedForm,
    affine_adjoints,
    first_underflows,
    forget_gate_alone,
    halving_rnn,
    keep_gate_alone,
    orthogonal_rnn,
    permutation_rnn,
    plain_loop_adjoints,
    step_contributions,
)

CLOSED_FORMS: list[Callable[[], ClosedForm]] = [
    *(lambda rho=rho: permutation_rnn(rho) for rho in (0.5, 0.9, 1.0, 1.1)),
    *(lambda rho=rho: orthogonal_rnn(rho) for rho in (0.5, 0.9, 1.0, 1.1)),
    *(lambda bias=bias: forget_gate_alone(bias) for bias in (-1.0, 0.0, 1.0, 3.0)),
    *(lambda bias=bias: keep_gate_alone(bias) for bias in (-1.0, 0.0, 1.0, 3.0)),
]


def log_attenuation(form: ClosedForm, state: str) -> np.ndarray:
    """ln |dL/ds_{T-k}| - ln |dL/ds_T|, [sequence, lag], the initial state last."""
    with gs.Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    adjoint = rec.adjoints["l0"]
    by_lag = torch.cat([adjoint.log_norm(state).flip(0), adjoint.log_norm_initial(state)[None]])
    return (by_lag - by_lag[0]).T.numpy()


@pytest.mark.parametrize("build", CLOSED_FORMS)
def test_the_gradient_at_every_lag_is_that_of_the_closed_form(build: Callable[[], ClosedForm]) -> None:
    form = build()
    for state, expected in form.log_attenuation.items():
        for curve in log_attenuation(form, state):
            np.testing.assert_allclose(curve, expected, rtol=0, atol=1e-10)


def test_twenty_steps_through_a_forget_gate_of_bias_one_leave_two_thousandths() -> None:
    curves = log_attenuation(forget_gate_alone(1.0), "c")
    np.testing.assert_allclose(np.exp(curves[:, 20]), 1.901269e-3, rtol=1e-6)


def test_float32_alone_has_nothing_left_at_lag_150_and_the_sweep_is_right_at_lag_1000() -> None:
    form = halving_rnn()
    plain = plain_loop_adjoints(form)
    assert first_underflows(plain[:, 0, 0]) == (127, 150)
    for curve in log_attenuation(form, "h"):
        np.testing.assert_allclose(curve, form.log_attenuation["h"], rtol=1e-6, atol=1e-5)
        assert curve[1000] == pytest.approx(1000 * math.log(0.5), rel=1e-7)


def test_a_loop_over_a_cell_is_followed_below_what_float32_can_carry() -> None:
    """There autograd itself brings the adjoints; it brings digits that are lost from lag 170 on, then zeros."""
    cell = nn.RNNCell(3, 4, nonlinearity="relu")
    with torch.no_grad():
        cell.weight_hh.copy_(0.6 * torch.eye(4))
        cell.weight_ih.fill_(1.0)
        cell.bias_ih.fill_(0.3)
        cell.bias_hh.fill_(0.0)
    with gs.Recorder(cell) as rec:
        h = None
        for x_t in torch.rand(400, 2, 3):
            h = cell(x_t, h)
        h.sum().backward()
    log_norm = rec.adjoints["cell"].log_norm("h").flip(0)
    rate = cell.weight_hh[0, 0].double().log().item()
    expected = torch.arange(400, dtype=torch.float64)[:, None] * rate + math.log(2)
    torch.testing.assert_close(log_norm, expected.expand(-1, 2), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 1.5, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stack_hands_its_scale_down_so_that_a_lower_layer_does_not_lose_it_either(
    gain: float, dtype: torch.dtype
) -> None:
    """Both layers of a linear stack (relu, all positive) shrink or grow by `gain` a step, so the sum is known."""
    module = nn.RNN(2, 2, num_layers=2, nonlinearity="relu", dtype=dtype)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.fill_(0.0 if "bias" in name else 1.0)
            if "weight_hh" in name:
                weight.copy_(gain * torch.eye(2))
    steps = 60 if dtype == torch.float32 else 90
    with gs.Recorder(module) as rec:
        # The forward underflows or overflows as well where it is left to itself; one input a step keeps it in range.
        x = torch.zeros(steps, 1, 2, dtype=dtype)
        x[-1] = 1.0
        if gain > 1:
            x[:] = torch.tensor(gain, dtype=torch.float64).pow(-torch.arange(steps - 1.0, -1, -1.0))[:, None, None]
        module(x)[0][-1].sum().backward()
    adjoint = rec.adjoints["l0"]
    active = torch.stack([values[:, 0].gt(0).all(-1) for values in (rec.traces[n].states["h"] for n in ("l0", "l1"))])
    lags = torch.arange(steps, dtype=torch.float64)
    expected = torch.log(lags + 1) + lags * math.log(gain)  # (k + 1) paths from layer 0 at lag k to the top at lag 0
    measured = adjoint.log_norm("h")[:, 0].flip(0)
    known = active.all(0).flip(0)
    assert known.any()
    offset = measured[0] - expected[0]
    torch.testing.assert_close(measured[known] - offset, expected[known], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
def test_what_one_step_of_one_sequence_adds_to_a_weights_gradient_is_the_product_of_two_norms(kind: str) -> None:
    """|dA_t| |h_{t-1}| is the norm of the rank-one contribution to W_hh, and likewise for W_ih and the biases."""
    module = {"rnn-tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](3, 4, dtype=torch.float64)
    truth = step_contributions(kind, module)
    with gs.Recorder(module) as rec:
        truth.loss(module(truth.x)[0]).backward()
    trace, adjoint = rec.traces["l0"], rec.adjoints["l0"]
    blocks = {name.replace("h", "a") if kind == "rnn-tanh" else name: v for name, v in adjoint.preactivations.items()}
    input_side, hidden_side = affine_adjoints(blocks)
    norms = {
        "weight_ih": input_side.norm(dim=-1) * trace.x.norm(dim=-1),
        "weight_hh": hidden_side.norm(dim=-1) * trace.previous["h"].norm(dim=-1),
        "bias_ih": input_side.norm(dim=-1),
        "bias_hh": hidden_side.norm(dim=-1),
    }
    for parameter, norm in norms.items():
        torch.testing.assert_close(norm, truth.norm(parameter), rtol=1e-10, atol=1e-14)


@given(
    st.lists(st.floats(-45, 38), min_size=2, max_size=2),
    st.lists(st.floats(-400, 400), min_size=2, max_size=2),
    st.integers(0, 2**20),
)
def test_sums_of_vanishing_and_exploding_vectors_are_those_of_exact_arithmetic(
    exponents: list[float], scales: list[float], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [
        Scaled({"h": torch.randn(3, 4, generator=generator) * 10.0**exponent}, torch.full((3,), scale)).renormalised()
        for exponent, scale in zip(exponents, scales, strict=True)
    ]
    total = (parts[0] + parts[1]).renormalised()
    top = max(float(part.log_scale.max()) for part in parts)
    exact = sum(part.normalised["h"].double() * (part.log_scale.double() - top).exp()[:, None] for part in parts)
    ours = total.normalised["h"].double() * (total.log_scale.double() - top).exp()[:, None]
    torch.testing.assert_close(ours, exact, rtol=1e-3, atol=1e-4 * float(exact.norm()))
    torch.testing.assert_close(total.normalised["h"].norm(dim=-1), torch.ones(3))


def test_nothing_has_a_scale_of_minus_infinity_and_adds_nothing() -> None:
    nothing = unit_scale({"h": torch.zeros(2, 3)}).renormalised()
    assert (nothing.log_scale == -torch.inf).all()
    something = Scaled({"h": torch.ones(2, 3)}, torch.full((2,), -500.0)).renormalised()
    total = (nothing + something).renormalised()
    torch.testing.assert_close(total.log_scale, something.log_scale)
    torch.testing.assert_close(total.normalised["h"], something.normalised["h"])
    assert ((nothing + nothing).renormalised().log_scale == -torch.inf).all()
