"""The simple recurrent network, as torch.nn.RNN defines it.

    h_t = φ(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh),  φ = tanh or relu      hidden state

It has no gate: what it remembers goes through W_hh and φ at every step. Elman 1990; relu: Le, Jaitly & Hinton 2015.
"""

from .cell import Affine, Cell, Named, Pullback, Weights


class TanhRNN(Cell):
    """h_t = tanh(a_t)."""

    kind = "rnn-tanh"
    gates = ()

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        return {}, {"h": (affine[0] + affine[1]).tanh()}

    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        h = state["h"]
        return {"h": 1 - h * h}

    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        δa = adjoint["h"] * slopes["h"]
        return Pullback(total={"h": adjoint["h"]}, affine=(δa, δa), prev={})

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        return {"h": slopes["h"] * (affine[0] + affine[1])}


class ReluRNN(Cell):
    """h_t = max(a_t, 0), with the derivative 0 at a_t = 0, as in torch."""

    kind = "rnn-relu"
    gates = ()

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        return {}, {"h": (affine[0] + affine[1]).relu()}

    def slopes(self, w: Weights, gates: Named, prev: Named, state: Named) -> Named:
        return {"h": state["h"] > 0}

    def pull(self, w: Weights, slopes: Named, adjoint: Named) -> Pullback:
        δa = adjoint["h"].where(slopes["h"], 0)
        return Pullback(total={"h": adjoint["h"]}, affine=(δa, δa), prev={})

    def push(self, w: Weights, slopes: Named, affine: Affine, tangent: Named) -> Named:
        return {"h": (affine[0] + affine[1]).where(slopes["h"], 0)}
