"""The gradient of a layer's weights as what it is: a sum of outer products, one for each step of each sequence.

    dL/dW = Σ_{t,b} left_{t,b} ⊗ right_{t,b}

    W_ih: δa ⊗ x_t     W_hh: δa ⊗ h_{t−1}     b_ih, b_hh: δa ⊗ 1     W_hr: δh ⊗ (o ⊙ tanh c_t)

with δa the adjoint of the pre-activations. None of them is ever formed: |left ⊗ right| = |left| |right|, and
⟨a ⊗ b, c ⊗ d⟩ = (a · c)(b · d) (ghost norms: Li et al. 2022; Bu et al. 2022, both unverified).

A GRU's W_hn and b_hn take the adjoint of q = W_hn h_{t−1} + b_hn, which lies behind the reset gate; where the reset
gate acts before the product, W_hn takes δa_n ⊗ (r ⊙ h_{t−1}). Of a cell of one's own, only what reaches the weights
through the two affine terms is here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..cells.gru_reset_before import GRUResetBefore
from ..shapes import reversed_in_time
from ..trace import Adjoint, Trace


@dataclass(frozen=True, eq=False)
class OuterProduct:
    """What the rows of one gate in one parameter got, in float64, lag 0 being each sequence's last processed step."""

    parameter: str
    """Torch's name: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, `weight_hr`."""
    gate: str
    """Whose rows; `h` for a plain RNN, and for the projection."""
    left: Float[Tensor, "lag sequence row"]
    """Over `exp(log_scale)` of its step and sequence; zero where a sequence has no such lag."""
    right: Float[Tensor, "lag sequence column"]
    """One column of ones for a bias."""


def by_lag(trace: Trace, sequences: Shaped[Tensor, "time sequence *rest"]) -> Shaped[Tensor, "time sequence *rest"]:
    """Each sequence from its last processed step to its first; a reverse layer's lies so in time already."""
    return reversed_in_time(sequences, trace.lengths) if trace.layer.direction == "forward" else sequences


def outer_products(adjoint: Adjoint) -> tuple[OuterProduct, ...]:
    """One for each gate's rows of each parameter; `by_lag(trace, adjoint.log_scale)` is the scale of all."""
    trace, layer, cell = adjoint.trace, adjoint.layer, adjoint.layer.cell
    felt = {name: _ready(trace, values) for name, values in adjoint.normalised["preactivations"].items()}
    read = {"weight_ih": _ready(trace, trace.x), "weight_hh": _ready(trace, trace.previous["h"])}
    ones = torch.ones_like(read["weight_ih"][..., :1])
    found = []
    for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        if parameter not in layer.weights:
            continue
        names = cell.blocks if parameter.endswith("_ih") else cell.hidden_blocks
        gates = cell.blocks if len(cell.blocks) == len(cell.gates) else names
        for gate, name in zip(gates, names, strict=True):
            right = read.get(parameter, ones)
            if parameter == "weight_hh" and gate == "n" and isinstance(cell, GRUResetBefore):
                right = right * _ready(trace, trace.gates["r"])
            found.append(OuterProduct(parameter, gate, felt[name], right))
    if "weight_hr" in layer.weights and {"o", "c"} <= {*trace.gates, *trace.states}:
        emitted = _ready(trace, trace.gates["o"]) * _ready(trace, trace.states["c"]).tanh()
        found.append(OuterProduct("weight_hr", "h", _ready(trace, adjoint.normalised["total"]["h"]), emitted))
    return tuple(found)


def merged(
    products: Sequence[OuterProduct],
) -> list[tuple[Float[Tensor, "lag sequence _"], Float[Tensor, "lag sequence _"]]]:
    """The same products in as few pairs (left, right) as they fit in: one for an LSTM or RNN, two for a GRU."""
    rows: dict[tuple[str, int], list[Tensor]] = {}
    rights: dict[int, Tensor] = {}
    for product in products:
        rows.setdefault((product.parameter, id(product.right)), []).append(product.left)
        rights[id(product.right)] = product.right
    columns: dict[tuple[int, ...], tuple[list[Tensor], list[Tensor]]] = {}
    for (_, right), lefts in rows.items():
        columns.setdefault(tuple(map(id, lefts)), (lefts, []))[1].append(rights[right])
    return [(torch.cat(lefts, -1), torch.cat(others, -1)) for lefts, others in columns.values()]


def _ready(trace: Trace, sequences: Tensor) -> Tensor:
    return by_lag(trace, sequences.double())
