"""The oracles agree with torch's own kernels, with explicit loops, with numbers done by hand and with each other."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oracles import (
    NO_NUDGE,
    STEPS,
    Weights,
    affine_adjoints,
    textbook,
    true_adjoints,
)
from problems import KINDS, LOSSES, PROBLEMS, Problem

# The two sides add the same numbers in another order: a few units in the last place of numbers of order one.
OUTPUTS = {"rtol": 0.0, "atol": 1e-12}
# Relative to the largest entry, after at most eight layers of seven steps; seen: below 1e-14.
GRADIENTS = 1e-10


def assert_close_to_scale(actual: Tensor, wanted: Tensor, tolerance: float = GRADIENTS) -> None:
    assert actual.shape == wanted.shape
    assert (actual - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1e-3)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_textbook_gives_the_outputs_and_final_states_of_torchs_fused_kernel(problem: Problem) -> None:
    output, states = problem.time_major(*problem.call(problem.module()))
    run = problem.unrolled()
    torch.testing.assert_close(run.output, output, **OUTPUTS)
    torch.testing.assert_close(run.states, states, **OUTPUTS)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_textbook_gives_every_gradient_that_the_fused_kernel_gives(problem: Problem) -> None:
    module = problem.module()
    x = problem.input().requires_grad_()
    initial = problem.initial()
    leaves = (
        [] if initial is None else [s.requires_grad_() for s in (initial if isinstance(initial, tuple) else (initial,))]
    )
    output, states = problem.call(module, x, initial)
    run = problem.unrolled()
    for name, loss_of in LOSSES.items():
        wanted = torch.autograd.grad(
            problem.loss(name, output, states),
            [*module.parameters(), x, *leaves],
            retain_graph=True,
            materialize_grads=True,
        )
        loss = loss_of(run.output, run.states, run.lengths)
        parameters = [run.parameters[key] for key, _ in module.named_parameters()]
        actual = torch.autograd.grad(loss, [*parameters, run.x], retain_graph=True, materialize_grads=True)
        adjoints = true_adjoints(run, loss)
        at_the_start = [
            torch.stack([parts["initial"][s] for parts in adjoints.values()]) for s in ("h", "c")[: len(leaves)]
        ]
        for one, other in zip([*actual, *at_the_start], wanted, strict=True):
            assert_close_to_scale(one, other)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_gradients_of_the_weights_are_sums_of_the_adjoints(problem: Problem) -> None:
    """And the gradient of x, step by step: this ties each adjoint, at its time, to what torch confirmed above."""
    run = problem.unrolled()
    loss = LOSSES["through a further layer"](run.output, run.states, run.lengths)
    adjoints = true_adjoints(run, loss)
    at_x = torch.zeros_like(run.x)
    for name, layer in run.layers.items():
        input_side, hidden_side = affine_adjoints(adjoints[name]["preactivations"])
        weight_hh = run.parameters[f"weight_hh_{name}"]
        (wanted,) = torch.autograd.grad(loss, weight_hh, retain_graph=True)
        assert_close_to_scale(torch.einsum("tbg,tbh->gh", hidden_side, layer.previous["h"]), wanted)
        if f"bias_ih_{name}" in run.parameters:
            (wanted,) = torch.autograd.grad(loss, run.parameters[f"bias_ih_{name}"], retain_graph=True)
            assert_close_to_scale(input_side.sum((0, 1)), wanted)
        if name.startswith("l0"):
            at_x = at_x + input_side @ run.parameters[f"weight_ih_{name}"]
    (wanted,) = torch.autograd.grad(loss, run.x, retain_graph=True)
    assert_close_to_scale(at_x, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_after_a_sequences_end(kind: str) -> None:
    problem = Problem(kind, layers=2, bidirectional=True, layout="packed-unsorted", proj_size=2 * (kind == "lstm-proj"))
    run = problem.unrolled()
    assert not run.valid.all()
    adjoints = true_adjoints(run, LOSSES["every step"](run.output, run.states, run.lengths))
    for name, layer in run.layers.items():
        values = [layer.gates, layer.preactivations, layer.states, layer.previous]
        gradients = [adjoints[name][part] for part in ("total", "state", "preactivations")]
        for tensor in (tensor for mapping in [*values, *gradients] for tensor in mapping.values()):
            assert (tensor[~run.valid] == 0).all()
            assert (tensor[run.valid] != 0).any()


def test_ragged_sequences_run_as_if_each_were_alone() -> None:
    problem = Problem("lstm", layers=2, bidirectional=True, layout="packed-unsorted")
    together = problem.unrolled()
    for sequence, length in enumerate(problem.lengths().tolist()):
        alone = textbook("lstm", problem.module().state_dict(), problem.input()[:length, [sequence]])
        for name, layer in alone.layers.items():
            for gate, values in layer.gates.items():
                torch.testing.assert_close(together.layers[name].gates[gate][:length, [sequence]], values, **OUTPUTS)


def test_fixed_dropout_masks_lie_between_the_layers_and_nowhere_else() -> None:
    problem = Problem("gru", layers=2)
    module = problem.module()
    mask = torch.tensor([0.0, 2.0, 2.0, 0.0], dtype=torch.float64).expand(problem.time, problem.sequences, 4)
    masked = textbook("gru", module.state_dict(), problem.input(), masks=[mask])

    lower, upper = (nn.GRU(3, 4, dtype=torch.float64), nn.GRU(4, 4, dtype=torch.float64))
    for layer, suffix in ((lower, "_l0"), (upper, "_l1")):
        layer.load_state_dict(
            {k.replace(suffix, "_l0"): v for k, v in module.state_dict().items() if k.endswith(suffix)}
        )
    between, _ = lower(problem.input())
    output, _ = upper(between * mask)
    torch.testing.assert_close(masked.output, output, **OUTPUTS)


@pytest.mark.parametrize(("kind", "cell"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell), ("rnn-tanh", nn.RNNCell)])
def test_a_cell_in_a_loop_is_one_layer_called_cell(kind: str, cell: type[nn.Module]) -> None:
    module = cell(3, 4, dtype=torch.float64)
    x, state, outputs = Problem("lstm").input(), None, []
    for step in x:
        state = module(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    run = textbook(kind, module.state_dict(), x)
    assert list(run.layers) == ["cell"]
    torch.testing.assert_close(run.output, torch.stack(outputs), **OUTPUTS)


# The two gradients of a cell state, by the definitions themselves.


def _small_lstm() -> tuple[Weights, Problem]:
    problem = Problem("lstm")
    return Weights.of("lstm", {k.removesuffix("_l0"): v for k, v in problem.module().state_dict().items()}), problem


def test_total_is_what_retain_grad_says_in_an_explicit_loop() -> None:
    weights, problem = _small_lstm()
    h = c = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    hs, cs = [], []
    for x in problem.input():
        i, f, g, o = (x @ weights.ih[k].T + h @ weights.hh[k].T + weights.b_ih[k] + weights.b_hh[k] for k in "ifgo")
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        for state in (h, c):
            state.retain_grad()
        hs.append(h)
        cs.append(c)
    lengths = problem.lengths()
    LOSSES["every step"](torch.stack(hs), h, lengths).backward()

    run = problem.unrolled()
    adjoint = true_adjoints(run, LOSSES["every step"](run.output, run.states, lengths))["l0"]
    assert_close_to_scale(adjoint["total"]["h"], torch.stack([h.grad for h in hs]), 1e-14)
    assert_close_to_scale(adjoint["total"]["c"], torch.stack([c.grad for c in cs]), 1e-14)


def test_state_is_what_the_outgoing_pair_gets_when_it_is_cut_into_two_leaves() -> None:
    weights, problem = _small_lstm()
    x, lengths = problem.input(), problem.lengths()
    run = problem.unrolled()
    adjoint = true_adjoints(run, LOSSES["every step"](run.output, run.states, lengths))["l0"]
    for cut in range(problem.time):
        states = {name: torch.zeros(3, 4, dtype=torch.float64) for name in "hc"}
        leaves, outputs = {}, []
        for step in range(problem.time):
            states = STEPS["lstm"](weights, x[step], states, NO_NUDGE).states
            if step == cut:
                leaves = states = {name: state.detach().requires_grad_() for name, state in states.items()}
            outputs.append(states["h"])
        loss = LOSSES["every step"](torch.stack(outputs), states["h"], lengths)
        h, c = torch.autograd.grad(loss, [leaves["h"], leaves["c"]], materialize_grads=True)
        assert_close_to_scale(adjoint["state"]["h"][cut], h, 1e-14)
        assert_close_to_scale(adjoint["state"]["c"][cut], c, 1e-14)


def test_the_two_gradients_of_a_cell_state_differ_by_the_path_through_its_own_hidden_state() -> None:
    problem = Problem("lstm", layers=2, bidirectional=True, layout="packed-unsorted", given_initial=True)
    run = problem.unrolled()
    for name, adjoint in true_adjoints(run, LOSSES["h_n and c_n"](run.output, run.states, run.lengths)).items():
        layer = run.layers[name]
        through_h = adjoint["total"]["h"] * layer.gates["o"] * (1 - layer.states["c"].tanh() ** 2)
        assert_close_to_scale(adjoint["total"]["c"] - adjoint["state"]["c"], through_h, 1e-13)
        assert (through_h.norm() / adjoint["total"]["c"].norm()) > 0.05


def test_a_loss_on_every_cell_state_reaches_the_pair_and_the_total() -> None:
    run = Problem("lstm").unrolled()
    adjoint = true_adjoints(run, run.layers["l0"].states["c"].sum())["l0"]
    f = run.layers["l0"].gates["f"]
    assert (adjoint["state"]["c"][-1] == 1).all()
    assert (adjoint["total"]["c"][-1] == 1).all()
    assert_close_to_scale(adjoint["state"]["c"][-2], 1 + f[-1], 1e-14)


# The GRU that torch does not have.


def test_the_gru_with_the_reset_before_the_matmul_is_the_one_written_by_hand_in_numpy() -> None:
    problem = Problem("gru", layers=2, given_initial=True)
    w = {name: tensor.numpy() for name, tensor in problem.module().state_dict().items()}
    below, initial = problem.input().numpy(), problem.initial()
    assert isinstance(initial, Tensor)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    for level in range(2):
        rows = {"r": slice(0, 4), "z": slice(4, 8), "n": slice(8, 12)}
        W = {gate: w[f"weight_ih_l{level}"][at] for gate, at in rows.items()}
        U = {gate: w[f"weight_hh_l{level}"][at] for gate, at in rows.items()}
        b = {gate: (w[f"bias_ih_l{level}"] + w[f"bias_hh_l{level}"])[at] for gate, at in rows.items()}
        h, hs = initial[level].numpy(), []
        for x in below:
            r = sigmoid(np.einsum("gi,bi->bg", W["r"], x) + np.einsum("gh,bh->bg", U["r"], h) + b["r"])
            z = sigmoid(np.einsum("gi,bi->bg", W["z"], x) + np.einsum("gh,bh->bg", U["z"], h) + b["z"])
            n = np.tanh(np.einsum("gi,bi->bg", W["n"], x) + np.einsum("gh,bh,bh->bg", U["n"], r, h) + b["n"])
            h = z * h + (1 - z) * n
            hs.append(h)
        below = np.stack(hs)

    run = textbook("gru-reset-before", problem.module().state_dict(), problem.input(), initial=initial)
    torch.testing.assert_close(run.output, torch.from_numpy(below), **OUTPUTS)


def _one_unit_gru() -> dict[str, Tensor]:
    """Both gates rest at 1/2; the candidate has recurrent weight ln 3 and recurrent bias (ln 3)/2."""
    ln3 = math.log(3)
    column = [[0.0], [0.0], [0.0]]
    return {
        "weight_ih_l0": torch.tensor(column, dtype=torch.float64),
        "weight_hh_l0": torch.tensor([[0.0], [0.0], [ln3]], dtype=torch.float64),
        "bias_ih_l0": torch.zeros(3, dtype=torch.float64),
        "bias_hh_l0": torch.tensor([0.0, 0.0, ln3 / 2], dtype=torch.float64),
    }


def test_one_unit_with_the_reset_before_the_matmul_comes_out_as_by_hand() -> None:
    """From h = 1: n = tanh(ln 3 * 1/2 + (ln 3)/2) = tanh(ln 3) = 4/5, so h' = 1/2 * 4/5 + 1/2 * 1 = 9/10.

    dh'/dh = z + (1-z) (1-n^2) U r = 1/2 + 1/2 * 9/25 * ln 3 * 1/2.
    """
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    run = textbook("gru-reset-before", _one_unit_gru(), torch.zeros_like(one), initial=one)
    assert run.output.item() == pytest.approx(0.9, abs=1e-15)
    adjoint = true_adjoints(run, run.output.sum())["l0"]
    assert adjoint["initial"]["h"].item() == pytest.approx(0.5 + 0.09 * math.log(3), abs=1e-15)
    assert adjoint["preactivations"]["n"].item() == pytest.approx(0.18, abs=1e-15)
    assert "q" not in adjoint["preactivations"]


def test_one_unit_with_torchs_reset_after_the_matmul_comes_out_as_by_hand() -> None:
    """From h = 1: q = ln 3 + (ln 3)/2, n = tanh(q/2) = tanh(3/4 ln 3) = (3^1.5 - 1)/(3^1.5 + 1); dL/dq = r dL/da_n."""
    n = (3**1.5 - 1) / (3**1.5 + 1)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    run = textbook("gru", _one_unit_gru(), torch.zeros_like(one), initial=one)
    assert run.output.item() == pytest.approx(0.5 * n + 0.5, abs=1e-15)
    adjoint = true_adjoints(run, run.output.sum())["l0"]["preactivations"]
    assert adjoint["n"].item() == pytest.approx(0.5 * (1 - n**2), abs=1e-15)
    assert adjoint["q"].item() == pytest.approx(0.25 * (1 - n**2), abs=1e-15)


def test_a_relu_at_exactly_zero_passes_no_gradient() -> None:
    zeros = {"weight_ih_l0": torch.zeros(1, 1), "weight_hh_l0": torch.ones(1, 1)}
    run = textbook("rnn-relu", zeros, torch.zeros(2, 1, 1))
    adjoint = true_adjoints(run, run.output[-1].sum())["l0"]
    assert adjoint["total"]["h"].flatten().tolist() == [0.0, 1.0]
