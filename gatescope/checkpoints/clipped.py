"""An LSTM that clamps what it computes at every step, as ELMo's and some ONNX nodes do.

    c_t = clip(f ⊙ c_{t-1} + i ⊙ g)           Clip.cell
    h_t = clip(W_hr (o ⊙ tanh c_t))           Clip.output

and with Clip.preactivation whatever enters a sigmoid or a tanh is clamped first. Sak, Senior & Beaufays 2014 for the
projection; Peters et al. 2018 (ELMo) clamp cell and projection at 3; ONNX's attribute `clip` is the pre-activation's.
"""

from typing import TYPE_CHECKING

from ..errors import InputError
from .found import Clip

if TYPE_CHECKING:
    from torch import Tensor

    from ..cells import Cell


def clipped(kind: str, clip: Clip) -> "Cell":
    """The cell that clamps; its pullback comes from autograd.

    Raises:
        InputError: the kind is no LSTM.
    """
    from ..cells import CELLS, Affine, Cell, Named, Weights

    if kind != "lstm":
        raise InputError(f"A {kind} that clips what it computes is no cell of gatescope's; only the LSTM has one.")
    gates = CELLS[kind].gates

    def step(w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        a_i, a_f, a_g, a_o = _within(affine[0] + affine[1], clip.preactivation).chunk(4, -1)
        i, f, g, o = a_i.sigmoid(), a_f.sigmoid(), a_g.tanh(), a_o.sigmoid()
        c = _within(f * prev["c"] + i * g, clip.cell)
        h = o * _within(c, clip.preactivation).tanh()
        if "weight_hr" in w:
            h = h @ w["weight_hr"].T
        return dict(zip(gates, (i, f, g, o), strict=True)), {"h": _within(h, clip.output), "c": c}

    return Cell.from_step("lstm", gates=gates, step=step, memory=("c",))


def _within(values: "Tensor", bound: float | None) -> "Tensor":
    return values if bound is None else values.clamp(-bound, bound)
