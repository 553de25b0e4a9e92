"""Networks of random weights, recorded, against what the mathematics of infinitely many units says of them.

Near the zero state every gate but the keeping one is 1/2, and a step multiplies the gradient of the memory by

    A = a + b W,   a = f (LSTM), z (GRU), 0 (RNN),   b = i o = (1 − z) r = 1/4, or 1 (RNN),   W: the candidate's block

With independent elements of variance g²/H (torch's own initialisation: g² = 1/3) and H → ∞,

    RMS |Aᵏ v| / |v| = sqrt( Σ_j C(k, j)² a^{2(k−j)} b^{2j} g^{2j} )

Seeds 0 to 19.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.initialisations import forget_bias, orthogonal
from gatescope.measures.lag_curve import LagCurve, lag_curve

SEEDS = range(20)


def expected(k: int, a: float, b: float, g2: float = 1 / 3) -> float:
    """The root mean square of |Aᵏ v| / |v|."""
    return math.sqrt(sum(math.comb(k, j) ** 2 * a ** (2 * (k - j)) * b ** (2 * j) * g2**j for j in range(k + 1)))


def read_at_random(module: nn.RNNBase, x: Tensor) -> LagCurve:
    """Every sequence's last h along a direction of its own."""
    with gs.Recorder(module) as rec:
        output, _ = module(x)
        (output[-1] * torch.randn(output[-1].shape, dtype=output.dtype)).sum().backward()
    return lag_curve(rec.adjoints["l0"], loss="the last h along a random direction")


AT_REST = {
    "rnn": (nn.RNN, "h", (0.0, 1.0), (0.57735, 4.115e-3, 1.694e-5)),
    "lstm": (nn.LSTM, "c", (0.5, 0.25), (0.52042, 5.705e-3, 5.917e-5)),
    "gru": (nn.GRU, "h", (0.5, 0.25), (0.52042, 5.705e-3, 5.917e-5)),
}
"""The memory, a and b, and the closed form at lags 1, 10 and 20."""


@pytest.mark.parametrize("kind", AT_REST)
def test_at_rest_torchs_own_initialisation_forgets_as_the_closed_form_says(kind: str) -> None:
    """256 units, 32 directions; 1, 4 and 15 %: the closed form leaves out terms of the order k²/H."""
    module, memory, (a, b), numbers = AT_REST[kind]
    attenuations = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        network = module(1, 256, dtype=torch.float64)
        nn.init.zeros_(network.bias_ih_l0)
        nn.init.zeros_(network.bias_hh_l0)
        attenuations.append(
            read_at_random(network, torch.zeros(21, 32, 1, dtype=torch.float64)).log_attenuation(memory)
        )
    rms = np.sqrt(np.exp(2 * np.array(attenuations)).mean((0, 1)))
    for lag, number, tolerance in zip((1, 10, 20), numbers, (0.01, 0.04, 0.15), strict=True):
        assert expected(lag, a, b) == pytest.approx(number, rel=5e-4)  # four digits
        assert rms[lag] == pytest.approx(number, rel=tolerance)


def as_torch_draws_it(_: nn.Module) -> None:
    pass


def open_gates(module: nn.Module) -> None:
    forget_bias(module, 1.0)


DRIVEN: dict[str, tuple[Callable[[nn.Module], None], float]] = {
    "as torch draws it": (as_torch_draws_it, -0.4459),
    "forget bias 1": (open_gates, -0.1395),
    "orthogonal recurrent weights": (orthogonal, math.log(0.75)),
}
"""Nats a step between lags 10 and 100 at the zero state, by the formula; for an orthogonal W the largest, ln(a + b)."""


@pytest.mark.parametrize("name", DRIVEN)
def test_an_lstm_driven_by_noise_forgets_nearly_at_the_rate_of_the_zero_state(name: str) -> None:
    """128 units, x ~ N(0, 1); seen -0.446 ± .013, -0.145 ± .008 and -0.295 ± .004 over seeds."""
    initialise, rate = DRIVEN[name]
    rates = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        lstm = nn.LSTM(1, 128, dtype=torch.float64)
        initialise(lstm)
        curve = read_at_random(lstm, torch.randn(121, 16, 1, dtype=torch.float64)).log_attenuation()
        rates.append((curve[:, 100] - curve[:, 10]).mean() / 90)
    assert np.mean(rates) == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize(("forget", "rate"), [(0.5, -0.4459), (1 / (1 + math.exp(-1)), -0.1395)])
def test_the_rates_of_the_zero_state_are_those_of_the_closed_form(forget: float, rate: float) -> None:
    assert math.log(expected(100, forget, 0.25) / expected(10, forget, 0.25)) / 90 == pytest.approx(rate, abs=5e-5)
