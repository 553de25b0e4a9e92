"""The zero state of a layer against autograd there, and against the closed form for random weights."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.errors import InputError
from gatescope.layers import RecurrentLayer, stack_of
from gatescope.measures import MEASURES
from gatescope.measures.zero_state import ZeroState, zero_state
from oracles import NO_NUDGE, STEPS, Weights


def measured(module: nn.RNNBase, lags: int = 20) -> ZeroState:
    return zero_state(stack_of(module)[0][0], lags)


def without_candidate_bias(module: nn.RNNBase) -> nn.RNNBase:
    rows = {nn.LSTM: slice(2, 3), nn.GRU: slice(2, 3), nn.RNN: slice(0, 1)}[type(module)]
    h = module.hidden_size
    with torch.no_grad():
        for name in ("bias_ih_l0", "bias_hh_l0"):
            module.get_parameter(name)[rows.start * h : rows.stop * h] = 0
    return module


def memory_jacobian(kind: str, module: nn.RNNBase) -> Tensor:
    """By autograd through the textbook's step: what c (or h) does to the next but one c, along h and along c."""
    weights = Weights.of(kind, {name.removesuffix("_l0"): w.detach() for name, w in module.named_parameters()})
    x = torch.zeros(1, module.input_size, dtype=torch.float64)
    sizes = {"h": module.weight_hh_l0.shape[1]} | ({"c": module.hidden_size} if kind == "lstm" else {})

    def after(flat: Tensor) -> Tensor:
        states = dict(zip(sizes, flat[None].split(list(sizes.values()), -1), strict=True))
        moment = STEPS[kind](weights, x, states, NO_NUDGE)
        return torch.cat([moment.states[name] for name in sizes], -1)[0]

    return torch.func.jacrev(after)(torch.zeros(sum(sizes.values()), dtype=torch.float64))


def test_it_is_listed_among_the_measures() -> None:
    assert ZeroState in MEASURES


@pytest.mark.parametrize("kind", ["rnn-tanh", "gru", "lstm", "lstm-proj"])
def test_its_matrix_has_the_eigenvalues_and_powers_of_the_textbooks_jacobian(kind: str) -> None:
    modules = {"rnn-tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
    cell = kind.removesuffix("-proj")
    projection = {"proj_size": 2} if kind == "lstm-proj" else {}
    module = modules[cell](3, 6, dtype=torch.float64, **projection)
    with torch.no_grad():
        module.weight_hh_l0.mul_(2)
    module = without_candidate_bias(module)
    jacobian = memory_jacobian(cell, module)
    found = measured(module)
    assert found.spectral_radius == pytest.approx(float(torch.linalg.eigvals(jacobian).abs().max()), abs=1e-10)
    if cell == "lstm":
        # The adjoint of c in total: what reaches c_{t−1} from c_t directly, and through h_{t−1} = (o ⊙ c_{t−1}) W_hrᵀ.
        units = len(jacobian) - 6
        gates = module.bias_ih_l0 + module.bias_hh_l0
        o = gates[18:24].sigmoid().detach()
        emitted = o.diag() if kind == "lstm" else module.weight_hr_l0.detach() @ o.diag()
        jacobian = jacobian[units:, units:] + jacobian[units:, :units] @ emitted
    for lag in (0, 1, 2, 7, 20):
        wanted = torch.linalg.matrix_power(jacobian, lag).norm().item() / math.sqrt(len(jacobian))
        assert math.exp(found.log_attenuation[lag]) == pytest.approx(wanted, rel=1e-10)


PUBLISHED = {
    "rnn": (nn.RNN, (0.57735, 4.115e-3, 1.694e-5), 0.5774),
    "lstm": (nn.LSTM, (0.52042, 5.705e-3, 5.917e-5), 0.6443),
    "gru": (nn.GRU, (0.52042, 5.705e-3, 5.917e-5), 0.6443),
}
"""Torch's default initialisation: RMS at lags 1, 10 and 20, and the spectral radius, for infinitely many units."""


@pytest.mark.parametrize("kind", PUBLISHED)
def test_torchs_default_initialisation_forgets_as_the_closed_form_says(kind: str) -> None:
    """256 units, 5 seeds; 1, 4 and 15 % at lags 1, 10, 20: the closed form leaves out terms of order k²/256."""
    module, rms, radius = PUBLISHED[kind]
    curves, predicted, radii = [], [], []
    for seed in range(5):
        torch.manual_seed(seed)
        found = measured(module(1, 256))
        curves.append(np.exp(found.log_attenuation))
        predicted.append(np.exp(found.predicted_log_attenuation))
        radii.append((found.spectral_radius, found.predicted_spectral_radius))
    for lag, value, tolerance in zip((1, 10, 20), rms, (0.01, 0.04, 0.15), strict=True):
        assert np.sqrt(np.mean(np.square(curves), 0))[lag] == pytest.approx(value, rel=tolerance)
        assert np.mean(predicted, 0)[lag] == pytest.approx(value, rel=0.02)
    assert np.mean(radii, 0) == pytest.approx([radius, radius], rel=0.05)


@pytest.mark.parametrize(("bias", "radius"), [(1.0, 0.8754), (2.0, 1.0251)])
def test_an_open_forget_gate_raises_the_radius_and_two_makes_the_zero_state_unstable(
    bias: float, radius: float
) -> None:
    module = nn.LSTM(1, 256)
    gs_bias = {"bias_ih_l0": bias, "bias_hh_l0": 0.0}
    with torch.no_grad():
        for name, value in gs_bias.items():
            module.get_parameter(name).zero_()
            module.get_parameter(name)[256:512] = value
    found = measured(module, 20)
    assert found.predicted_spectral_radius == pytest.approx(radius, abs=2e-3)
    assert found.spectral_radius == pytest.approx(radius, abs=0.02)
    if bias == 1.0:
        assert math.exp(found.predicted_log_attenuation[20]) == pytest.approx(2.9e-2, rel=0.02)


def test_the_reset_gate_may_act_before_the_product() -> None:
    module = without_candidate_bias(nn.GRU(3, 6, dtype=torch.float64))
    layer = RecurrentLayer("l0", gs.CELLS["gru-reset-before"], stack_of(module)[0][0].weights)
    jacobian = memory_jacobian("gru-reset-before", module)
    found = zero_state(layer, 3)
    assert found.spectral_radius == pytest.approx(float(torch.linalg.eigvals(jacobian).abs().max()), abs=1e-10)
    assert math.exp(found.log_attenuation[3]) == pytest.approx(
        torch.linalg.matrix_power(jacobian, 3).norm().item() / math.sqrt(6), rel=1e-10
    )


def test_a_thousand_steps_are_numbers_and_none_at_all_is_minus_infinity() -> None:
    module = nn.RNN(1, 8)
    assert measured(module, 2000).log_attenuation[2000] < -600
    nn.init.zeros_(module.weight_hh_l0)
    found = measured(module, 2)
    assert found.log_attenuation.tolist() == [0.0, -math.inf, -math.inf]
    assert found.predicted_log_attenuation.tolist() == [0.0, -math.inf, -math.inf]


def test_a_cell_of_ones_own_has_gates_that_nobody_knows() -> None:
    own = gs.Cell.from_step("own", gates=("a",), step=lambda w, affine, prev: ({}, prev))
    with pytest.raises(InputError, match="own is not known"):
        zero_state(RecurrentLayer("l0", own, {"weight_ih": torch.ones(4, 1), "weight_hh": torch.ones(4, 4)}))


def test_nobody_can_change_it() -> None:
    found = measured(nn.GRU(2, 4))
    for values in (found.log_attenuation, found.predicted_log_attenuation):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


def test_its_table_is_tidy() -> None:
    frame = measured(nn.GRU(2, 4), 5).to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "lag", "value", "unit"]
    assert len(frame) == 2 + 2 * 6
    assert set(frame["measure"]) == {"zero_state"}
