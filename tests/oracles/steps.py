"""One step of each cell, as the documentation of torch writes it, with a zero nudge wherever a gradient is wanted.

A nudge is a tensor of zeros that is added to a value: it changes nothing, and the gradient of the loss with respect to
it is the gradient with respect to that value *at that place of the graph*. The place is the whole point:

    ("preactivations", gate)   on a_gate, before its nonlinearity; for the GRU also "q" = W_hn h + b_hn, not yet reset
    ("total", "c")             on c_t where h_t and the next step both read it: what c_t.grad says in an unrolled loop
    ("state", "c")             on c_t where only the next step (and c_n, and a head on c_t) reads it: h_t is held fixed
    ("total", "h")             on h_t where the output, the layer above and the next step read it; h_t is the last thing
                               that a step makes, so this is the gradient of the state pair as well

Formulas: torch.nn.RNN, LSTM and GRU. Reset before the matmul: Cho et al. 2014; ONNX GRU with linear_before_reset = 0.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Nudge = Mapping[tuple[str, str], Tensor | float]
States = Mapping[str, Float[Tensor, "sequence unit"]]

NO_NUDGE: Nudge = defaultdict(float)

GATES = {
    "rnn-tanh": ("h",),
    "rnn-relu": ("h",),
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
    "gru-reset-before": ("r", "z", "n"),
}
"""The row blocks of the weights, in torch's order. The plain RNN has one block and no gate; its block is called "h"."""


@dataclass(frozen=True)
class Weights:
    """One layer's weights, cut into the row blocks of its gates; an absent bias is zero, an absent W_hr is None."""

    ih: Mapping[str, Float[Tensor, "hidden feature"]]
    hh: Mapping[str, Float[Tensor, "hidden unit"]]
    b_ih: Mapping[str, Float[Tensor, " hidden"]]
    b_hh: Mapping[str, Float[Tensor, " hidden"]]
    hr: Float[Tensor, "unit hidden"] | None

    @classmethod
    def of(cls, kind: str, tensors: Mapping[str, Tensor]) -> "Weights":
        """From torch's names without the suffix: weight_ih, weight_hh; perhaps bias_ih, bias_hh, weight_hr."""
        gates = GATES[kind]
        no_bias = torch.zeros_like(tensors["weight_ih"][:, 0])

        def blocks(tensor: Tensor) -> dict[str, Tensor]:
            return dict(zip(gates, tensor.chunk(len(gates)), strict=True))

        return cls(
            ih=blocks(tensors["weight_ih"]),
            hh=blocks(tensors["weight_hh"]),
            b_ih=blocks(tensors.get("bias_ih", no_bias)),
            b_hh=blocks(tensors.get("bias_hh", no_bias)),
            hr=tensors.get("weight_hr"),
        )


@dataclass(frozen=True)
class Moment:
    """What one step makes. `states` is the outgoing pair, as the next step reads it."""

    gates: Mapping[str, Tensor]
    preactivations: Mapping[str, Tensor]
    states: States


def rnn_tanh(w: Weights, x: Tensor, states: States, nudge: Nudge) -> Moment:
    a = _rnn_preactivation(w, x, states["h"], nudge)
    return Moment({}, {"h": a}, {"h": torch.tanh(a) + nudge["total", "h"]})


def rnn_relu(w: Weights, x: Tensor, states: States, nudge: Nudge) -> Moment:
    a = _rnn_preactivation(w, x, states["h"], nudge)
    return Moment({}, {"h": a}, {"h": torch.relu(a) + nudge["total", "h"]})


def _rnn_preactivation(w: Weights, x: Tensor, h: Tensor, nudge: Nudge) -> Tensor:
    return x @ w.ih["h"].T + w.b_ih["h"] + h @ w.hh["h"].T + w.b_hh["h"] + nudge["preactivations", "h"]


def lstm(w: Weights, x: Tensor, states: States, nudge: Nudge) -> Moment:
    h, c = states["h"], states["c"]
    a_i = x @ w.ih["i"].T + w.b_ih["i"] + h @ w.hh["i"].T + w.b_hh["i"] + nudge["preactivations", "i"]
    a_f = x @ w.ih["f"].T + w.b_ih["f"] + h @ w.hh["f"].T + w.b_hh["f"] + nudge["preactivations", "f"]
    a_g = x @ w.ih["g"].T + w.b_ih["g"] + h @ w.hh["g"].T + w.b_hh["g"] + nudge["preactivations", "g"]
    a_o = x @ w.ih["o"].T + w.b_ih["o"] + h @ w.hh["o"].T + w.b_hh["o"] + nudge["preactivations", "o"]
    i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
    c = f * c + i * g + nudge["total", "c"]
    h = o * torch.tanh(c)
    if w.hr is not None:
        h = h @ w.hr.T
    return Moment(
        gates={"i": i, "f": f, "g": g, "o": o},
        preactivations={"i": a_i, "f": a_f, "g": a_g, "o": a_o},
        states={"h": h + nudge["total", "h"], "c": c + nudge["state", "c"]},
    )


def gru(w: Weights, x: Tensor, states: States, nudge: Nudge) -> Moment:
    h = states["h"]
    a_r = x @ w.ih["r"].T + w.b_ih["r"] + h @ w.hh["r"].T + w.b_hh["r"] + nudge["preactivations", "r"]
    a_z = x @ w.ih["z"].T + w.b_ih["z"] + h @ w.hh["z"].T + w.b_hh["z"] + nudge["preactivations", "z"]
    r, z = torch.sigmoid(a_r), torch.sigmoid(a_z)
    q = h @ w.hh["n"].T + w.b_hh["n"] + nudge["preactivations", "q"]
    a_n = x @ w.ih["n"].T + w.b_ih["n"] + r * q + nudge["preactivations", "n"]
    n = torch.tanh(a_n)
    h = (1 - z) * n + z * h + nudge["total", "h"]
    return Moment({"r": r, "z": z, "n": n}, {"r": a_r, "z": a_z, "n": a_n, "q": q}, {"h": h})


def gru_reset_before(w: Weights, x: Tensor, states: States, nudge: Nudge) -> Moment:
    h = states["h"]
    a_r = x @ w.ih["r"].T + w.b_ih["r"] + h @ w.hh["r"].T + w.b_hh["r"] + nudge["preactivations", "r"]
    a_z = x @ w.ih["z"].T + w.b_ih["z"] + h @ w.hh["z"].T + w.b_hh["z"] + nudge["preactivations", "z"]
    r, z = torch.sigmoid(a_r), torch.sigmoid(a_z)
    a_n = x @ w.ih["n"].T + w.b_ih["n"] + (r * h) @ w.hh["n"].T + w.b_hh["n"] + nudge["preactivations", "n"]
    n = torch.tanh(a_n)
    h = (1 - z) * n + z * h + nudge["total", "h"]
    return Moment({"r": r, "z": z, "n": n}, {"r": a_r, "z": a_z, "n": a_n}, {"h": h})


STEPS: Mapping[str, Callable[[Weights, Tensor, States, Nudge], Moment]] = {
    "rnn-tanh": rnn_tanh,
    "rnn-relu": rnn_relu,
    "lstm": lstm,
    "gru": gru,
    "gru-reset-before": gru_reset_before,
}
