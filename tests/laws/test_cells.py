"""The laws of a cell, over every kind: one step for all times at once, its adjoint, and its replay."""

import pytest
import torch
from torch import Tensor

import gatescope as gs
from gatescope.cells import CELLS, Cell, Named
from oracles import NO_NUDGE, STEPS
from oracles import Weights as TextbookWeights

T, B, FEATURES, H = 5, 3, 2, 4
ROWS = {"rnn-tanh": 1, "rnn-relu": 1, "lstm": 4, "gru": 3, "gru-reset-before": 3, "peephole": 4}


def peephole_step(w: Named, affine: tuple[Tensor, Tensor], prev: Named) -> tuple[Named, Named]:
    """Gers, Schraudolph & Schmidhuber 2002: the gates see the cell state, the output gate the new one."""
    i, f, g, o = (affine[0] + affine[1]).chunk(4, -1)
    i, f = (i + w["p_i"] * prev["c"]).sigmoid(), (f + w["p_f"] * prev["c"]).sigmoid()
    c = f * prev["c"] + i * g.tanh()
    o = (o + w["p_o"] * c).sigmoid()
    return {"i": i, "f": f, "g": g.tanh(), "o": o}, {"h": o * c.tanh(), "c": c}


PEEPHOLE = gs.Cell.from_step("peephole", gates=("i", "f", "g", "o"), memory=("c",), step=peephole_step)
ALL = [pytest.param(cell, False, id=kind) for kind, cell in CELLS.items()]
ALL += [pytest.param(CELLS["lstm"], True, id="lstm-proj"), pytest.param(PEEPHOLE, False, id="peephole")]
every_cell = pytest.mark.parametrize(("cell", "projected"), ALL)


def weights(cell: Cell, projected: bool) -> Named:
    out = 2 if projected else H
    rows = ROWS[cell.kind] * H
    shapes = {"weight_ih": (rows, FEATURES), "weight_hh": (rows, out), "bias_ih": (rows,), "bias_hh": (rows,)}
    if projected:
        shapes["weight_hr"] = (out, H)
    if cell.kind == "peephole":
        shapes |= dict.fromkeys(("p_i", "p_f", "p_o"), (H,))
    return {name: torch.randn(*shape, dtype=torch.float64) for name, shape in shapes.items()}


def states(cell: Cell, w: Named, *lead: int) -> Named:
    sizes = {"h": w["weight_hh"].shape[1]} | dict.fromkeys(cell.memory, H)
    return {name: torch.randn(*lead, size, dtype=torch.float64) for name, size in sizes.items()}


def affine(w: Named, *lead: int) -> tuple[Tensor, Tensor]:
    rows = w["weight_hh"].shape[0]
    return torch.randn(*lead, rows, dtype=torch.float64), torch.randn(*lead, rows, dtype=torch.float64)


@every_cell
def test_one_step_for_all_times_at_once_equals_a_step_for_each(cell: Cell, projected: bool) -> None:
    w = weights(cell, projected)
    terms, prev = affine(w, T, B), states(cell, w, T, B)
    gates, after = cell.step(w, terms, prev)
    assert set(gates) == {*cell.gates, *cell.kept}
    assert tuple(after) == cell.states
    for t in range(T):
        gates_t, after_t = cell.step(w, (terms[0][t], terms[1][t]), {name: s[t] for name, s in prev.items()})
        for name, values in (gates_t | after_t).items():
            torch.testing.assert_close((gates | after)[name][t], values, rtol=0, atol=1e-15)


@every_cell
def test_replay_equals_the_step_iterated(cell: Cell, projected: bool) -> None:
    w = weights(cell, projected)
    terms, h, memory = affine(w, T, B), states(cell, w, T, B)["h"], states(cell, w, B)
    memory.pop("h")
    gates, after = cell.replay(w, (terms[0].clone(), terms[1].clone()), h, memory)  # which are its to overwrite
    prev = memory
    for t in range(T):
        gates_t, after_t = cell.step(w, (terms[0][t], terms[1][t]), {**prev, "h": h[t]})
        prev = {name: after_t[name] for name in cell.memory}
        for name, values in (gates_t | after_t).items():
            torch.testing.assert_close((gates | after)[name][t], values, rtol=0, atol=1e-14)


@every_cell
def test_the_slopes_of_all_times_at_once_serve_each_step(cell: Cell, projected: bool) -> None:
    w = weights(cell, projected)
    prev, felt, tangent, changes = states(cell, w, T, B), states(cell, w, B), states(cell, w, B), affine(w, B)
    gates, after = cell.step(w, affine(w, T, B), prev)
    slopes = cell.slopes(w, gates, prev, after)
    for t in range(T):
        gates_t, prev_t, after_t = ({name: v[t] for name, v in named.items()} for named in (gates, prev, after))
        here = {name: v[t] for name, v in slopes.items()}
        at_once, alone = cell.pull(w, here, felt), cell.pullback(w, gates_t, prev_t, after_t, felt)
        pushed = cell.push(w, here, changes, tangent)
        pushed_alone = cell.pushforward(w, gates_t, prev_t, after_t, changes, tangent)
        for ours, theirs in ((at_once.total, alone.total), (at_once.prev, alone.prev), (pushed, pushed_alone)):
            assert ours.keys() == theirs.keys()
            for name in ours:
                torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-14)
        torch.testing.assert_close(at_once.affine, alone.affine, rtol=0, atol=1e-14)


@every_cell
def test_the_pullback_is_the_adjoint_of_the_step(cell: Cell, projected: bool) -> None:
    w = weights(cell, projected)
    leaves = [term.requires_grad_() for term in affine(w, T, B)]
    prev = {name: s.requires_grad_() for name, s in states(cell, w, T, B).items()}
    gates, after = cell.step(w, (leaves[0], leaves[1]), prev)
    felt = {name: torch.randn_like(s) for name, s in after.items()}
    wanted = [*leaves, *prev.values(), *(after[name] for name in cell.memory)]
    truth = torch.autograd.grad(
        list(after.values()), wanted, [felt[name] for name in after], allow_unused=True, materialize_grads=True
    )
    plain = [{name: v.detach() for name, v in named.items()} for named in (gates, prev, after)]
    back = cell.pullback(w, plain[0], plain[1], plain[2], felt)
    ours = [*back.affine, *(back.prev.get(name, torch.zeros_like(s)) for name, s in prev.items())]
    ours += [back.total[name] for name in cell.memory]
    for mine, theirs in zip(ours, truth, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-13)
    assert torch.equal(back.total["h"], felt["h"])


@every_cell
def test_the_pushforward_is_the_derivative_of_the_step(cell: Cell, projected: bool) -> None:
    w = weights(cell, projected)
    terms, prev = affine(w, T, B), states(cell, w, T, B)
    gates, after = cell.step(w, terms, prev)
    changes, tangent = affine(w, T, B), states(cell, w, T, B)
    _, truth = torch.func.jvp(lambda terms, prev: cell.step(w, terms, prev)[1], (terms, prev), (changes, tangent))
    ours = cell.pushforward(w, gates, prev, after, changes, tangent)
    assert tuple(ours) == cell.states
    for name in cell.states:
        torch.testing.assert_close(ours[name], truth[name], rtol=0, atol=1e-12)


@every_cell
def test_the_pushforward_is_the_transpose_of_the_pullback(cell: Cell, projected: bool) -> None:
    w = weights(cell, projected)
    terms, prev = affine(w, T, B), states(cell, w, T, B)
    gates, after = cell.step(w, terms, prev)
    changes, tangent = affine(w, T, B), states(cell, w, T, B)
    felt = {name: torch.randn_like(s) for name, s in after.items()}
    pushed = cell.pushforward(w, gates, prev, after, changes, tangent)
    back = cell.pullback(w, gates, prev, after, felt)
    at_the_end = sum((felt[name] * pushed[name]).sum() for name in cell.states)
    at_the_start = sum((term * change).sum() for term, change in zip(back.affine, changes, strict=True))
    at_the_start += sum((back.prev[name] * tangent[name]).sum() for name in back.prev)
    torch.testing.assert_close(at_the_end, at_the_start, rtol=1e-12, atol=1e-11)


@every_cell
def test_many_directions_go_through_one_step_at_once(cell: Cell, projected: bool) -> None:
    """The gates of a step `[sequence, 1, unit]` serve tangents and adjoints `[sequence, direction, unit]`."""
    w = weights(cell, projected)
    prev = states(cell, w, B, 1)
    gates, after = cell.step(w, affine(w, B, 1), prev)
    changes, tangent, felt = affine(w, B, T), states(cell, w, B, T), states(cell, w, B, T)
    pushed, back = cell.pushforward(w, gates, prev, after, changes, tangent), cell.pullback(w, gates, prev, after, felt)
    for k in range(T):
        changed, pushed_here, felt_here = (
            {name: values[:, k : k + 1] for name, values in named.items()} for named in (tangent, pushed, felt)
        )
        terms = (changes[0][:, k : k + 1], changes[1][:, k : k + 1])
        alone = cell.pushforward(w, gates, prev, after, terms, changed)
        back_alone = cell.pullback(w, gates, prev, after, felt_here)
        for name in cell.states:
            torch.testing.assert_close(pushed_here[name], alone[name], rtol=0, atol=1e-14)
        torch.testing.assert_close(back.affine[1][:, k : k + 1], back_alone.affine[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_with_a_pullback_alone_has_the_same_pushforward(kind: str) -> None:
    cell = CELLS[kind]
    w = weights(cell, projected=False)
    terms, prev = affine(w, B), states(cell, w, B)
    gates, after = cell.step(w, terms, prev)
    changes, tangent = affine(w, B), states(cell, w, B)
    ours = cell.pushforward(w, gates, prev, after, changes, tangent)
    by_transposition = Cell.push(cell, w, cell.slopes(w, gates, prev, after), changes, tangent)
    for name in cell.states:
        torch.testing.assert_close(by_transposition[name], ours[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_is_the_textbooks(kind: str) -> None:
    cell = CELLS[kind]
    w = weights(cell, projected=False)
    x, prev = torch.randn(B, FEATURES, dtype=torch.float64), states(cell, w, B)
    terms = (x @ w["weight_ih"].T + w["bias_ih"], prev["h"] @ w["weight_hh"].T + w["bias_hh"])
    gates, after = cell.step(w, terms, prev)
    moment = STEPS[kind](TextbookWeights.of(kind, w), x, prev, NO_NUDGE)
    for name in cell.gates:
        torch.testing.assert_close(gates[name], moment.gates[name], rtol=0, atol=1e-14)
    for name in cell.states:
        torch.testing.assert_close(after[name], moment.states[name], rtol=0, atol=1e-14)
    for name, values in cell.preactivations(w, terms, prev).items():
        if name in moment.preactivations:
            torch.testing.assert_close(values, moment.preactivations[name], rtol=0, atol=1e-14)


def test_a_step_that_only_torch_knows_is_as_exact_as_one_with_a_pullback_of_its_own() -> None:
    lstm = CELLS["lstm"]
    by_step = gs.Cell.from_step("lstm", gates=lstm.gates, memory=lstm.memory, step=lstm.step)
    w = weights(lstm, projected=False)
    terms, prev = affine(w, B), states(lstm, w, B)
    gates, after = by_step.step(w, terms, prev)
    felt = {name: torch.randn_like(s) for name, s in after.items()}
    ours, theirs = by_step.pullback(w, gates, prev, after, felt), lstm.pullback(w, gates, prev, after, felt)
    for name in ("h", "c"):
        torch.testing.assert_close(ours.total[name], theirs.total[name], rtol=0, atol=1e-15)
    torch.testing.assert_close(ours.affine[0], theirs.affine[0], rtol=0, atol=1e-15)
    torch.testing.assert_close(ours.prev["c"], theirs.prev["c"], rtol=0, atol=1e-15)
