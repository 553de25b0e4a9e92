"""Networks so plain that their gradient is known by hand, measured as any other.

    log |dL/ds_{T−k}| − log |dL/ds_T| = k ln rho        rho: what one step does to the gradient; k: the lag

A linear RNN has rho = the scale of its orthogonal W_hh; an LSTM or GRU without recurrent weights has
rho = sigmoid(bias of its forget or keep gate). A linear RNN of one unit, with 1 for its input, is a geometric sum.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..measures.fresh_window import fresh_window
from ..measures.lag_curve import LagCurve, lag_curve
from ..recording.recorder import Recorder
from ..trace import Adjoint
from .check import Check, Place, compared

SCALES = (0.5, 0.9, 1.0, 1.1)
BIASES = (-1.0, 0.0, 1.0, 5.0)


def a_linear_rnn(place: Place) -> Check:
    """Its every pre-activation is positive, so that relu is no bend."""

    def attenuation(rho: float) -> np.ndarray:
        rnn = place.module(nn.RNN, 3, 5, _RELU)
        permuted = rho * torch.eye(5, dtype=torch.float64)[[2, 0, 3, 4, 1]]
        _fill(rnn, weight_ih=_draw(5, 3).abs(), weight_hh=permuted, bias_ih=0.3, bias_hh=0.0)
        return _curve(rnn, _draw(200, 4, 3).abs()).log_attenuation("h")

    return _line(
        "a linear RNN: ln rho a step, where W_hh is rho times a permutation",
        [math.log(rho) for rho in SCALES],
        [attenuation(rho) for rho in SCALES],
        place,
    )


def a_resting_rnn(place: Place) -> Check:
    def attenuation(rho: float) -> np.ndarray:
        rnn = place.module(nn.RNN, 3, 5)
        _fill(rnn, weight_ih=1.0, weight_hh=rho * torch.linalg.qr(_draw(5, 5))[0], bias_ih=0.0, bias_hh=0.0)
        return _curve(rnn, torch.zeros(200, 4, 3)).log_attenuation("h")

    return _line(
        "a tanh RNN at rest: ln rho a step, where W_hh is rho times an orthogonal matrix",
        [math.log(rho) for rho in SCALES],
        [attenuation(rho) for rho in SCALES],
        place,
    )


def a_forget_gate_alone(place: Place) -> Check:
    return _line(
        "an LSTM without W_hh: ln sigmoid(b) a step for c, where b is the forget bias",
        [_log_sigmoid(bias) for bias in BIASES],
        [_gate_alone(nn.LSTM, bias, place).log_attenuation("c") for bias in BIASES],
        place,
    )


def a_forget_gate_alone_sends_nothing_through_h(place: Place) -> Check:
    earlier = np.stack([_gate_alone(nn.LSTM, bias, place).log_norm["h"][:, 1:] for bias in BIASES])
    return compared("an LSTM without W_hh: exactly nothing reaches an earlier h", 0.0, np.exp(earlier), 0.0)


def a_keep_gate_alone(place: Place) -> Check:
    return _line(
        "a GRU without W_hh: ln sigmoid(b) a step, where b is the bias of z",
        [_log_sigmoid(bias) for bias in BIASES],
        [_gate_alone(nn.GRU, bias, place).log_attenuation("h") for bias in BIASES],
        place,
    )


def a_window_of_a_scalar_rnn(place: Place) -> Check:
    return compared(
        "h = a h + 1, W steps: dh/da = (1 - a^W - W a^(W-1) (1 - a)) / (1 - a)^2",
        [(1 - a**w - w * a ** (w - 1) * (1 - a)) / (1 - a) ** 2 if a != 1 else w * (w - 1) / 2 for a, w in _WINDOWS],
        [_window(a, w, place)[0] for a, w in _WINDOWS],
        place.within(1e-8, 1e-4),
        relative=True,
    )


def the_start_of_a_window_of_a_scalar_rnn(place: Place) -> Check:
    return compared(
        "h = a h + 1, W steps: dh/dh_0 = a^W",
        [a**w for a, w in _WINDOWS],
        [_window(a, w, place)[1] for a, w in _WINDOWS],
        place.within(1e-8, 1e-4),
        relative=True,
    )


def a_float32_gradient_leaves_the_normal_numbers(place: Place) -> Check:
    felt = _halving(place, 200).total["h"].abs().amax((1, 2))
    first = int((felt >= torch.finfo(torch.float32).smallest_normal).sum())
    return compared("a float32 gradient that halves a step is below the normal numbers from lag 127 on", 127, first, 0)


def a_float32_gradient_is_gone(place: Place) -> Check:
    first = int((_halving(place, 200).total["h"] != 0).any(-1).any(-1).sum())
    return compared("a float32 gradient that halves a step is exactly zero from lag 150 on", 150, first, 0)


def a_gradient_that_float32_has_lost(place: Place) -> Check:
    curve = lag_curve(_halving(place, 1000), loss=_LAST_STEP).log_attenuation("h")
    return compared(
        "a float32 gradient that halves a step has the logarithm -k ln 2 to lag 1000",
        -math.log(2) * np.arange(1001),
        curve,
        1e-6,
        relative=True,
    )


_RELU = {"nonlinearity": "relu"}
_LAST_STEP = "a fixed reading of the last h"
_WINDOWS = ((0.5, 1), (0.5, 20), (0.9, 20), (0.98, 100), (1.0, 100))


def _gate_alone(kind: type[nn.LSTM] | type[nn.GRU], bias: float, place: Place) -> LagCurve:
    """Without recurrent weights; its forget gate, or a GRU's z, in the second rows of both, sees no input."""
    module = place.module(kind, 3, 5)
    weight_ih = _draw(*module.get_parameter("weight_ih_l0").shape)
    bias_ih = torch.zeros(len(weight_ih), dtype=torch.float64)
    weight_ih[5:10], bias_ih[5:10] = 0.0, bias
    _fill(module, weight_ih=weight_ih, weight_hh=0.0, bias_ih=bias_ih, bias_hh=0.0)
    return _curve(module, _draw(50, 4, 3))


def _window(a: float, window: int, place: Place) -> tuple[float, float]:
    """The derivatives with respect to a, and to the state before the window."""
    rnn = place.module(nn.RNN, 1, 1, {**_RELU, "bias": False})
    _fill(rnn, weight_ih=1.0, weight_hh=a)
    rnn.get_parameter("weight_ih_l0").requires_grad_(False)
    x = torch.ones(100, 1, 1, dtype=place.dtype, device=place.device)
    found = fresh_window(rnn, x, None, _last_h, [window], time_dim=0)
    return float(found.parameters["l0"][0]), math.exp(found.initial["l0"][0, 0])


def _last_h(output: tuple[Tensor, Tensor], y: None) -> Tensor:
    return output[0][-1].sum()


def _halving(place: Place, steps: int) -> Adjoint:
    """In float32 on any device: every unit's gradient at lag k is 2^-k, exactly."""
    single = Place(place.device, torch.float32)
    rnn = single.module(nn.RNN, 3, 5, _RELU)
    _fill(rnn, weight_ih=1.0, weight_hh=0.5 * torch.eye(5), bias_ih=0.3, bias_hh=0.0)
    return _adjoint(rnn, _draw(steps, 2, 3).abs(), torch.ones(2, 5))


def _fill(module: nn.RNNBase, **values: Tensor | float) -> None:
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(f"{name}_l0").copy_(torch.as_tensor(value, dtype=torch.float64))


def _curve(module: nn.RNNBase, x: Tensor) -> LagCurve:
    return lag_curve(_adjoint(module, x, _draw(4, 5)), loss=_LAST_STEP)


def _adjoint(module: nn.RNNBase, x: Tensor, reading: Tensor) -> Adjoint:
    with Recorder(module) as rec:
        output, _ = module(x.to(module.get_parameter("weight_hh_l0")))
        (output[-1] * reading.to(output)).sum().backward()
    return rec.adjoints["l0"]


def _line(name: str, rates: Sequence[float], seen: Sequence[np.ndarray], place: Place) -> Check:
    """Of several curves over the lag, each of them a straight line through zero."""
    lag = np.arange(seen[0].shape[1])
    return compared(name, np.multiply.outer(rates, lag)[:, None], np.stack(seen), place.within(1e-10, 1e-3))


def _log_sigmoid(a: float) -> float:
    return -math.log1p(math.exp(-a))


def _draw(*shape: int) -> Tensor:
    """Normal numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
