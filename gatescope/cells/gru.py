"""The GRU, as torch.nn.GRU and cuDNN define it: the reset gate acts after the recurrent product.

    r, z = σ(a_r), σ(a_z)                     reset gate; update gate, which here *keeps* the old state
    q    = W_hn h_{t-1} + b_hn                what the reset gate lets through
    n    = tanh(W_in x_t + b_in + r ⊙ q)      candidate
    h_t  = (1 - z) ⊙ n + z ⊙ h_{t-1}          hidden state

with a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, its three row blocks in the order r, z, n.
Papers that write h_t = (1 - z) h_{t-1} + z n mean 1 - z by their z.

Cho et al. 2014; this variant: Chung et al. 2014, torch.nn.GRU.
"""

import torch
from torch import Tensor

from .cell import Affine, Cell, Named, Pullback, Weights, through_sigmoid, through_tanh


class GRU(Cell):
    """The cell with two gates whose one hidden state is also its memory."""

    kind = "gru"
    gates = ("r", "z", "n")
    kept = ("q",)

    @property
    def hidden_blocks(self) -> tuple[str, ...]:
        return ("r", "z", "q")

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        (x_r, x_z, x_n), (h_r, h_z, q) = (term.chunk(3, -1) for term in affine)
        r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
        n = (x_n + r * q).tanh()
        return {"r": r, "z": z, "n": n, "q": q}, {"h": n + z * (prev["h"] - n)}

    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        r, z, n, q = (gates[name] for name in ("r", "z", "n", "q"))
        return {
            "r": through_sigmoid(q, r),
            "z": through_sigmoid(prev["h"] - n, z),
            "n": through_tanh(1 - z, n),
            "q": r,
            "h_prev": z,
        }

    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        δh = adjoint["h"]
        δn = δh * slopes["n"]
        δr, δz, δq = δn * slopes["r"], δh * slopes["z"], δn * slopes["q"]
        return Pullback(
            total={"h": δh},
            affine=(torch.cat([δr, δz, δn], -1), torch.cat([δr, δz, δq], -1)),
            prev={"h": δh * slopes["h_prev"]},
        )

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        (dx_r, dx_z, dx_n), (dh_r, dh_z, dq) = (term.chunk(3, -1) for term in affine)
        dn = dx_n + slopes["q"] * dq + slopes["r"] * (dx_r + dh_r)
        return {"h": slopes["n"] * dn + slopes["z"] * (dx_z + dh_z) + slopes["h_prev"] * tangent["h"]}

    def replay(self, w: Weights, affine: Affine, h: Tensor, memory: Named) -> tuple[Named, Named]:
        """As `step`, in place."""
        (r, z, n), (h_r, h_z, q) = (term.chunk(3, -1) for term in affine)
        r.add_(h_r).sigmoid_()
        z.add_(h_z).sigmoid_()
        n.addcmul_(r, q).tanh_()
        return {"r": r, "z": z, "n": n, "q": q}, {"h": torch.lerp(n, h, z)}

    def preactivations(self, w: Weights, affine: Affine, prev: Named) -> Named:
        (x_r, x_z, x_n), (h_r, h_z, q) = (term.chunk(3, -1) for term in affine)
        return {"r": x_r + h_r, "z": x_z + h_z, "n": x_n + (x_r + h_r).sigmoid() * q, "q": q}
