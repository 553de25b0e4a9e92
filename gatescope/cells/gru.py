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

from .cell import Affine, Cell, Named, Pullback, Weights


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

    def pullback(self, w: Weights, gates: Named, prev: Named, state: Named, adjoint: Named) -> Pullback:
        r, z, n, q = (gates[name] for name in ("r", "z", "n", "q"))
        δh = adjoint["h"]
        δn = δh * (1 - z) * (1 - n * n)
        δr = δn * q * r * (1 - r)
        δz = δh * (prev["h"] - n) * z * (1 - z)
        δq = δn * r
        return Pullback(
            total={"h": δh},
            affine=(torch.cat([δr, δz, δn], -1), torch.cat([δr, δz, δq], -1)),
            prev={"h": δh * z},
        )

    def pushforward(self, w: Weights, gates: Named, prev: Named, state: Named, affine: Affine, tangent: Named) -> Named:
        r, z, n, q = (gates[name] for name in ("r", "z", "n", "q"))
        (dx_r, dx_z, dx_n), (dh_r, dh_z, dq) = (term.chunk(3, -1) for term in affine)
        dr, dz = r * (1 - r) * (dx_r + dh_r), z * (1 - z) * (dx_z + dh_z)
        dn = (1 - n * n) * (dx_n + r * dq + q * dr)
        return {"h": (1 - z) * dn + z * tangent["h"] + (prev["h"] - n) * dz}

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
