"""What would help, measured: the gradient before and after each change to the beginning of a network."""

from ...measures.intervals import Interval
from ...remedies.limits import CLIPPING_CAVEAT, clip_thresholds
from ...remedies.remedy import CAVEAT, Remedies, Remedy
from ..names import shortened
from ..numbers import counted, number, number_from_log
from ..section import Cell, Method, Section, Table
from .provenance import SENTENCE


def remedies_section(measured: Remedies, *, key: str = "remedies", title: str = "What would help") -> Section:
    """One row a change and layer, the best first; then how far to backpropagate, and where to clip."""
    layers = [*dict.fromkeys(one.layer for one in measured.remedies)]
    best = [best_remedy(measured, layer) for layer in layers]
    left_out = [f"Left out: {shortened(why, SENTENCE)}" for why in measured.left_out]
    clips = [_clips(measured)] if any(clip_thresholds(norms) for norms in measured.norms) else []
    return Section(
        key=key,
        title=title,
        lead=best[0] if best else "No change fits: 0 were measured.",
        prose=(*best[1:], CAVEAT, *([CLIPPING_CAVEAT] if clips else []), *left_out),
        tables=(
            *([_changes(measured)] if measured.remedies else []),
            *([_lengths(measured)] if measured.truncation else []),
            *clips,
        ),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "Each change is made to a copy of the model, which runs on the same data with the same loss.",
        "The difference is that of each sequence against itself, its interval Student's t over sequences.",
        "These intervals are over sequences and not over draws of weights: another seed is another draw.",
        "A change helps where its interval leaves 0 out, and the gradient comes nearer to arriving unchanged.",
        "None helps with which a gradient explodes.",
    ),
    formula="difference = mean over sequences of (log attenuation after − before)",
)


def best_remedy(measured: Remedies, layer: str) -> str:
    """The best change to a layer, in one sentence."""
    tried, best = len(measured.of(layer)), measured.best(layer)
    changes = counted(tried, "measured change")
    if best is None:
        return f"In {shortened(layer)} none of {changes} surely helps."
    return f"In {shortened(layer)} the best of {changes} is {best}"


def _changes(measured: Remedies) -> Table:
    def row(one: Remedy) -> tuple[Cell, ...]:
        horizons = tuple(None if at is None else str(at) for at in (one.horizon_before, one.horizon))
        verdicts = ", ".join(dict.fromkeys(str(verdict.level) for verdict in one.verdicts)) or None
        return (
            one.layer,
            one.change,
            "yes" if one.helps else "no",
            one.lag,
            _left(one.before),
            _left(one.after),
            _nats(one.difference) if one.compares else None,
            *horizons,
            verdicts,
            one.loss_before,
            one.loss,
            one.does,
            one.source,
        )

    return Table(
        caption="Each change, the best first: what is left of the gradient at the lag, before and after",
        columns=(
            "layer",
            "change",
            "helps",
            "lag",
            "left before",
            "left after",
            "difference (nats) [95 %]",
            "hundredth at lag, before",
            "after",
            "judged",
            "loss before",
            "loss after",
            "what it does",
            "source",
        ),
        rows=tuple(map(row, measured.remedies)),
        longest=SENTENCE,
    )


def _lengths(measured: Remedies) -> Table:
    return Table(
        caption="Steps of backpropagation that keep the gradient of the weights nearly whole",
        columns=("layer", "bias", "steps", "of", "sequences"),
        rows=tuple((one.layer, one.bias, one.steps, one.longest, one.n) for one in measured.truncation),
    )


def _clips(measured: Remedies) -> Table:
    return Table(
        caption="Where clipping could begin, and what it would touch",
        columns=("gradients of", "times the mean", "threshold", "share clipped", "below the median"),
        rows=tuple(
            (norms.of, one.times_mean, one.threshold, one.touched, "yes" if one.below_median else "no")
            for norms in measured.norms
            for one in clip_thresholds(norms)
        ),
    )


def _left(at: Interval) -> str | None:
    return number_from_log(at.mean) if at.n else None


def _nats(at: Interval) -> str:
    return f"{number(at.mean)} [{number(at.low)}, {number(at.high)}]"
