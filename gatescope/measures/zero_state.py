"""How a layer forgets around its zero state, from the weights alone: one matrix A, its powers and its radius.

With no input, a zero state and no bias on the candidate, the step is linear: the memory moves on by

    RNN     A = W_hh
    LSTM    A = diag(f) + diag(i) W_hg W_hr diag(o)           c → c; no W_hr without a projection
    GRU     A = diag(z) + diag((1 − z) ⊙ r) W_hn              h → h

with the gates at rest, sigmoid(b_ih + b_hh). In the root mean square over directions, k steps stretch a push by
|A^k|_F / √n, and in the end each step stretches it by the spectral radius. For independent weights of variance g²/n and
gates of one value each there is, for n → ∞, a closed form, with a = f or z and b = i o or (1 − z) r:

    RMS² = Σ_j C(k, j)² a^{2(k−j)} (b g)^{2j},   radius = a + b g

so that LSTM and GRU begin alike. It is derived here and checked by simulation; it leaves out terms of order k²/n.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..layers import Direction, RecurrentLayer
from .weights import finite

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class ZeroState:
    """How a layer forgets when nothing happens."""

    measure: ClassVar[str] = "zero_state"

    layer: str
    cell: str
    direction: Direction
    log_attenuation: Float[np.ndarray, "lag"]
    """ln of the root mean square over directions of |A^k v| / |v|, in nats, k = 0, 1, …"""
    spectral_radius: float
    """Of A: the factor per step in the end; the zero state is stable below 1."""
    predicted_log_attenuation: Float[np.ndarray, "lag"]
    """The same for weights drawn independently with this layer's variance, n → ∞."""
    predicted_spectral_radius: float

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, lag (missing: of none), value, unit."""
        import pandas

        radii = {"spectral radius": self.spectral_radius, "predicted spectral radius": self.predicted_spectral_radius}
        curves = {
            "log attenuation": self.log_attenuation,
            "predicted log attenuation": self.predicted_log_attenuation,
        }
        rows: list[tuple[str, int | None, float, str]] = [(name, None, value, "1") for name, value in radii.items()]
        for name, curve in curves.items():
            rows += [(name, lag, value, "nats") for lag, value in enumerate(curve.tolist())]
        columns = ("quantity", "lag", "value", "unit")
        frame = pandas.DataFrame.from_records(rows, columns=columns).astype({"lag": "Int64"})
        for position, name in enumerate(("layer", "direction", "measure")):
            frame.insert(position, name, getattr(self, name))
        return frame


def zero_state(layer: RecurrentLayer, lags: int = 100) -> ZeroState:
    """The curve for the lags 0 to `lags`, in float64.

    Raises:
        InputError: a cell of one's own, whose gates at rest are not known; a weight that is not finite.
    """
    a, b, matrix = _linearised(finite(layer))
    gain = float(matrix.square().mean().sqrt()) * math.sqrt(len(matrix))
    whole = torch.diag(a) + b[0][:, None] * matrix * b[1]
    step, strength = float(a.mean()), float(b[0].mean() * b[1].mean()) * gain
    curve = _log_rms_of_powers(whole, lags)
    predicted = np.array([_log_rms_predicted(step, strength, k) for k in range(lags + 1)])
    for values in (curve, predicted):
        values.setflags(write=False)
    return ZeroState(
        layer=layer.name,
        cell=layer.cell.kind,
        direction=layer.direction,
        log_attenuation=curve,
        spectral_radius=float(torch.linalg.eigvals(whole).abs().max()),
        predicted_log_attenuation=predicted,
        predicted_spectral_radius=step + strength,
    )


def _linearised(layer: RecurrentLayer) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """diag(a) + diag(b₀) M diag(b₁): a, b, M."""
    w, gates = layer.weights, layer.cell.gates or ("h",)
    absent = w["weight_hh"].new_zeros(len(w["weight_hh"]))
    bias = w.get("bias_ih", absent) + w.get("bias_hh", absent)
    at_rest = dict(zip(gates, bias.sigmoid().chunk(len(gates)), strict=True))
    recurrent = dict(zip(gates, w["weight_hh"].chunk(len(gates)), strict=True))
    match layer.cell.kind:
        case "rnn-tanh" | "rnn-relu":
            one = torch.ones_like(at_rest["h"])
            return torch.zeros_like(one), (one, one), recurrent["h"]
        case "lstm":
            loop = recurrent["g"] @ w["weight_hr"] if "weight_hr" in w else recurrent["g"]
            return at_rest["f"], (at_rest["i"], at_rest["o"]), loop
        case "gru":
            z, r = at_rest["z"], at_rest["r"]
            return z, ((1 - z) * r, torch.ones_like(z)), recurrent["n"]
        case "gru-reset-before":
            z, r = at_rest["z"], at_rest["r"]
            return z, (1 - z, r), recurrent["n"]
    raise InputError(
        f"{layer.name}: the zero state of a {layer.cell.kind} is not known, since its gates are its own; measure it "
        "along a recording, with `lyapunov`."
    )


def _log_rms_of_powers(matrix: Tensor, lags: int) -> Float[np.ndarray, "lag"]:
    """By powers that are kept at norm one, so that none is lost."""
    power, log_norm = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device), 0.0
    curve = [0.0]
    for _ in range(lags):
        power = matrix @ power
        norm = float(power.norm()) / math.sqrt(len(matrix))
        log_norm = log_norm + math.log(norm) if norm else -math.inf
        curve.append(log_norm)
        power = power / norm if norm else power
    return np.array(curve)


def _log_rms_predicted(a: float, bg: float, k: int) -> float:
    from scipy.special import gammaln, logsumexp

    j = np.arange(k + 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 · ln 0: a power of zero to the nought is one
        powers = np.where(j < k, (k - j) * np.log(a), 0.0) + np.where(j > 0, j * np.log(bg), 0.0)
    log_terms = gammaln(k + 1) - gammaln(j + 1) - gammaln(k - j + 1) + powers
    return float(logsumexp(2 * log_terms)) / 2
