"""Networks so plain that their gradient over the lag is known without computing it, as torch modules to be measured.

    log |dL/ds_{T-k}| - log |dL/ds_T| = k log rho       rho: what one step does to the gradient; k: the lag

A linear RNN has rho = |eigenvalue| of an orthogonal matrix times a scale; an LSTM or GRU without recurrent weights has
rho = sigma(bias of its forget or keep gate). These are two-line consequences of the formulas in `steps.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from oracles.steps import NO_NUDGE, STEPS, Weights


@dataclass(frozen=True)
class ClosedForm:
    """A module, its input, a loss that reads the last step, and the curve that must come out for every sequence.

    `log_attenuation[state]`, [lag], is log |total dL/ds_{T-k}| - log |total dL/ds_T|; the last lag, k = T, is the
    initial state; -inf is a gradient of exactly zero. `readout` is the gradient that the loss has at the last h.
    """

    kind: str
    module: nn.RNN | nn.LSTM | nn.GRU
    x: Float[Tensor, "time sequence feature"]
    readout: Float[Tensor, "sequence unit"]
    log_attenuation: Mapping[str, Float[np.ndarray, " lag"]]

    def loss(self, output: Float[Tensor, "time sequence unit"]) -> Float[Tensor, ""]:
        return (output[-1] * self.readout).sum()


def permutation_rnn(rho: float, steps: int = 200) -> ClosedForm:
    """A relu RNN whose every pre-activation is positive, so that it is linear, with W_hh = rho * permutation."""
    module = nn.RNN(3, 5, nonlinearity="relu", dtype=torch.float64)
    _set(module, weight_ih=torch.rand(5, 3, generator=_generator(), dtype=torch.float64), bias_ih=0.3, bias_hh=0.0)
    _set(module, weight_hh=rho * torch.eye(5, dtype=torch.float64)[torch.randperm(5, generator=_generator())])
    x = torch.rand(steps, 4, 3, generator=_generator(), dtype=torch.float64)
    return ClosedForm("rnn-relu", module, x, _normal(4, 5), {"h": _line(np.log(rho), steps)})


def orthogonal_rnn(rho: float, steps: int = 200) -> ClosedForm:
    """A tanh RNN without input or bias: it rests at zero, where tanh has slope one, with W_hh = rho * orthogonal."""
    module = nn.RNN(3, 5, dtype=torch.float64)
    orthogonal, _ = torch.linalg.qr(torch.randn(5, 5, generator=_generator(), dtype=torch.float64))
    _set(module, weight_hh=rho * orthogonal, bias_ih=0.0, bias_hh=0.0)
    x = torch.zeros(steps, 4, 3, dtype=torch.float64)
    return ClosedForm("rnn-tanh", module, x, _normal(4, 5), {"h": _line(np.log(rho), steps)})


def forget_gate_alone(bias: float, steps: int = 50) -> ClosedForm:
    """An LSTM without recurrent weights and with a forget gate that sees no input.

    The cell's gradient falls by sigma(bias) per step (bias 1, lag 20: 1.901269e-3); none reaches any h but the last.
    """
    module = nn.LSTM(3, 5, dtype=torch.float64)
    _set(module, weight_ih=torch.randn(20, 3, generator=_generator(), dtype=torch.float64), weight_hh=0.0, bias_hh=0.0)
    with torch.no_grad():
        module.get_parameter("weight_ih_l0")[5:10] = 0.0
        module.get_parameter("bias_ih_l0")[5:10] = bias
    cut = np.where(np.arange(steps + 1) == 0, 0.0, -np.inf)
    curves = {"c": _line(_log_sigmoid(bias), steps), "h": cut}
    return ClosedForm("lstm", module, _normal(steps, 4, 3), _normal(4, 5), curves)


def keep_gate_alone(bias: float, steps: int = 50) -> ClosedForm:
    """A GRU without recurrent weights whose update gate sees no input; torch's z keeps: rho = sigma(bias)."""
    module = nn.GRU(3, 5, dtype=torch.float64)
    _set(module, weight_ih=torch.randn(15, 3, generator=_generator(), dtype=torch.float64), weight_hh=0.0)
    with torch.no_grad():
        module.get_parameter("weight_ih_l0")[5:10] = 0.0
        module.get_parameter("bias_ih_l0")[5:10] = bias
        module.get_parameter("bias_hh_l0")[5:10] = 0.0
    return ClosedForm("gru", module, _normal(steps, 4, 3), _normal(4, 5), {"h": _line(_log_sigmoid(bias), steps)})


def halving_rnn(steps: int = 1000) -> ClosedForm:
    """A float32 relu RNN that halves each unit's gradient, exactly, at each step: float32 has none left at lag 150.

    Its loss is the sum of the last state, so that every unit's gradient at lag k is 2**-k.
    """
    module = nn.RNN(3, 4, nonlinearity="relu")
    _set(module, weight_ih=1.0, weight_hh=0.5 * torch.eye(4), bias_ih=0.3, bias_hh=0.0)
    x = torch.rand(steps, 2, 3, generator=_generator())
    return ClosedForm("rnn-relu", module, x, torch.ones(2, 4), {"h": _line(np.log(0.5), steps)})


def plain_loop_adjoints(form: ClosedForm) -> Float[Tensor, "lag sequence unit"]:
    """dL/dh by a plain autograd loop over a relu nn.RNN in the module's own dtype, with the underflow it brings."""
    w = {name.removesuffix("_l0"): tensor.detach() for name, tensor in form.module.named_parameters()}
    h = torch.zeros(form.x.shape[1], w["weight_hh"].shape[1], dtype=form.x.dtype, requires_grad=True)
    states = [h]
    for x in form.x:
        h = torch.relu(x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"])
        states.append(h)
    return torch.stack(torch.autograd.grad(form.loss(torch.stack(states[1:])), states)).flip(0)


def first_underflows(magnitudes: Float[Tensor, " lag"]) -> tuple[int, int]:
    """The first lag at which a float32 magnitude is below the normal numbers, and the first at which it is zero."""
    below, zero = magnitudes < torch.finfo(torch.float32).smallest_normal, magnitudes == 0
    return int(below.nonzero()[0]), int(zero.nonzero()[0])


@dataclass(frozen=True)
class StepContributions:
    """What each step of each sequence adds to the gradient of each parameter, held in full.

    `contributions[parameter]` is [time, sequence, *shape of the parameter], under torch's names without the suffix _l0.
    """

    kind: str
    module: nn.RNN | nn.LSTM | nn.GRU
    x: Float[Tensor, "time sequence feature"]
    contributions: Mapping[str, Tensor]

    def loss(self, output: Float[Tensor, "time sequence unit"]) -> Float[Tensor, ""]:
        return (output * _normal(*output.shape).to(output)).sum()

    def norm(self, parameter: str) -> Float[Tensor, "time sequence"]:
        return self.contributions[parameter].flatten(2).norm(dim=2)


def step_contributions(kind: str, module: nn.RNN | nn.LSTM | nn.GRU) -> StepContributions:
    """By autograd, with weights of its own for every step of every sequence; for one float64 layer in one direction."""
    steps, sequences = 6, 3
    x = _normal(steps, sequences, module.input_size)
    names = [name.removesuffix("_l0") for name, _ in module.named_parameters()]
    copies = [
        [
            {name: getattr(module, name + "_l0").detach().clone().requires_grad_() for name in names}
            for _ in range(sequences)
        ]
        for _ in range(steps)
    ]
    outputs = []
    for sequence in range(sequences):
        states = {"h": torch.zeros(1, module.proj_size or module.hidden_size, dtype=torch.float64)}
        if kind == "lstm":
            states["c"] = torch.zeros(1, module.hidden_size, dtype=torch.float64)
        output = []
        for step in range(steps):
            weights = Weights.of(kind, copies[step][sequence])
            states = STEPS[kind](weights, x[step, sequence : sequence + 1], states, NO_NUDGE).states
            output.append(states["h"])
        outputs.append(torch.cat(output))

    StepContributions(kind, module, x, {}).loss(torch.stack(outputs, dim=1)).backward()
    contributions = {
        name: torch.stack([torch.stack([copies[t][b][name].grad for b in range(sequences)]) for t in range(steps)])
        for name in names
    }
    return StepContributions(kind, module, x, contributions)


def _set(module: nn.Module, **values: Tensor | float) -> None:
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name + "_l0").copy_(torch.as_tensor(value))


def _line(rate: float, steps: int) -> Float[np.ndarray, " lag"]:
    return rate * np.arange(steps + 1)


def _log_sigmoid(a: float) -> float:
    return float(-np.log1p(np.exp(-a)))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator(), dtype=torch.float64)
