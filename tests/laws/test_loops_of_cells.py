"""The law of the recorder for loops that somebody wrote over a cell: every state and gradient of the unrolled loop."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from oracles import textbook, true_adjoints

CELLS = {
    "rnn-tanh": lambda **o: nn.RNNCell(3, 4, **o),
    "rnn-relu": lambda **o: nn.RNNCell(3, 4, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTMCell(3, 4, **o),
    "gru": lambda **o: nn.GRUCell(3, 4, **o),
}
LOSSES = {
    "last h": lambda h, c: h[-1].square().sum(),
    "every h": lambda h, c: (h * torch.arange(1.0, h.numel() + 1).view_as(h).sin()).sum(),
    "last c": lambda h, c: (h if c is None else c)[-1].square().sum(),
    "h and c of every step": lambda h, c: h.square().sum() + (0 if c is None else c.pow(3).sum()),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def looped(cell: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Tensor | None]:
    h, c = [], []
    for x_t in x:
        state = cell(x_t, state)
        h.append(state[0] if isinstance(state, tuple) else state)
        c.append(state[1] if isinstance(state, tuple) else state)
    return torch.stack(h), torch.stack(c) if isinstance(state, tuple) else None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_states_and_adjoints_are_those_of_the_unrolled_loop(
    kind: str, bias: bool, given: bool, loss: str, dtype: torch.dtype, device: str
) -> None:
    cell = CELLS[kind](bias=bias, dtype=dtype, device=device)
    x = torch.randn(6, 2, 3, dtype=dtype)
    initial: Any = None
    if given:
        initial = tuple(torch.randn(2, 4, dtype=dtype) for _ in range(2 if kind == "lstm" else 1))
    at_start = None if initial is None else tuple(s.to(device) for s in initial)
    with gs.Recorder(cell) as rec:
        h, c = looped(cell, x.to(device), at_start if at_start is None or kind == "lstm" else at_start[0])
        LOSSES[loss](h.cpu(), None if c is None else c.cpu()).backward()
    trace, adjoint = rec.traces["cell"], rec.adjoints["cell"]

    stacked = None if initial is None else tuple(s[None] for s in initial)
    run = textbook(kind, cell.state_dict(), x, initial=stacked if stacked is None or kind == "lstm" else stacked[0])
    (layer,) = run.layers.values()
    truth = true_adjoints(run, LOSSES[loss](layer.states["h"], layer.states.get("c")))[layer.name]
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for name, values in {**trace.states, **{g: trace.gates[g] for g in trace.layer.cell.gates}}.items():
        wanted = layer.states.get(name, layer.gates.get(name))
        torch.testing.assert_close(values.cpu().double(), wanted.detach(), rtol=0, atol=tolerance)
    scale = max(float(v.abs().max()) for part in truth.values() for v in part.values())
    for part in ("total", "state", "preactivations", "initial"):
        for name, values in getattr(adjoint, part).items():
            torch.testing.assert_close(values.cpu().double(), truth[part][name], rtol=0, atol=tolerance * scale)


def test_what_the_last_step_hands_to_no_one_feels_exactly_nothing() -> None:
    """Autograd brings the total of c_T, and the pair's share of it is what is left beside h: zero, not its rounding."""
    cell = nn.LSTMCell(3, 4)
    with gs.Recorder(cell) as rec:
        looped(cell, torch.randn(6, 2, 3), None)[0][-1].square().sum().backward()
    assert (rec.adjoints["cell"].log_norm("c", of="state")[-1] == -torch.inf).all()
    assert rec.adjoints["cell"].log_norm("c")[-1].isfinite().all()
