"""What gatescope is compared with: torch's recurrent modules as the textbook's lines in a plain loop, for autograd.

It stands by itself: nothing of gatescope's own cells, replay or recursions is in it. On the CPU, in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

Named = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A module's run, every tensor of it a node of autograd's graph."""

    x: Float[Tensor, "time sequence feature"]
    weights: Named
    """By torch's own names."""
    states: dict[str, dict[str, list[Tensor]]]
    """By layer (`l0`, `l0_reverse`) and state (`h`, `c`), after the step that reads each time."""
    output: Float[Tensor, "time sequence unit"]


def unrolled(module: nn.RNNBase, x: Float[Tensor, "time sequence feature"]) -> Unrolled:
    """Any number of layers, one or two directions, from the zero state."""
    start = x.detach().double().cpu().requires_grad_()
    weights = {name: w.detach().double().cpu().requires_grad_() for name, w in module.named_parameters()}
    states, below = {}, start
    for depth in range(module.num_layers):
        outputs = []
        for name in (f"l{depth}", f"l{depth}_reverse")[: 1 + module.bidirectional]:
            own = {key.removesuffix(f"_{name}"): w for key, w in weights.items() if key.endswith(f"_{name}")}
            turn = -1 if name.endswith("_reverse") else 1
            run = loop(module, [own] * len(below), below if turn == 1 else below.flip(0))
            states[name] = {state: steps[::turn] for state, steps in run.items()}
            outputs.append(torch.stack(states[name]["h"]))
        below = torch.cat(outputs, -1)
    return Unrolled(start, weights, states, below)


def loop(
    module: nn.RNNBase, weights: Sequence[Named], x: Float[Tensor, "time sequence feature"]
) -> dict[str, list[Tensor]]:
    """The states after each step of one layer in one direction; `weights` has those of each step."""
    hidden = weights[0]["weight_ih"].shape[0] // {nn.LSTM: 4, nn.GRU: 3}.get(type(module), 1)
    state = {"h": x.new_zeros(x.shape[1], weights[0]["weight_hh"].shape[1])}
    if isinstance(module, nn.LSTM):
        state["c"] = x.new_zeros(x.shape[1], hidden)
    run: dict[str, list[Tensor]] = {name: [] for name in state}
    for w, x_t in zip(weights, x, strict=True):
        state = _step(module, w, x_t, state)
        for name, values in state.items():
            run[name].append(values)
    return run


def _step(module: nn.RNNBase, w: Named, x: Tensor, state: Named) -> Named:
    nothing = x.new_zeros(())
    inner = x @ w["weight_ih"].T + w.get("bias_ih", nothing)
    hidden = state["h"] @ w["weight_hh"].T + w.get("bias_hh", nothing)
    if isinstance(module, nn.LSTM):
        i, f, g, o = (inner + hidden).chunk(4, -1)
        c = f.sigmoid() * state["c"] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return {"h": h @ w["weight_hr"].T if "weight_hr" in w else h, "c": c}
    if isinstance(module, nn.GRU):
        (r_x, z_x, n_x), (r_h, z_h, n_h) = inner.chunk(3, -1), hidden.chunk(3, -1)
        z = (z_x + z_h).sigmoid()
        n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        return {"h": (1 - z) * n + z * state["h"]}
    return {"h": (inner + hidden).relu() if module.nonlinearity == "relu" else (inner + hidden).tanh()}
