"""The GRU whose reset gate acts before the recurrent product: ONNX's default and Keras' `reset_after=False`.

    r, z = σ(a_r), σ(a_z)                                 reset gate; update gate, which here *keeps* the old state
    n    = tanh(W_in x_t + b_in + W_hn (r ⊙ h_{t-1}) + b_hn)      candidate
    h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}                      hidden state

with a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, its three row blocks in the order r, z, n; the n block of the
hidden-side term is not used. Cho et al. 2014; ONNX GRU with linear_before_reset = 0.
"""

import torch
from torch import Tensor

from .cell import Affine, Cell, Named, Pullback, Weights


class GRUResetBefore(Cell):
    """The GRU of the first paper; another cell than torch's, with other weights for the same function."""

    kind = "gru-reset-before"
    gates = ("r", "z", "n")

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        a = self.preactivations(w, affine, prev)
        r, z, n = a["r"].sigmoid(), a["z"].sigmoid(), a["n"].tanh()
        return {"r": r, "z": z, "n": n}, {"h": n + z * (prev["h"] - n)}

    def pullback(self, w: Weights, gates: Named, prev: Named, state: Named, adjoint: Named) -> Pullback:
        r, z, n = (gates[name] for name in self.gates)
        δh, h = adjoint["h"], prev["h"]
        δn = δh * (1 - z) * (1 - n * n)
        δrh = δn @ _candidate_weight(w)
        δr = δrh * h * r * (1 - r)
        δz = δh * (h - n) * z * (1 - z)
        return Pullback(
            total={"h": δh},
            affine=(torch.cat([δr, δz, δn], -1), torch.cat([δr, δz, torch.zeros_like(δn)], -1)),
            prev={"h": δh * z + δrh * r},
        )

    def pushforward(self, w: Weights, gates: Named, prev: Named, state: Named, affine: Affine, tangent: Named) -> Named:
        r, z, n = (gates[name] for name in self.gates)
        (dx_r, dx_z, dx_n), (dh_r, dh_z, _) = (term.chunk(3, -1) for term in affine)
        dr, dz = r * (1 - r) * (dx_r + dh_r), z * (1 - z) * (dx_z + dh_z)
        drh = r * tangent["h"] + prev["h"] * dr
        dn = (1 - n * n) * (dx_n + drh @ _candidate_weight(w).T)
        return {"h": (1 - z) * dn + z * tangent["h"] + (prev["h"] - n) * dz}

    def preactivations(self, w: Weights, affine: Affine, prev: Named) -> Named:
        (x_r, x_z, x_n), (h_r, h_z, _) = (term.chunk(3, -1) for term in affine)
        a_r = x_r + h_r
        a_n = x_n + (a_r.sigmoid() * prev["h"]) @ _candidate_weight(w).T
        if "bias_hh" in w:
            a_n = a_n + w["bias_hh"].chunk(3)[2]
        return {"r": a_r, "z": x_z + h_z, "n": a_n}


def _candidate_weight(w: Weights) -> Tensor:
    return w["weight_hh"].chunk(3)[2]
