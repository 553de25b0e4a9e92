"""When nothing can be judged, and why: asked first, before any judgement."""

import numpy as np

from ..measures.lag_curve import LagCurve
from .reach import cut_since, first_arrivals, has_signal, lags_of_enough
from .thresholds import ABSTENTION_SOURCE, MIN_LAGS, MIN_SEQUENCES
from .verdict import Level, Verdict
from .words import are, count, object_of, span, steps


def unreached(layer: str, loss: str) -> Verdict:
    """What is to be said of a layer at whose outputs no gradient came back at all."""
    return Verdict(
        Level.NO_SIGNAL,
        "The loss does not reach this layer.",
        f"no gradient came back to its outputs: the loss does not depend on them, or a detach or no_grad stands "
        f"between; loss: {loss}",
        ABSTENTION_SOURCE,
        layer,
    )


def entangled(layer: str, loss: str) -> Verdict:
    """What is to be said of a loop that is fed what it gave, where the loss reads many of its steps."""
    return Verdict(
        Level.INSUFFICIENT,
        "This loop is fed its own output and read at many steps, so that their lags cannot be told apart.",
        "what comes back to an output is the gradient of the loss there and, by way of the next input, of all that "
        "follows; give a loss of the last step's own tensor (a slice of all steps stacked is of all), or feed the loop "
        f"given inputs; loss: {loss}",
        ABSTENTION_SOURCE,
        layer,
    )


def unread(curve: LagCurve) -> Verdict:
    """What is to be said of a layer of a direction that the loss does not read after its last processed step."""
    first = curve.direction == "reverse"
    step = "of the input, where this direction has seen everything" if first else "of the sequence"
    return Verdict(
        Level.NO_SIGNAL,
        f"The loss does not read this direction after its last step, the {'first' if first else 'last'} one {step}.",
        "so there is no lag to count from there: whatever this layer feels entered at other steps; read h_n, which "
        f"has the end of both directions; {object_of(curve, 'pair')}",
        ABSTENTION_SOURCE,
        curve.layer,
    )


def abstention(curve: LagCurve, quantity: str, lag: int) -> Verdict | None:
    def abstain(level: Level, claim: str, because: str) -> Verdict:
        return Verdict(level, claim, f"{because}; {object_of(curve, quantity)}", ABSTENTION_SOURCE, curve.layer)

    log_norm = curve.log_norm[quantity]
    broken = curve.exists & (np.isnan(log_norm) | (log_norm == np.inf))
    if broken.any():
        return abstain(
            Level.NON_FINITE,
            "The gradient is not a finite number, so nothing can be said of its size.",
            f"NaN or infinity in {broken.any(1).sum()} of {curve.n} sequences, first at lag {broken.any(0).argmax()}",
        )
    signal = has_signal(curve, quantity)
    if not signal.any():
        return abstain(
            Level.NO_SIGNAL,
            "The loss sends no gradient to the last step of this layer.",
            f"exactly zero at lag 0 in all {curve.n} sequences: {_why_silent(curve, quantity)}",
        )
    cuts = cut_since(curve, quantity, lag)
    if cuts:
        return abstain(
            Level.CUT,
            f"In {len(cuts)} of {curve.n} sequences no gradient arrives at all from {steps(min(cuts))} back on: it is "
            "cut there, which is not vanishing.",
            f"exactly zero in {len(cuts)} of {curve.n} sequences: a detached state, a dead relu, a frozen input, or a "
            "gate saturated to the last bit",
        )
    reaching = (signal & (curve.lengths >= lag)).sum()
    if reaching < MIN_SEQUENCES or lags_of_enough(curve, quantity) < MIN_LAGS:
        arrives = f"what arrives from {steps(lag)} back" if lag else "how the gradient changes from step to step"
        return abstain(
            Level.INSUFFICIENT,
            f"There is too little data to say {arrives}: {_what_lacks(curve, lag)}.",
            f"{reaching} of {curve.n} sequences reach so far back, the longest has {steps(int(curve.lengths.max()))}, "
            f"and {MIN_SEQUENCES} sequences with {MIN_LAGS} lags are needed",
        )
    return None


def left_out(curve: LagCurve, quantity: str) -> list[str]:
    silent = curve.n - has_signal(curve, quantity).sum()
    arrivals = first_arrivals(curve, quantity)
    late = f", where the first one arrives {span(arrivals)} back: if what follows is padding, give lengths"
    cuts = cut_since(curve, quantity, int(curve.lengths.max()))
    return [
        *(
            [f"{silent} of {curve.n} sequences without a gradient left out{late * bool(len(arrivals))}"]
            if silent
            else []
        ),
        *([f"{len(cuts)} of {curve.n} sequences are cut later, from {steps(min(cuts))} back on"] if cuts else []),
    ]


def _why_silent(curve: LagCurve, quantity: str) -> str:
    """Of sequences none of which has a gradient at lag 0, what became of it and what to do."""
    arrivals = first_arrivals(curve, quantity)
    if not len(arrivals):
        return (
            "and at every other lag: the loss does not depend on this layer, or it is masked, or what lies between is "
            "detached, saturated or dead"
        )
    at_its_first = len(arrivals) == curve.n and bool((arrivals == curve.lengths - 1).all())
    if curve.direction == "reverse" and at_its_first:
        return (
            f"the first gradient arrives {span(arrivals)} back, at the first step that this reverse layer takes: the "
            "loss reads the end of the input, as out[:, -1] does, where this direction has seen one step alone; read "
            "h_n, which holds the last state of both directions"
        )
    return (
        f"the first gradient arrives {span(arrivals)} back: the loss reads an earlier step of this layer, or what "
        "follows is masked; if that is padding, give lengths, so that lags count from each sequence's own end"
    )


def _what_lacks(curve: LagCurve, lag: int) -> str:
    longest = int(curve.lengths.max())
    if lag > longest:
        return f"the longest sequence has {steps(longest)}"
    if curve.n < MIN_SEQUENCES:
        return f"there {are(curve.n)} {count(curve.n, 'sequence')}, and {MIN_SEQUENCES} are needed"
    if longest < MIN_LAGS:
        return f"the longest sequence has {steps(longest)}, and {MIN_LAGS} are needed"
    return f"fewer than {MIN_SEQUENCES} sequences have a gradient and enough steps"
