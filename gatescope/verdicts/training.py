"""Whether gradients explode in training: how often one is much larger than usual, over many of them."""

import numpy as np

from ..measures.gradient_norms import GradientNorms
from ..measures.intervals import share_interval
from .thresholds import ABSTENTION_SOURCE, EXPLODING_SOURCE, HEAVY_TAIL, LARGE, MIN_GRADIENTS
from .verdict import Level, Verdict
from .words import are, factor, gradients


def judge_training(norms: GradientNorms, *, whose: str = "") -> Verdict:
    """Exploding, not exploding or borderline over many gradients, by how often they are large; or why no telling.

    A single large one is not exploding, however large. `whose` says in the claim of what the gradients are, such as
    `of single sequences`.
    """
    all_of_them = f"{gradients(norms.n)} {whose}".rstrip()

    def verdict(level: Level, claim: str, because: str) -> Verdict:
        source = ABSTENTION_SOURCE if level.abstains else EXPLODING_SOURCE
        return Verdict(level, claim, f"{because}; norm of {norms.of}", source)

    if norms.nonfinite:
        first = int((np.isnan(norms.log_norm) | (norms.log_norm == np.inf)).argmax())
        return verdict(
            Level.NON_FINITE,
            f"{norms.nonfinite} of {all_of_them} {are(norms.nonfinite)} no finite number.",
            f"NaN or infinity in {norms.nonfinite} of {gradients(norms.n)}, first in number {first}, counted from 0",
        )
    zeros = int((norms.log_norm == -np.inf).sum())
    if norms.log_quantile(0.5) == -np.inf:
        return verdict(
            Level.NO_SIGNAL,
            f"{zeros} of {all_of_them} {are(zeros)} exactly zero, so that there is no usual size.",
            f"exactly zero {zeros} times of {norms.n}: the loss does not depend on these weights there, or what lies "
            "between is saturated, dead or detached",
        )
    if norms.n < MIN_GRADIENTS:
        return verdict(
            Level.INSUFFICIENT,
            "There are too few gradients to say how often a large one comes.",
            f"{gradients(norms.n)}, and {MIN_GRADIENTS} are needed",
        )
    times = norms.times_median()
    large = int((times > LARGE).sum())
    share = share_interval(large, norms.n)
    largest = int(norms.log_norm.argmax())
    because = (
        f"{large} of {norms.n} above {LARGE:g} times the median, {100 * share.mean:.2g} %, 95 % CI "
        f"[{100 * share.low:.2g}, {100 * share.high:.2g}] %, {{place}}; the largest, number {largest}, is "
        f"{factor(float(norms.log_norm[largest]) - norms.log_quantile(0.5))} times the median; median "
        f"{norms.median:.3g}, mean {norms.mean:.3g}; clipping at the mean would touch {100 * norms.clipped[1.0]:.2g} %"
    )
    at = f"{100 * HEAVY_TAIL:g} %"
    claim = f"{large} of {all_of_them} are more than {LARGE:g} times as large as the median one."
    if large <= 1:
        alone = f"One of {all_of_them} is more than {LARGE:g} times the median; a single one is not exploding."
        none = f"None of {all_of_them} is more than {LARGE:g} times as large as the median one."
        place = "one alone" if large else "none"
        return verdict(Level.NOT_EXPLODING, alone if large else none, because.format(place=place))
    if share.low > HEAVY_TAIL:
        return verdict(Level.EXPLODING, claim, because.format(place=f"above {at}"))
    if share.high <= HEAVY_TAIL:
        return verdict(Level.NOT_EXPLODING, claim, because.format(place=f"below {at}"))
    return verdict(Level.BORDERLINE, claim, because.format(place=f"across {at}: now and then, or exploding"))
