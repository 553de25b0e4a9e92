"""The split of paths against explicit loops, against autograd with a dial on the recurrent weights, and by hand."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope import initialisations
from gatescope.cells import CELLS
from gatescope.errors import InputError
from gatescope.measures import MEASURES
from gatescope.measures.path_split import PathSplit, path_split
from gatescope.recording.recorder import Recorder
from oracles import forget_gate_alone, true_adjoints
from problems import LOSSES, Problem

MEMORY = {"lstm": ("c", "f"), "lstm-proj": ("c", "f"), "gru": ("h", "z")}
PROBLEMS = [
    replace(problem, proj_size=2 if kind == "lstm-proj" else 0)
    for kind in MEMORY
    for problem in (
        Problem(kind, layers=2, layout="packed-unsorted", given_initial=True),
        Problem(kind, bidirectional=True, layout="packed-sorted"),
    )
]


def measured(problem: Problem, orders: int = 2) -> dict[str, PathSplit]:
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss("h_n and c_n", *problem.call(module)).backward()
    return {name: path_split(adjoint, loss="h_n and c_n", orders=orders) for name, adjoint in rec.adjoints.items()}


def of_last_state(module: nn.Module, x: Tensor, readout: Tensor, orders: int = 2) -> PathSplit:
    with Recorder(module) as rec:
        (module(x)[0][-1] * readout).sum().backward()
    return path_split(rec.adjoints["l0"], loss="the last state, weighted", orders=orders)


def at_rest(kind: type[nn.LSTM] | type[nn.GRU], weight: float, gate_bias: float = 0.0, units: int = 1) -> nn.Module:
    """No input, no bias but the keeping gate's; the candidate alone sees h, by `weight`: all gates but f are 1/2."""
    module = kind(1, units, dtype=torch.float64)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        module.weight_hh_l0[2 * units : 3 * units] = weight * torch.eye(units, dtype=torch.float64)
        module.bias_ih_l0[units : 2 * units] = gate_bias
    return module


def test_it_is_listed_among_the_measures() -> None:
    assert PathSplit in MEASURES


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_carousel_is_the_product_of_the_keeping_gate_and_the_rest_is_the_rest(problem: Problem) -> None:
    state, gate = MEMORY[problem.kind]
    run = problem.unrolled()
    truth = true_adjoints(run, LOSSES["h_n and c_n"](run.output, run.states, run.lengths))
    for name, found in measured(problem).items():
        whole, first = truth[name]["total"][state], truth[name]["initial"][state]
        for sequence, length in enumerate(problem.lengths().tolist()):
            steps = [*range(length)] if name.endswith("_reverse") else [*reversed(range(length))]
            carousel = whole[steps[0], sequence]
            for lag in range(length + 1):
                total = whole[steps[lag], sequence] if lag < length else first[sequence]
                share, elsewhere = carousel.norm() / total.norm(), (total - carousel).norm() / total.norm()
                assert found.share[sequence, lag] == pytest.approx(float(share), rel=1e-10)
                assert np.exp(found.elsewhere[sequence, lag]) == pytest.approx(float(elsewhere), rel=1e-9, abs=1e-14)
                cosine = torch.cosine_similarity(carousel, total, dim=0)
                assert found.cosine[sequence, lag] == pytest.approx(float(cosine), abs=1e-12)
                if lag < length:
                    carousel = carousel * run.layers[name].gates[gate][steps[lag], sequence].detach()
            assert np.isnan(found.carousel[sequence, length + 1 :]).all()


def dialled(problem: Problem, readout: Tensor) -> Callable[[float], list[Tensor]]:
    """The gradient of the memory at every lag when W_hh lets only a part of the gradient through; values stay."""
    module = problem.module()
    w = {name.removesuffix("_l0"): values.detach() for name, values in module.named_parameters()}
    lstm = problem.cell == "lstm"

    def gradients(part: float) -> list[Tensor]:
        h = torch.zeros(problem.batch, w["weight_hh"].shape[1], dtype=torch.float64, requires_grad=True)
        c = torch.zeros(problem.batch, problem.hidden_size, dtype=torch.float64, requires_grad=True)
        memory = [c if lstm else h]
        for x in problem.input():
            seen = h.detach() + part * (h - h.detach())
            inner, hidden = x @ w["weight_ih"].T + w["bias_ih"], seen @ w["weight_hh"].T + w["bias_hh"]
            if lstm:
                i, f, g, o = (inner + hidden).chunk(4, -1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                h = h @ w["weight_hr"].T if "weight_hr" in w else h
            else:
                (x_r, x_z, x_n), (h_r, h_z, q) = inner.chunk(3, -1), hidden.chunk(3, -1)
                z = (x_z + h_z).sigmoid()
                h = (1 - z) * (x_n + (x_r + h_r).sigmoid() * q).tanh() + z * h
            memory.append(c if lstm else h)
        return [*torch.autograd.grad((h * readout).sum(), memory)][::-1]

    return gradients


@pytest.mark.parametrize("kind", MEMORY)
def test_an_order_is_the_coefficient_of_that_power_of_a_dial_on_the_recurrent_weights(kind: str) -> None:
    problem = Problem(kind, proj_size=2 if kind == "lstm-proj" else 0, time=4)
    readout = torch.randn(problem.batch, problem.proj_size or 4, dtype=torch.float64)
    gradients = dialled(problem, readout)
    dials = np.linspace(-1, 1, 5)
    by_dial = np.stack([torch.stack(gradients(float(dial))).numpy() for dial in dials])
    powers = np.linalg.solve(np.vander(dials, increasing=True), by_dial.reshape(5, -1)).reshape(by_dial.shape)
    norms = np.linalg.norm(powers, axis=-1)  # [order, lag, sequence]
    whole = np.linalg.norm(torch.stack(gradients(1.0)).numpy(), axis=-1)
    found = of_last_state(problem.module(), problem.input(), readout, orders=4)
    np.testing.assert_allclose(np.exp(found.orders), (norms / whole).swapaxes(1, 2), rtol=1e-9, atol=1e-12)
    assert (found.beyond < math.log(1e-13)).all()
    np.testing.assert_array_equal(found.carousel, found.orders[0])
    some = of_last_state(problem.module(), problem.input(), readout, orders=1)
    higher = np.linalg.norm(powers[2:].sum(0), axis=-1) / whole
    np.testing.assert_allclose(np.exp(some.beyond), higher.T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_at_rest_the_orders_are_binomial(kind: type[nn.LSTM] | type[nn.GRU]) -> None:
    """A step multiplies by 1/2 along the memory and by weight/4 through the candidate: C(k, m) (1/2)^(k−m) (w/4)^m."""
    weight, longest = 0.8, 12
    found = of_last_state(
        at_rest(kind, weight), torch.zeros(longest, 1, 1, dtype=torch.float64), torch.ones(1, 1), orders=3
    )
    for lag in range(longest):
        for order in range(4):
            wanted = math.comb(lag, order) * 0.5 ** (lag - order) * (weight / 4) ** order / (0.5 + weight / 4) ** lag
            assert np.exp(found.orders[order, 0, lag]) == pytest.approx(wanted, rel=1e-12)
    assert found.share[0, 10] * (0.5 + weight / 4) ** 10 == pytest.approx(9.765625e-4, rel=1e-12)


def test_a_carousel_that_no_number_could_hold_still_has_its_share() -> None:
    """f = sigmoid(−10) against paths through the weights that lose nothing: after 200 steps e^-2000 of the whole."""
    forget = 1 / (1 + math.exp(10))
    module = at_rest(nn.LSTM, weight=4 * (1 - forget), gate_bias=-10.0)
    found = of_last_state(module, torch.zeros(200, 1, 1, dtype=torch.float64), torch.ones(1, 1))
    np.testing.assert_allclose(found.carousel[0, :200], np.arange(200) * math.log(forget), rtol=1e-10, atol=1e-10)
    assert found.carousel[0, 199] < -1900


def test_a_gradient_that_float32_could_not_hold_is_all_carousel_where_nothing_else_is() -> None:
    form = forget_gate_alone(-1.0, steps=500)
    module = form.module.float()
    found = of_last_state(module, form.x.float(), form.readout.float())
    np.testing.assert_allclose(found.share, 1.0, rtol=1e-4)
    assert (found.orders[1:, :, 2:] == -np.inf).all()


def test_a_default_lstm_carries_a_sixtieth_over_twenty_steps_by_its_carousel_and_a_chrono_one_nearly_all() -> None:
    x, readout = torch.zeros(22, 32, 1, dtype=torch.float64), torch.randn(32, 128, dtype=torch.float64)
    shares: dict[str, list[float]] = {"default": [], "chrono": []}
    for _ in range(5):
        module = nn.LSTM(1, 128, dtype=torch.float64)
        initialisations.chrono(module, 100.0)
        shares["chrono"].append(of_last_state(module, x, readout, orders=0).share[:, 20].mean())
        nn.init.zeros_(module.bias_ih_l0)
        shares["default"].append(of_last_state(module, x, readout, orders=0).share[:, 20].mean())
    assert np.mean(shares["default"]) == pytest.approx(0.01612, abs=0.005)
    assert np.mean(shares["chrono"]) == pytest.approx(0.988, abs=0.005)


def test_a_reset_before_the_product_has_its_keep_path_too() -> None:
    cell = ResetBeforeAtRest()
    h = torch.zeros(1, 1, dtype=torch.float64)
    with Recorder(cell, cells={ResetBeforeAtRest: CELLS["gru-reset-before"]}) as rec:
        for _ in range(8):
            h = cell(torch.zeros(1, 1, dtype=torch.float64), h)
        h.sum().backward()
    found = path_split(rec.adjoints["cell"], loss="the last state", orders=1)
    keep, write = 0.5, 0.5 * 0.5 * 0.8
    for lag in range(8):
        whole = (keep + write) ** lag
        assert found.share[0, lag] == pytest.approx(keep**lag / whole, rel=1e-12)
        assert np.exp(found.orders[1, 0, lag]) == pytest.approx(lag * keep ** (lag - 1) * write / whole, rel=1e-12)


class ResetBeforeAtRest(nn.Module):
    """At h = 0 without biases: r and z are 1/2, and only the candidate sees h, by a weight of 0.8."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.zeros(3, 1, dtype=torch.float64))
        self.weight_hh = nn.Parameter(torch.tensor([[0.0], [0.0], [0.8]], dtype=torch.float64))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        r, z = (torch.sigmoid(h @ self.weight_hh[k : k + 1].T) for k in (0, 1))
        return (1 - z) * torch.tanh((r * h) @ self.weight_hh[2:].T) + z * h


def test_a_cell_without_a_memory_path_is_refused_in_words() -> None:
    module = nn.RNN(3, 4)
    with Recorder(module) as rec:
        module(torch.randn(5, 2, 3))[0][-1].sum().backward()
    with pytest.raises(InputError, match="rnn-tanh cell, which keeps no state by a gate"):
        path_split(rec.adjoints["l0"], loss="sum")
    with pytest.raises(InputError, match="choose a number from 0"):
        of_last_state(nn.GRU(3, 4), torch.randn(5, 2, 3), torch.ones(1, 1), orders=-1)


def test_a_sequence_without_any_gradient_has_no_shares() -> None:
    found = of_last_state(
        nn.LSTM(3, 4, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64), torch.tensor([[0.0], [1.0]])
    )
    assert np.isnan(found.carousel[0]).all()
    assert np.isfinite(found.carousel[1]).all()


def test_its_table_has_a_row_for_every_number_and_says_what_it_is_of() -> None:
    found = measured(Problem("gru", bidirectional=True, layout="packed-unsorted"))["l0_reverse"]  # lengths 1, 7, 4
    frame = found.to_frame()
    columns = ["layer", "direction", "measure", "quantity", "order", "lag", "sequence", "value", "unit"]
    assert list(frame.columns) == columns
    assert len(frame) == (2 + 3 + 2) * (2 + 8 + 5)
    assert set(frame["direction"]) == {"reverse"}
    assert set(frame.loc[frame.quantity == "cosine", "unit"]) == {"1"}
    row = frame[(frame.order == 2) & (frame.lag == 3) & (frame.sequence == 2)]
    assert row["value"].item() == found.orders[2, 2, 3]
    assert (found.layer, found.cell, found.state, found.gate, found.n) == ("l0_reverse", "gru", "h", "z", 3)
