"""The GRU whose reset gate acts before the recurrent product: ONNX's default and Keras' `reset_after=False`.

    r, z = σ(a_r), σ(a_z)                                 reset gate; update gate, which here *keeps* the old state
    n    = tanh(W_in x_t + b_in + W_hn (r ⊙ h_{t-1}) + b_hn)      candidate
    h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}                      hidden state

with a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, its three row blocks in the order r, z, n; the n block of the
hidden-side term is not used. Cho et al. 2014; ONNX GRU with linear_before_reset = 0.
"""

import torch
from torch import Tensor

from .cell import Affine, Cell, Named, Pullback, Weights, through_sigmoid, through_tanh


class GRUResetBefore(Cell):
    """The GRU of the first paper; another cell than torch's, with other weights for the same function."""

    kind = "gru-reset-before"
    gates = ("r", "z", "n")

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        a = self.preactivations(w, affine, prev)
        r, z, n = a["r"].sigmoid(), a["z"].sigmoid(), a["n"].tanh()
        return {"r": r, "z": z, "n": n}, {"h": n + z * (prev["h"] - n)}

    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        r, z, n = (gates[name] for name in self.gates)
        h = prev["h"]
        return {
            "r": through_sigmoid(h, r),
            "z": through_sigmoid(h - n, z),
            "n": through_tanh(1 - z, n),
            "h_prev": z,
            "h_prev in n": r,
        }

    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        δh = adjoint["h"]
        δn = δh * slopes["n"]
        δrh = δn @ _candidate_weight(w)
        δr, δz = δrh * slopes["r"], δh * slopes["z"]
        return Pullback(
            total={"h": δh},
            affine=(torch.cat([δr, δz, δn], -1), torch.cat([δr, δz, torch.zeros_like(δn)], -1)),
            prev={"h": δh * slopes["h_prev"] + δrh * slopes["h_prev in n"]},
        )

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        (dx_r, dx_z, dx_n), (dh_r, dh_z, _) = (term.chunk(3, -1) for term in affine)
        drh = slopes["h_prev in n"] * tangent["h"] + slopes["r"] * (dx_r + dh_r)
        dn = dx_n + drh @ _candidate_weight(w).T
        return {"h": slopes["n"] * dn + slopes["z"] * (dx_z + dh_z) + slopes["h_prev"] * tangent["h"]}

    def preactivations(self, w: Weights, affine: Affine, prev: Named) -> Named:
        (x_r, x_z, x_n), (h_r, h_z, _) = (term.chunk(3, -1) for term in affine)
        a_r = x_r + h_r
        a_n = x_n + (a_r.sigmoid() * prev["h"]) @ _candidate_weight(w).T
        if "bias_hh" in w:
            a_n = a_n + w["bias_hh"].chunk(3)[2]
        return {"r": a_r, "z": x_z + h_z, "n": a_n}


def _candidate_weight(w: Weights) -> Tensor:
    return w["weight_hh"].chunk(3)[2]
