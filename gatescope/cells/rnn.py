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

    def pullback(self, w: Weights, gates: Named, prev: Named, state: Named, adjoint: Named) -> Pullback:
        δh, h = adjoint["h"], state["h"]
        δa = δh * (1 - h * h)
        return Pullback(total={"h": δh}, affine=(δa, δa), prev={})

    def pushforward(self, w: Weights, gates: Named, prev: Named, state: Named, affine: Affine, tangent: Named) -> Named:
        h = state["h"]
        return {"h": (1 - h * h) * (affine[0] + affine[1])}


class ReluRNN(Cell):
    """h_t = max(a_t, 0), with the derivative 0 at a_t = 0, as in torch."""

    kind = "rnn-relu"
    gates = ()

    def step(self, w: Weights, affine: Affine, prev: Named) -> tuple[Named, Named]:
        return {}, {"h": (affine[0] + affine[1]).relu()}

    def pullback(self, w: Weights, gates: Named, prev: Named, state: Named, adjoint: Named) -> Pullback:
        δh = adjoint["h"]
        δa = δh.where(state["h"] > 0, 0)
        return Pullback(total={"h": δh}, affine=(δa, δa), prev={})

    def pushforward(self, w: Weights, gates: Named, prev: Named, state: Named, affine: Affine, tangent: Named) -> Named:
        return {"h": (affine[0] + affine[1]).where(state["h"] > 0, 0)}
