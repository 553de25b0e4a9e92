"""The LSTM, as torch.nn.LSTM defines it.

    i, f, o = σ(a_i), σ(a_f), σ(a_o)      input, forget, output gate
    g       = tanh(a_g)                   candidate
    c_t     = f ⊙ c_{t-1} + i ⊙ g         cell state
    h_t     = W_hr (o ⊙ tanh c_t)         hidden state; no W_hr unless proj_size > 0

with a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, its four row blocks in the order i, f, g, o.

Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000; projection: Sak, Senior & Beaufays 2014.
"""

import torch
from torch import Tensor

from .cell import Affine, Cell, Named, Pullback, Weights, through_sigmoid, through_tanh


class LSTM(Cell):
    """The cell with three gates and a cell state."""

    kind = "lstm"
    gates = ("i", "f", "g", "o")
    memory = ("c",)

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        gates = _activated(affine)
        c = gates["f"] * prev["c"] + gates["i"] * gates["g"]
        return gates, {"h": _emitted(w, gates["o"], c), "c": c}

    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        i, f, g, o = (gates[name] for name in self.gates)
        tanh_c = state["c"].tanh()
        return {
            "i": through_sigmoid(g, i),
            "f": through_sigmoid(prev["c"], f),
            "g": through_tanh(i, g),
            "o": through_sigmoid(tanh_c, o),
            "c": through_tanh(o, tanh_c),
            "c_prev": f,
        }

    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        δm = adjoint["h"] @ w["weight_hr"] if "weight_hr" in w else adjoint["h"]
        δc = adjoint["c"] + δm * slopes["c"]
        δa = torch.cat([δc * slopes["i"], δc * slopes["f"], δc * slopes["g"], δm * slopes["o"]], -1)
        return Pullback(total={"h": adjoint["h"], "c": δc}, affine=(δa, δa), prev={"c": δc * slopes["c_prev"]})

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        da_i, da_f, da_g, da_o = (affine[0] + affine[1]).chunk(4, -1)
        dc = slopes["i"] * da_i + slopes["f"] * da_f + slopes["g"] * da_g + slopes["c_prev"] * tangent["c"]
        dm = slopes["c"] * dc + slopes["o"] * da_o
        return {"h": dm @ w["weight_hr"].T if "weight_hr" in w else dm, "c": dc}

    def replay(self, w: Weights, affine: Affine, h: Tensor, memory: Named) -> tuple[Named, Named]:
        """As `step` iterated: no gate reads c, so all are activated at once, in place, and only c runs over time."""
        i, f, g, o = affine[0].add_(affine[1]).chunk(4, -1)
        gates = {"i": i.sigmoid_(), "f": f.sigmoid_(), "g": g.tanh_(), "o": o.sigmoid_()}
        c = gates["i"] * gates["g"]
        c_prev = memory["c"]
        for c_t, f in zip(c.unbind(), gates["f"].unbind(), strict=True):
            c_prev = c_t.addcmul_(f, c_prev)
        return gates, {"h": _emitted(w, gates["o"], c), "c": c}


def _activated(affine: Affine) -> Named:
    i, f, g, o = (affine[0] + affine[1]).chunk(4, -1)
    return {"i": i.sigmoid(), "f": f.sigmoid(), "g": g.tanh(), "o": o.sigmoid()}


def _emitted(w: Weights, o: Tensor, c: Tensor) -> Tensor:
    m = o * c.tanh()
    return m @ w["weight_hr"].T if "weight_hr" in w else m
