"""What the data say of two limits of training: how many steps to backpropagate through, and where to clip.

    K(δ) = min K with |g − g_K| ≤ δ |g|      of each layer's weights, summed over sequences
    c · mean |g|, c = 0.5 … 10               of single sequences; the share of them that is larger

Aicher, Foti & Fox 2019 for the bias; Pascanu, Mikolov & Bengio 2013 for the range of c.
"""

from dataclasses import dataclass

from ..layers import Direction
from ..measures.gradient_norms import CLIPS, GradientNorms
from ..measures.truncation import Truncation

BIASES = (0.1, 0.01)
"""δ, for which a length is given."""
CLIPPING_CAVEAT = (
    "Clipping makes large gradients smaller and does nothing for vanishing ones. These are norms of single sequences, "
    "and a training step clips that of a whole batch: watch them over updates before you choose."
)


@dataclass(frozen=True)
class TruncationLength:
    """The fewest steps of backpropagation that keep the gradient of a layer's weights nearly whole."""

    layer: str
    direction: Direction
    bias: float
    """The relative bias that is allowed, |g − g_K| / |g|, of the gradient summed over sequences."""
    steps: int | None
    """None where there is no gradient."""
    longest: int
    n: int
    """The number of sequences."""
    loss: str
    """Whose gradient, and where it is read."""

    def __str__(self) -> str:
        if self.steps is None:
            return f"{self.layer}: there is no gradient to truncate."
        return (
            f"{self.layer}: {self.steps} of {self.longest} steps of backpropagation leave out at most "
            f"{100 * self.bias:g} % of the weight gradient, summed over {self.n} sequences."
        )


@dataclass(frozen=True)
class ClipThreshold:
    """Where clipping could begin."""

    times_mean: float
    """Over the mean norm of the gradient."""
    threshold: float
    """The norm itself, in loss per parameter."""
    touched: float
    """The share of gradients that are larger."""
    below_median: bool
    """Whether most gradients would be clipped."""

    def __str__(self) -> str:
        warning = (
            ", which is below the median: most gradients would be cut to one length, and a step would have a fixed size"
            if self.below_median
            else ""
        )
        return (
            f"At {self.times_mean:g} times the mean, {self.threshold:.3g}, {100 * self.touched:.3g} % are clipped"
            f"{warning}."
        )


def truncation_lengths(curve: Truncation) -> tuple[TruncationLength, ...]:
    """One for each of `BIASES`."""

    def length(bias: float) -> TruncationLength:
        steps = curve.steps_for_sum(bias)
        found = None if steps < 0 else steps
        return TruncationLength(
            curve.layer, curve.direction, bias, found, int(curve.lengths.max()), curve.n, curve.loss
        )

    return tuple(length(bias) for bias in BIASES)


def clip_thresholds(norms: GradientNorms) -> tuple[ClipThreshold, ...]:
    """Thresholds from half to ten times the mean norm; none where no norm is finite, or all are zero."""
    if not norms.mean > 0:
        return ()
    return tuple(ClipThreshold(c, c * norms.mean, norms.clipped[c], c * norms.mean < norms.median) for c in CLIPS)
