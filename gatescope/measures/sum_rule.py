"""What all Lyapunov exponents of a layer must add up to: how fast a step shrinks volumes. A check, of both sides.

    Σ λ_i = mean of ln |det J_t|,   in nats a step

        tanh RNN                       ln |det W_hh| + Σ ln (1 − h²)
        LSTM without projection        ln |det W_ho| + Σ ln f + ln |tanh c| + ln o (1 − o)
        every other cell               by the LU decomposition of every step's Jacobian

Exact for each sequence and any weights, over the steps from which the exponents were taken.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..dynamics.jacobian import Linearised, linearised
from ..trace import Trace


def sum_rule(trace: Trace, *, warm_up: int = 0) -> Float[np.ndarray, "sequence"]:
    """The right side for every sequence, without its first `warm_up` steps; -inf where a step forgets something."""
    jacobians = linearised(trace)
    steps = torch.arange(len(jacobians), device=jacobians.lengths.device)[:, None]
    counted = (steps >= warm_up) & (steps < jacobians.lengths)
    volumes = torch.where(counted, _log_det(jacobians)[: len(jacobians)], 0).sum(0)
    return (volumes / counted.sum(0)).cpu().numpy()


def _log_det(jacobians: Linearised) -> Float[Tensor, "step sequence"]:
    layer, gates, states = jacobians.layer, jacobians.gates, jacobians.states
    w_hh = layer.weights["weight_hh"]
    if layer.cell.kind == "rnn-tanh":
        return _log_abs_det(w_hh) + (1 - states["h"].square()).log().sum(-1)
    if layer.cell.kind == "lstm" and "weight_hr" not in layer.weights:
        o = gates["o"]
        through = gates["f"].log() + states["c"].tanh().abs().log() + (o * (1 - o)).log()
        return _log_abs_det(w_hh.chunk(4)[3]) + through.sum(-1)
    return torch.stack([_log_abs_det(jacobians[step].matrix()) for step in range(len(jacobians))])


def _log_abs_det(matrix: Tensor) -> Tensor:
    log_abs: Tensor = torch.linalg.slogdet(matrix).logabsdet
    return log_abs
