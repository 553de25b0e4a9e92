"""The contributions of steps against ones that autograd holds in full, and their sums against torch's own gradients."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.cells import CELLS
from gatescope.measures import MEASURES
from gatescope.measures.contributions import Contributions, contributions
from gatescope.recording.recorder import Recorder
from oracles import halving_rnn, step_contributions
from problems import KINDS, PROBLEMS, Problem

GATES = {"rnn-tanh": ("h",), "rnn-relu": ("h",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
LONG = [problem for problem in PROBLEMS if problem.time > 1]


def rows_of(kind: str, named: Mapping[str, Tensor], axis: int) -> dict[tuple[str, str], Tensor]:
    """Each parameter's rows gate by gate; a projection's rows belong to h."""
    found = {}
    for parameter, values in named.items():
        gates = ("h",) if parameter == "weight_hr" else GATES[kind]
        for gate, rows in zip(gates, values.chunk(len(gates), axis), strict=True):
            found[parameter, gate] = rows
    return found


class ResetBeforeCell(nn.Module):
    """The GRU of the first paper, as somebody wrote it."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.weight_ih, self.weight_hh = (nn.Parameter(torch.randn(3 * units, n)) for n in (features, units))
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.randn(3 * units)) for _ in range(2))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        x_r, x_z, x_n = (x @ self.weight_ih.T + self.bias_ih).chunk(3, -1)
        (w_r, w_z, w_n), (b_r, b_z, b_n) = self.weight_hh.chunk(3), self.bias_hh.chunk(3)
        r, z = torch.sigmoid(x_r + h @ w_r.T + b_r), torch.sigmoid(x_z + h @ w_z.T + b_z)
        return (1 - z) * torch.tanh(x_n + (r * h) @ w_n.T + b_n) + z * h


def test_it_is_listed_among_the_measures() -> None:
    assert Contributions in MEASURES


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_of_each_sequence_adds_what_autograd_holds_in_full(kind: str) -> None:
    problem = Problem(kind, proj_size=2 if kind == "lstm-proj" else 0)
    truth = step_contributions(problem.cell, problem.module())
    with Recorder(truth.module) as rec:
        truth.loss(truth.module(truth.x)[0]).backward()
    found = contributions(rec.adjoints["l0"], loss="every step, weighted")
    wanted = rows_of(problem.cell, truth.contributions, axis=2)
    assert found.step.keys() == wanted.keys() == found.batch.keys() == found.gradient.keys()
    for rows, held in wanted.items():
        by_lag = held.flip(0)
        of_steps = by_lag.flatten(2).norm(dim=2).T
        np.testing.assert_allclose(np.exp(found.step[rows]), of_steps, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(np.exp(found.batch[rows]), by_lag.sum(1).flatten(1).norm(dim=1), rtol=1e-10)
        assert np.exp(found.gradient[rows]) == pytest.approx(float(held.sum((0, 1)).norm()), rel=1e-10)
    for parameter in found.parameters:
        norms = truth.norm(parameter).flip(0).T
        np.testing.assert_allclose(np.exp(found.of_step(parameter)), norms, rtol=1e-10, atol=1e-14)
    everything = sum(truth.norm(parameter) ** 2 for parameter in truth.contributions)
    np.testing.assert_allclose(np.exp(2 * found.of_step()), everything.flip(0).T, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("problem", LONG, ids=str)
def test_they_add_up_to_torchs_own_gradient_of_every_gate(problem: Problem) -> None:
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss("every step", *problem.call(module)).backward()
    for name, adjoint in rec.adjoints.items():
        found = contributions(adjoint, loss="every step")
        named = {
            own.removesuffix(f"_{name}"): values.grad
            for own, values in module.named_parameters()
            if own.endswith(f"_{name}")
        }
        wanted = rows_of(problem.cell, named, axis=0)
        assert found.gradient.keys() == wanted.keys()
        for rows, gradient in wanted.items():
            assert np.exp(found.gradient[rows]) == pytest.approx(float(gradient.norm()), rel=1e-10, abs=1e-13)


def test_a_reset_before_the_product_reaches_the_candidates_weights() -> None:
    cell = ResetBeforeCell(3, 4).double()
    x, h = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    with Recorder(cell, cells={ResetBeforeCell: CELLS["gru-reset-before"]}) as rec:
        for x_t in x:
            h = cell(x_t, h)
        h.square().sum().backward()
    found = contributions(rec.adjoints["cell"], loss="the last state, squared")
    wanted = rows_of("gru", {name: values.grad for name, values in cell.named_parameters()}, axis=0)
    for rows, gradient in wanted.items():
        assert np.exp(found.gradient[rows]) == pytest.approx(float(gradient.norm()), rel=1e-10)


def test_in_a_reverse_layer_lag_zero_is_the_first_step() -> None:
    problem = Problem("lstm", bidirectional=True, layout="packed-unsorted")  # lengths 1, 7, 4
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss("h_n and c_n", *problem.call(module)).backward()
    adjoint = rec.adjoints["l0_reverse"]
    found = contributions(adjoint, loss="h_n and c_n")
    felt = adjoint.preactivations["f"].norm(dim=2)
    for sequence, length in enumerate(problem.lengths().tolist()):
        np.testing.assert_allclose(np.exp(found.step["bias_ih", "f"][sequence, :length]), felt[:length, sequence])
        assert np.isnan(found.step["bias_ih", "f"][sequence, length:]).all()


def test_a_contribution_that_float32_cannot_hold_is_a_number() -> None:
    form = halving_rnn(1500)
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    found = contributions(rec.adjoints["l0"], loss="the sum of the last state")
    wanted = math.log(2) * (1 - np.arange(1500))  # four units, each 2 to the power of minus the lag
    np.testing.assert_allclose(found.step["bias_hh", "h"], np.stack([wanted, wanted]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.batch["bias_hh", "h"], wanted + math.log(2), rtol=1e-6, atol=1e-6)
    assert found.gradient["bias_hh", "h"] == pytest.approx(3 * math.log(2), abs=1e-6)
    assert np.isfinite(found.of_step("bias_hh")).all()


def test_a_sequence_without_any_gradient_adds_nothing() -> None:
    module = nn.LSTM(3, 4, dtype=torch.float64)
    with Recorder(module) as rec:
        (module(torch.randn(5, 2, 3, dtype=torch.float64))[0][-1] * torch.tensor([[0.0], [1.0]])).sum().backward()
    found = contributions(rec.adjoints["l0"], loss="the last state of the second sequence")
    assert (found.step["weight_ih", "i"][0] == -np.inf).all()
    assert (found.of_step()[0] == -np.inf).all()
    np.testing.assert_allclose(found.batch["weight_ih", "i"], found.step["weight_ih", "i"][1], rtol=1e-10)


def test_its_table_has_a_row_for_every_number() -> None:
    problem = Problem("gru", layout="packed-unsorted", bias=False)  # lengths 1, 7, 4
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss("h_n and c_n", *problem.call(module)).backward()
    found = contributions(rec.adjoints["l0"], loss="h_n")
    frame = found.to_frame()
    columns = ["layer", "direction", "measure", "quantity", "parameter", "gate", "lag", "sequence", "value", "unit"]
    assert list(frame.columns) == columns
    assert len(frame) == 2 * 3 * (1 + 7 + 4 + 7 + 1)
    assert set(frame["unit"]) == {"nats"}
    row = frame[(frame.parameter == "weight_hh") & (frame.gate == "z") & (frame.lag == 2) & (frame.sequence == 2)]
    assert row["value"].item() == found.step["weight_hh", "z"][2, 2]
    row = frame[(frame.parameter == "weight_ih") & (frame.gate == "n") & (frame.quantity == "gradient")]
    assert row["value"].item() == found.gradient["weight_ih", "n"]
    assert (found.layer, found.cell, found.direction, found.loss, found.n) == ("l0", "gru", "forward", "h_n", 3)
