"""What the weights alone say, against matrices whose answer is known and the printed time constants."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.cells import CELLS
from gatescope.errors import InputError
from gatescope.initialisations import forget_bias
from gatescope.layers import RecurrentLayer, stack_of
from gatescope.measures import MEASURES
from gatescope.measures.weights import LayerWeights, weights

PRINTED = {0.0: (0.5, 1.443, 1.0), 1.0: (0.731, 3.192, 2.21), 2.0: (0.881, 7.879, 5.46), 5.0: (0.9933, 148.9, 103.2)}
"""Forget bias, to the gate at rest, its time constant and its half-life in steps."""


def layer_of(module: nn.RNNBase, depth: int = 0, direction: int = 0) -> RecurrentLayer:
    return stack_of(module)[depth][direction]


def test_it_is_listed_among_the_measures() -> None:
    assert LayerWeights in MEASURES


@pytest.mark.parametrize("bias", PRINTED)
@pytest.mark.parametrize(("module", "gate"), [(nn.LSTM(3, 5), "f"), (nn.GRU(3, 5), "z")])
def test_a_forget_bias_has_its_time_constant(module: nn.RNNBase, gate: str, bias: float) -> None:
    forget_bias(module, bias)
    found = weights(layer_of(module))
    opened, constant, half_life = PRINTED[bias]
    assert found.memory_gate == gate
    assert found.open_at_rest == pytest.approx(opened, rel=1e-3)
    assert found.time_constant == pytest.approx(constant, rel=1e-3)
    assert math.log(2) * found.time_constant == pytest.approx(half_life, rel=1e-2)
    assert found.leak_time == pytest.approx(1 / (1 - found.open_at_rest), rel=1e-12)


def test_both_of_torchs_biases_count() -> None:
    module = nn.LSTM(3, 5)
    with torch.no_grad():
        module.bias_ih_l0.fill_(1.0)
        module.bias_hh_l0.fill_(1.0)
    assert weights(layer_of(module)).open_at_rest == pytest.approx(0.8808, abs=1e-4)


def test_a_layer_without_bias_has_half_open_gates() -> None:
    assert weights(layer_of(nn.GRU(3, 5, bias=False))).open_at_rest == pytest.approx(0.5)


def a_matrix_of(singular_values: Tensor) -> Tensor:
    left, right = (torch.linalg.qr(torch.randn(len(singular_values), len(singular_values)).double())[0] for _ in "ab")
    return left @ singular_values.diag() @ right


def test_every_gate_has_the_singular_values_and_the_norm_of_its_own_block() -> None:
    module = nn.LSTM(3, 4, dtype=torch.float64)
    chosen = {gate: torch.tensor([4.0, 3.0, 2.0, 1.0]).double() * scale for scale, gate in enumerate("ifgo", 1)}
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.cat([a_matrix_of(values) for values in chosen.values()]))
        module.weight_ih_l0[4:8].fill_(2.0)
    found = weights(layer_of(module)).blocks
    assert list(found) == ["i", "f", "g", "o"]
    for gate, values in chosen.items():
        assert found[gate].singular_values == pytest.approx(values.numpy(), abs=1e-12)
        assert found[gate].recurrent_norm == pytest.approx(float(values.norm()), abs=1e-12)
    assert found["f"].input_norm == pytest.approx(math.sqrt(12 * 4), abs=1e-12)


def test_the_spectral_radius_is_the_largest_eigenvalue_of_a_matrix_that_is_not_normal() -> None:
    module = nn.RNN(3, 4, dtype=torch.float64)
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.tensor([0.9, -1.2, 0.3, 0.1]).diag() + 5 * torch.ones(4, 4).triu(1))
    found = weights(layer_of(module))
    assert found.blocks["h"].spectral_radius == pytest.approx(1.2, abs=1e-6)
    assert found.blocks["h"].singular_values[0] > 5


def test_under_a_projection_the_loop_goes_through_it() -> None:
    module = nn.LSTM(3, 6, proj_size=2, dtype=torch.float64)
    found = weights(layer_of(module)).blocks["g"]
    through = (module.weight_hh_l0[12:18] @ module.weight_hr_l0).detach().numpy()
    back = (module.weight_hr_l0 @ module.weight_hh_l0[12:18]).detach().numpy()
    assert found.singular_values == pytest.approx(np.linalg.svd(through, compute_uv=False), abs=1e-12)
    assert found.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(back)).max(), abs=1e-12)


def test_no_step_of_a_plain_rnn_stretches_a_gradient_beyond_the_bound() -> None:
    module = nn.RNN(3, 8, dtype=torch.float64)
    bound = weights(layer_of(module)).step_bound
    output, _ = module(torch.randn(2, 1, 3, dtype=torch.float64))
    first = torch.randn(1, 1, 8, dtype=torch.float64, requires_grad=True)
    output, _ = module(torch.randn(1, 5, 3, dtype=torch.float64), first.expand(-1, 5, -1).contiguous())
    felt = torch.autograd.grad(output[0, 0], first, torch.randn(8, dtype=torch.float64).sign())[0]
    assert felt.norm().log() <= bound + 0.5 * math.log(8)


@pytest.mark.parametrize(("units", "largest"), [(64, 1.119), (256, 1.141)])
def test_the_bound_says_nothing_at_torchs_default_initialisation(units: int, largest: float) -> None:
    """2/√3 = 1.155 for infinitely many units: above 1, though gradients vanish by 0.58 a step."""
    bounds = []
    for seed in range(5):
        torch.manual_seed(seed)
        bounds.append(weights(layer_of(nn.RNN(1, units))).step_bound)
    assert np.exp(np.mean(bounds)) == pytest.approx(largest, abs=0.02)


def test_gates_are_not_bounded_by_a_bound_for_plain_networks() -> None:
    assert weights(layer_of(nn.LSTM(3, 4))).step_bound is None
    plain = weights(layer_of(nn.RNN(3, 4)))
    assert plain.memory_gate is plain.open_at_rest is plain.time_constant is plain.leak_time is None


def test_a_bias_so_large_that_the_gate_is_one_still_has_a_time_constant() -> None:
    module = nn.LSTM(3, 4)
    forget_bias(module, 50.0)
    assert weights(layer_of(module)).time_constant == pytest.approx(math.exp(50), rel=1e-6)


def test_every_kind_and_direction_is_read() -> None:
    for depth in stack_of(nn.GRU(3, 4, num_layers=2, bidirectional=True)):
        assert [weights(layer).direction for layer in depth] == ["forward", "reverse"]
    own = RecurrentLayer("l0", CELLS["gru-reset-before"], layer_of(nn.GRU(3, 4)).weights)
    assert weights(own).memory_gate == "z"


def test_weights_that_are_not_finite_are_an_error() -> None:
    module = nn.GRU(3, 4)
    with torch.no_grad():
        module.weight_hh_l0[0, :2] = torch.nan
    with pytest.raises(InputError, match="l0: 2 of the 48 numbers in weight_hh are not finite"):
        weights(layer_of(module))


def test_nobody_can_change_it() -> None:
    block = weights(layer_of(nn.GRU(2, 4))).blocks["z"]
    for values in (block.bias, block.singular_values):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0.0


def test_its_table_is_tidy() -> None:
    frame = weights(layer_of(nn.LSTM(3, 4))).to_frame()
    assert list(frame.columns) == ["layer", "direction", "measure", "quantity", "gate", "index", "value", "unit"]
    assert len(frame) == 4 * (3 + 4 + 4) + 3 * 4
    assert set(frame[frame.quantity == "time constant"]["unit"]) == {"steps"}
    plain = weights(layer_of(nn.RNN(3, 4))).to_frame()
    assert plain[plain.quantity == "step bound"]["unit"].tolist() == ["nats / step"]
