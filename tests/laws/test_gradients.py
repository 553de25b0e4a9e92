"""The law of gradients: what the adjoints say of every weight, every bias and the input is what torch's backward says.

Torch's is that of its fused kernel on the CPU, in float64; relative to the largest number of each parameter's gradient.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import gatescope as gs
from gatescope.dynamics.adjoint import Arriving, at_input, sweep
from gatescope.measures.outer_products import by_lag, outer_products
from problems import KINDS, LOSSES, PROBLEMS, Problem

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Of sums over steps, sequences and layers: seen 1e-14, and 5e-6."""
ON_CUDA = [problem for problem in PROBLEMS if problem.layout == "packed-unsorted" and problem.time > 1]


def weight_gradients(adjoint: gs.Adjoint) -> dict[str, Tensor]:
    """The outer products of every step and sequence, formed and added up, by torch's names."""
    scale = by_lag(adjoint.trace, adjoint.log_scale).exp()[..., None]
    rows: dict[str, list[Tensor]] = {}
    for product in outer_products(adjoint):
        formed = (product.left * scale).flatten(0, 1).T @ product.right.flatten(0, 1)
        rows.setdefault(product.parameter, []).append(formed)
    return {
        f"{name}_{adjoint.layer.name}": torch.cat(gates).squeeze(1) if "bias" in name else torch.cat(gates)
        for name, gates in rows.items()
    }


def ours(problem: Problem, loss: str, device: str = "cpu") -> tuple[dict[str, Tensor], gs.Recorder]:
    """dL/dx and the gradient of every parameter from what was recorded."""
    module, initial = problem.module().to(device), problem.initial()
    if initial is not None:
        initial = tuple(s.to(device) for s in initial) if isinstance(initial, tuple) else initial.to(device)
    with gs.Recorder(module) as rec:
        problem.loss(loss, *problem.call(module, problem.input().to(device), initial)).backward()
    found = {
        name: gradient for adjoint in rec.adjoints.values() for name, gradient in weight_gradients(adjoint).items()
    }
    first = [at_input(adjoint) for name, adjoint in rec.adjoints.items() if name.startswith("l0")]
    found["x"] = sum((values * log_scale.exp().to(values)[..., None] for values, log_scale in first), torch.zeros(()))
    return found, rec


def torchs(problem: Problem, loss: str) -> dict[str, Tensor]:
    """The same by the backward of torch's kernel, in float64, from the very same numbers."""
    module, x, initial = problem.module().double(), problem.input().double().requires_grad_(), problem.initial()
    if initial is not None:
        initial = tuple(s.double() for s in initial) if isinstance(initial, tuple) else initial.double()
    problem.loss(loss, *problem.call(module, x, initial)).backward()
    return {"x": x.grad, **{name: parameter.grad for name, parameter in module.named_parameters()}}


def assert_agree(found: dict[str, Tensor], truth: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == truth.keys()
    largest = max(float(gradient.abs().max()) for gradient in truth.values())
    for name, gradient in truth.items():
        # What is exactly zero, as W_hh's gradient after one step from zero, has no scale of its own.
        scale = float(gradient.abs().max()) or largest
        assert float((found[name].double().cpu() - gradient).abs().max()) < tolerance * scale, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_gradients_of_the_input_and_of_all_weights_and_biases_are_torchs(
    problem: Problem, loss: str, dtype: torch.dtype
) -> None:
    problem = replace(problem, dtype=dtype)
    assert_agree(ours(problem, loss)[0], torchs(problem, loss), TOLERANCE[dtype])


@pytest.mark.cuda
@pytest.mark.parametrize("loss", ["last step", "h_n and c_n"])
@pytest.mark.parametrize("problem", ON_CUDA, ids=str)
def test_on_a_cuda_device_they_are_those_of_the_cpu(problem: Problem, loss: str) -> None:
    assert_agree(ours(problem, loss, "cuda")[0], torchs(problem, loss), TOLERANCE[torch.float64])


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_at_every_step_is_the_sum_of_its_steps_each_carried_back_alone(kind: str, direction: str) -> None:
    """What enters at one step alone, at every step before it: the sum over sources and lags is torch's gradient."""
    problem = Problem(
        kind,
        bidirectional=direction == "bidirectional",
        layout="packed-unsorted",
        given_initial=True,
        proj_size=2 if kind == "lstm-proj" else 0,
    )
    _, rec = ours(problem, "every step")
    truth = torchs(problem, "every step")
    run = problem.unrolled()
    (readout,) = torch.autograd.grad(LOSSES["every step"](run.output, run.states, run.lengths), run.output)
    for name, trace in rec.traces.items():
        units = trace.layer.output_size
        entering = readout[..., units:] if name.endswith("_reverse") else readout[..., :units]
        total: dict[str, Tensor] = {}
        for source in range(len(trace.x)):
            alone = torch.zeros_like(entering)
            alone[source] = entering[source]
            felt = sweep(trace, Arriving({"h": alone}))
            ahead = slice(source + 1, None) if trace.layer.direction == "forward" else slice(0, source)
            assert (felt.log_scale[ahead] == -torch.inf).all(), "a step feels nothing of what entered before it"
            for parameter, gradient in weight_gradients(felt).items():
                total[parameter] = total.get(parameter, torch.zeros(())) + gradient
        assert_agree(total, {parameter: truth[parameter] for parameter in total}, TOLERANCE[torch.float64])
