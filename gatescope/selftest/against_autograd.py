"""Gradients and what is made of them, against autograd in a plain loop: of 24 kinds of stacks, and step by step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..dynamics.adjoint import Arriving, at_input, sweep
from ..measures.contributions import contributions
from ..measures.outer_products import by_lag, outer_products
from ..measures.truncation import truncation
from ..recording.recorder import Recorder
from ..trace import Adjoint
from .check import Check, Place, compared
from .unrolled import Named, Unrolled, loop, unrolled

KINDS: tuple[tuple[type[nn.RNNBase], dict[str, Any]], ...] = (
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.LSTM, {}),
    (nn.LSTM, {"proj_size": 2}),
    (nn.LSTM, {"bias": False}),
    (nn.GRU, {}),
)
STACKS = tuple({"num_layers": layers, "bidirectional": both} for layers in (1, 3) for both in (False, True))


def every_adjoint(place: Place) -> Check:
    return _autograd("dL/dh and dL/dc of every step are autograd's in a plain loop, in 24 stacks", place)


def every_adjoint_in_float32(place: Place) -> Check:
    single = Place(place.device, torch.float32)
    return _autograd("dL/dh and dL/dc of every step are autograd's in a plain loop, in float32", single)


def every_weight_gradient(place: Place) -> Check:
    name = "states, dL/dx and all weights' and biases' gradients are autograd's, in 24 stacks"
    return _autograd(name, place, weights=True)


def every_weight_gradient_in_float32(place: Place) -> Check:
    name = "states, dL/dx and all weights' and biases' gradients are autograd's, in float32"
    return _autograd(name, Place(place.device, torch.float32), weights=True)


def steps_by_themselves(place: Place) -> Check:
    """The norms of `contributions`, without the matrices, against the matrices."""
    errors = []
    for kind, options in KINDS:
        run = _run(kind, options, place)
        found = contributions(run.adjoint, loss="of every step")
        for parameter, parts in run.by_step.items():
            errors.append(_error(np.exp(found.of_step(parameter).T[::-1].copy()), parts.flatten(2).norm(dim=2)))
    return _no_error("what a step adds to a weight's gradient has the norm of autograd's own matrix", errors, place)


def truncated_gradients(place: Place) -> Check:
    """|g - g_K| / |g| of each sequence from inner products, against the sums of the matrices themselves."""
    errors = []
    for kind, options in KINDS:
        run = _run(kind, options, place, last_step=True)
        found = truncation(run.adjoint, loss="of the last step").relative_bias
        flat = torch.cat([parts.flatten(2) for parts in run.by_step.values()], 2).flip(0)
        lost = torch.stack([flat[k:].sum(0).norm(dim=1) for k in range(len(flat) + 1)], 1)
        errors.append(_error(found, lost / lost[:, :1]))
    return _no_error("a gradient cut K steps back is as wrong as the sums of autograd's matrices say", errors, place)


def sources_of_a_loss_at_every_step(place: Place) -> Check:
    """Each step's share of a loss carried back by itself."""
    errors = []
    for kind, options in KINDS:
        run = _run(kind, options, place)
        trace = run.adjoint.trace
        sources = [sweep(trace, Arriving({"h": _only(run.reading, step).to(trace.x)})) for step in range(len(trace.x))]
        alone = [_weight_gradients(source) for source in sources]
        errors += [
            _error(torch.stack([source[name] for source in alone]).sum(0), parts.sum((0, 1)))
            for name, parts in run.by_step.items()
        ]
    name = "gradients of a loss at every step, each carried back alone, add up to autograd's"
    return _no_error(name, errors, place)


def _autograd(name: str, place: Place, *, weights: bool = False) -> Check:
    errors = []
    for kind, options in KINDS:
        for stack in STACKS:
            module, x = _module(kind, {**options, **stack}, place), _draw(6, 2, 3)
            truth = unrolled(module, x.to(place.dtype))
            reading = _draw(*truth.output.shape)
            with Recorder(module) as rec:
                output, _ = module(x.to(place.device, place.dtype))
                (output * reading.to(output)).sum().backward()
            loss = (truth.output * reading).sum()
            errors += _weight_errors(rec, truth, loss) if weights else _adjoint_errors(rec, truth, loss)
    return _no_error(name, errors, place)


def _adjoint_errors(rec: Recorder, truth: Unrolled, loss: Tensor) -> list[float]:
    named = [(layer, state, steps) for layer, run in truth.states.items() for state, steps in run.items()]
    felt = iter(torch.autograd.grad(loss, [values for *_, steps in named for values in steps]))
    return [
        _error(rec.adjoints[layer].total[state], torch.stack([next(felt) for _ in steps]))
        for layer, state, steps in named
    ]


def _weight_errors(rec: Recorder, truth: Unrolled, loss: Tensor) -> list[float]:
    felt = dict(zip(("x", *truth.weights), torch.autograd.grad(loss, [truth.x, *truth.weights.values()]), strict=True))
    found = {"x": torch.zeros_like(truth.x)}
    errors = []
    for layer, adjoint in rec.adjoints.items():
        found |= {f"{name}_{layer}": gradient for name, gradient in _weight_gradients(adjoint).items()}
        if layer.startswith("l0"):
            values, log_scale = at_input(adjoint)
            found["x"] = found["x"] + (values * log_scale.exp().to(values)[..., None]).cpu()
        states = truth.states[layer].items()
        errors += [_error(adjoint.trace.states[name], torch.stack(steps)) for name, steps in states]
    return errors + [_error(found[name], gradient) for name, gradient in felt.items()]


@dataclass(frozen=True, eq=False)
class _Run:
    """One layer in one direction, and what each step of each sequence adds to its gradients, formed by autograd."""

    adjoint: Adjoint
    reading: Float[Tensor, "time sequence unit"]
    """The gradient that the loss has at every h."""
    by_step: dict[str, Tensor]
    """By torch's names without suffix, [time, sequence, *shape of the parameter]."""


def _run(kind: type[nn.RNNBase], options: dict[str, Any], place: Place, *, last_step: bool = False) -> _Run:
    module, x = _module(kind, options, place), _draw(6, 3, 3).to(place.dtype)
    with Recorder(module) as rec:
        output, _ = module(x.to(place.device))
        reading = _only(_draw(*output.shape), 5) if last_step else _draw(*output.shape)
        (output * reading.to(output)).sum().backward()
    steps = [_steps_alone(module, x[:, [sequence]], reading[:, [sequence]]) for sequence in range(3)]
    return _Run(rec.adjoints["l0"], reading, {name: torch.stack([s[name] for s in steps], 1) for name in steps[0]})


def _steps_alone(module: nn.RNNBase, x: Tensor, reading: Tensor) -> Named:
    """With weights of its own for every step."""
    names = [name for name, _ in module.named_parameters()]
    own = [
        {
            name.removesuffix("_l0"): module.get_parameter(name).detach().double().cpu().requires_grad_()
            for name in names
        }
        for _ in x
    ]
    loss = (torch.stack(loop(module, own, x.double())["h"]) * reading).sum()
    felt = iter(torch.autograd.grad(loss, [w for weights in own for w in weights.values()], materialize_grads=True))
    each = [{name: next(felt) for name in weights} for weights in own]
    return {name: torch.stack([gradients[name] for gradients in each]) for name in own[0]}


def _weight_gradients(adjoint: Adjoint) -> Named:
    """The sum of its outer products, by torch's names without suffix."""
    scale = by_lag(adjoint.trace, adjoint.log_scale).exp()[..., None]
    rows: dict[str, list[Tensor]] = {}
    for product in outer_products(adjoint):
        both = torch.einsum("tsr,tsc->rc", product.left * scale, product.right)
        rows.setdefault(product.parameter, []).append(both.squeeze(1) if "bias" in product.parameter else both)
    return {name: torch.cat(blocks) for name, blocks in rows.items()}


def _module(kind: type[nn.RNNBase], options: dict[str, Any], place: Place) -> nn.RNNBase:
    """Of three features and four units, with weights from the range of torch's own."""
    module = place.module(kind, 3, 4, options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.rand(weight.shape, generator=generator, dtype=torch.float64) - 0.5)
    return module


def _only(reading: Tensor, step: int) -> Tensor:
    return reading * (torch.arange(len(reading)) == step)[:, None, None]


def _error(found: Tensor | np.ndarray, truth: Tensor) -> float:
    """The largest difference, over the largest number that must come out."""
    wanted = truth.detach()
    return float((torch.as_tensor(found).double().cpu() - wanted).abs().max() / wanted.abs().max())


def _no_error(name: str, errors: list[float], place: Place) -> Check:
    return compared(name, 0.0, errors, place.within(1e-10, 1e-4))


def _draw(*shape: int) -> Tensor:
    """Normal numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
