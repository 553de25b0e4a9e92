"""How wrong the gradient becomes when backpropagation stops K steps back: every K from one backward pass.

    g_K = Σ_{k<K} C_k                         C_k: what the step at lag k adds to the gradient of the layer's weights
    relative bias   |g − g_K| / |g|           cosine   ⟨g, g_K⟩ / |g| |g_K|
    K(δ) = min K with |g − g_K| ≤ δ |g|

The state is carried over the cut and not reset: only the gradient stops there. |g − g_K| is summed up from the oldest
step, never as a difference of the two, and in logarithms, so that a bias of 1e-100 is a number.
Nothing is run again for another K: all sums come from the inner products ⟨C_j, C_k⟩ (`partial_sums`).

The gradient is of every weight and bias of one layer and direction, a projection's `weight_hr` included, L2 norm over
all of them; in a stack the layers are cut at the same step. It is for each sequence by itself, and for their sum,
which is what a training step feels. **The loss is to be read at the last step**, from which lags count: a loss at
every step would be cut elsewhere for each of them.

Williams & Peng 1990 (truncated backpropagation); Aicher, Foti & Fox 2019 (relative bias, adaptive length).
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError
from ..layers import Direction
from ..trace import Adjoint
from .outer_products import by_lag, merged, outer_products
from .partial_sums import partial_sums

if TYPE_CHECKING:
    import pandas


BIAS = 0.1
"""The relative bias for which a number of steps stands in the table, and the adaptive rule is asked."""


@dataclass(frozen=True, eq=False)
class AdaptiveLength:
    """How many steps keep the bias below δ if what each step adds falls geometrically, beyond what was seen too."""

    bias: float
    """δ, asked for."""
    tau: int
    """The lag from which on the fall is geometric."""
    beta: float
    """The factor of a step."""
    bound: Float[np.ndarray, "steps"]
    """On |g − g_K| of the mean over sequences, K = 0 … T."""
    least_norm: float
    """A lower bound of |g|."""
    steps: int | None
    """The fewest with bound / least_norm < δ; None where there are none among those seen."""


@dataclass(frozen=True, eq=False)
class Truncation:
    """The relative bias and the cosine of the truncated gradient, for each number of steps K = 0 … T."""

    measure: ClassVar[str] = "truncation"

    layer: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    direction: Direction
    """A reverse layer's last processed step is the first of the input."""
    loss: str
    """What loss, in words, and at which step it is read."""
    parameters: tuple[str, ...]
    """Torch's names of the parameters whose gradient it is."""
    lengths: Int[np.ndarray, "sequence"]
    log_norm: Float[np.ndarray, "sequence"]
    """Natural logarithm of |g|."""
    log_step: Float[np.ndarray, "sequence lag"]
    """Natural logarithm of |C_k|, lags 0 … T − 1; NaN where a sequence has no such lag."""
    log_bias: Float[np.ndarray, "sequence steps"]
    """ln |g − g_K| / |g|, K = 0 … T; -inf where nothing is lost, NaN for K above a sequence's length."""
    cosine: Float[np.ndarray, "sequence steps"]
    """From -1 to 1; NaN where g_K is zero, as g_0 is."""
    log_norm_of_sum: float
    """Of the gradient summed over sequences, as all that follows."""
    log_truncated_of_sum: Float[np.ndarray, "steps"]
    """ln |g_K|."""
    log_bias_of_sum: Float[np.ndarray, "steps"]
    cosine_of_sum: Float[np.ndarray, "steps"]
    adaptive: AdaptiveLength | None = None
    """What the adaptive rule asks for, from the fall over the later half of the lags; None for fewer than two steps."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @property
    def relative_bias(self) -> Float[np.ndarray, "sequence steps"]:
        """|g − g_K| / |g|: 0 where nothing is lost, 1 where all is, above 1 where what is lost cancelled the rest."""
        return np.asarray(np.exp(self.log_bias))

    @property
    def relative_bias_of_sum(self) -> Float[np.ndarray, "steps"]:
        return np.asarray(np.exp(self.log_bias_of_sum))

    def steps_for(self, bias: float) -> Int[np.ndarray, "sequence"]:
        """K(δ): for each sequence the fewest steps whose relative bias is at most `bias`; -1 without any gradient."""
        return _first(self.log_bias, bias)

    def steps_for_sum(self, bias: float) -> int:
        """The same for the gradient summed over sequences."""
        return int(_first(self.log_bias_of_sum[None], bias)[0])

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, window (K), sequence (none: the sum), value, unit.

        `steps for bias 0.1` is K(0.1), and `adaptive steps for bias 0.1` the same by the adaptive rule, of the mean
        over sequences; NaN where there is none.
        """
        import pandas

        sequence, steps = np.nonzero(np.arange(self.log_bias.shape[1]) <= self.lengths[:, None])
        all_steps = np.arange(len(self.log_bias_of_sum))
        parts = [
            {
                "quantity": quantity,
                "window": steps,
                "sequence": sequence,
                "value": values[sequence, steps],
                "unit": unit,
            }
            for quantity, values, unit in (("log bias", self.log_bias, "nats"), ("cosine", self.cosine, "1"))
        ] + [
            {"quantity": quantity, "window": all_steps, "sequence": pandas.NA, "value": values, "unit": unit}
            for quantity, values, unit in (
                ("log bias", self.log_bias_of_sum, "nats"),
                ("cosine", self.cosine_of_sum, "1"),
            )
        ]
        needed, of_sum = self.steps_for(BIAS), self.steps_for_sum(BIAS)
        adaptive = None if self.adaptive is None else self.adaptive.steps
        values = [*needed, of_sum, -1 if adaptive is None else adaptive]
        parts.append(
            {
                "quantity": [f"steps for bias {BIAS:g}"] * (self.n + 1) + [f"adaptive steps for bias {BIAS:g}"],
                "window": pandas.NA,
                "sequence": [*range(self.n), pandas.NA, pandas.NA],
                "value": np.where(np.array(values) < 0, np.nan, values),
                "unit": "steps",
            }
        )
        frame = pandas.concat([pandas.DataFrame(part) for part in parts], ignore_index=True)
        frame = frame.astype({"window": "Int64", "sequence": "Int64"})
        for place, (column, value) in enumerate(
            {"layer": self.layer, "direction": self.direction, "measure": self.measure}.items()
        ):
            frame.insert(place, column, value)
        return frame


def adaptive_length(truncation: Truncation, bias: float, *, tau: int, beta: float | None = None) -> AdaptiveLength:
    """The adaptive rule of Aicher, Foti & Fox 2019, on the contributions to the gradient of the weights themselves.

        φ_k ≤ φ_τ β^{k−τ} for k ≥ τ      φ_k: mean over sequences of |C_k|
        |g − g_K| ≤ bound_K = Σ_{K≤k<τ} φ_k + φ_τ β^{max(K−τ, 0)} / (1 − β)
        |g| ≥ max_K |g_K| − bound_K

    The paper takes φ from the gradient of the state, which bounds that of the weights up to a constant.

    Args:
        truncation: what was measured.
        bias: δ, the relative bias to stay below.
        tau: τ, in steps, from 0 to one lag before the last.
        beta: β; by default the smallest for which the assumption holds at every lag that was seen. At 1 or above
            nothing is bounded.

    Raises:
        InputError: there is no lag beyond `tau`, or `beta` is not positive.
    """
    longest = int(truncation.lengths.max())
    if not 0 <= tau < longest - 1:
        raise InputError(
            f"{truncation.layer}: tau = {tau} was given for lags 0 to {longest - 1}, and lags beyond it are wanted; "
            f"choose one from 0 to {longest - 2}."
        )
    if beta is not None and not beta > 0:
        raise InputError(f"{truncation.layer}: beta = {beta} was given, and a factor above 0 is wanted; leave it out.")
    with np.errstate(over="ignore", invalid="ignore"):  # what explodes, or is no number, is not bounded
        return _adaptive(truncation, bias, tau, beta)


def truncation(adjoint: Adjoint, *, loss: str) -> Truncation:
    """The truncation curve of one recorded layer; `loss` says in words whose gradient it is, read at the last step."""
    products = outer_products(adjoint)
    lengths = adjoint.lengths.cpu().numpy()
    longest = int(lengths.max())  # the data may have more steps
    pairs = [(left[:longest], right[:longest]) for left, right in merged(products)]
    log_scale = by_lag(adjoint.trace, adjoint.log_scale)[:longest]
    log_norm, log_step = np.empty(len(lengths)), np.full((len(lengths), longest), np.nan)
    log_bias, cosine = np.full((2, len(lengths), longest + 1), np.nan)
    for sequence, length in enumerate(lengths.tolist()):
        own = [(left[:length, sequence, None], right[:length, sequence, None]) for left, right in pairs]
        parts = partial_sums(own, log_scale[:length, sequence, None])
        log_norm[sequence] = parts.log_norm
        log_step[sequence, :length] = parts.log_step
        log_bias[sequence, : length + 1], cosine[sequence, : length + 1] = parts.log_bias, parts.cosine
    summed = partial_sums(pairs, log_scale)
    for values in (log_norm, log_step, log_bias, cosine):
        values.setflags(write=False)
    found = Truncation(
        layer=adjoint.name,
        cell=adjoint.layer.cell.kind,
        direction=adjoint.layer.direction,
        loss=loss,
        parameters=tuple(dict.fromkeys(product.parameter for product in products)),
        lengths=lengths,
        log_norm=log_norm,
        log_step=log_step,
        log_bias=log_bias,
        cosine=cosine,
        log_norm_of_sum=summed.log_norm,
        log_truncated_of_sum=summed.log_head,
        log_bias_of_sum=summed.log_bias,
        cosine_of_sum=summed.cosine,
    )
    tau = min(longest // 2, longest - 2)
    return found if tau < 0 else replace(found, adaptive=adaptive_length(found, BIAS, tau=tau))


def _adaptive(truncation: Truncation, bias: float, tau: int, beta: float | None) -> AdaptiveLength:
    longest = int(truncation.lengths.max())
    # A lag that a sequence lacks adds nothing; in logarithms, because a tiny number's rounding would look like a rate.
    exists = np.arange(longest) < truncation.lengths[:, None]
    log_mean = np.logaddexp.reduce(np.where(exists, truncation.log_step, -np.inf), axis=0) - math.log(truncation.n)
    mean = np.exp(log_mean)
    if beta is None:
        after = log_mean[tau + 1 :]
        rates = np.where(after == -np.inf, -np.inf, (after - log_mean[tau]) / np.arange(1, longest - tau))
        beta = float(np.exp(rates.max()))
    from_tau = mean[tau] / (1 - beta) if beta < 1 else math.inf
    steps = np.arange(longest + 1)
    until = np.append(np.cumsum(mean[:tau][::-1])[::-1], 0.0)[np.minimum(steps, tau)]
    bound = until + from_tau * beta ** np.maximum(steps - tau, 0)
    least_norm = float(np.max(np.exp(truncation.log_truncated_of_sum) / truncation.n - bound))
    enough = np.flatnonzero(bound < bias * least_norm)
    return AdaptiveLength(bias, tau, beta, bound, least_norm, int(enough[0]) if len(enough) else None)


def _first(log_bias: Float[np.ndarray, "sequence steps"], bias: float) -> Int[np.ndarray, "sequence"]:
    if not bias > 0:
        raise InputError(f"A relative bias of {bias} was asked for; choose one above 0, such as 0.1.")
    enough = log_bias <= math.log(bias)
    return np.where(enough.any(1), enough.argmax(1), -1)
