"""Looks at each layer of one recorded call: every question of `questions.py`, some sequences at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from ..errors import GatescopeError
from ..measures.gate_statistics import GateStatistics, gate_statistics
from ..measures.lag_curve import LagCurve, lag_curve, of_all_sequences
from ..measures.lag_curves import lag_curves, read_by
from ..measures.padding import padding
from ..recording.linearised import MEMORY, LinearisedCall
from ..trace import Adjoint, Trace
from .analysis import AnalysedLayer, NotMeasured
from .excerpt import excerpt
from .questions import Answers, Extra, of_adjoint, of_trace

WINDOWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths of fresh windows, as far as the data reach, and all of them."""


@dataclass(frozen=True)
class Plan:
    """What is to be looked at."""

    loss: str
    """In words."""
    lag: int | None
    """The lag that the task needs."""
    windows: Sequence[int] | None
    whole_model: bool
    """Whether the fresh windows are those of the whole model, and not of each layer by itself."""
    extra: tuple[Extra, ...]
    shown: tuple[int, ...]
    seed: int


def look_at(call: LinearisedCall, plan: Plan) -> Answers:
    """Every answer about every layer of a call; a call that could not be recorded hides no other."""
    answers = Answers()
    try:
        chunks, _ = call.parts, call.ends
    except GatescopeError as refusal:
        answers.refusals.append(refusal)
        answers.not_measured += [NotMeasured(name, "everything", str(refusal)) for name in call.names]
        return answers
    if len(chunks) > 1:
        answers.reductions.append(
            f"{', '.join(call.names)}: lag curves and gate statistics are of all {call.sequences} sequences, "
            f"every other number of the first {chunks[0].stop}, which fit {MEMORY >> 20} MB"
        )
    loss = read_by(call, plan.loss, lag=plan.lag) if call.felt and not call.entangled else ""
    answers.suspicions += filter(None, [_suspicion(call)])
    _ask_traces(call, chunks, plan, loss, answers)
    if call.entangled:
        answers.entangled += call.names
    elif call.felt:
        _ask_adjoints(call, chunks, plan, loss, answers)
        answers.unread += [layer.name for layer in answers.layers if layer.direction in call.unread]
    answers.sort()
    return answers


def windows_of(chosen: Sequence[int] | None, steps: int) -> tuple[int, ...]:
    """The lengths of fresh windows within so many steps."""
    wanted = (*WINDOWS, steps) if chosen is None else chosen
    return tuple(sorted({window for window in wanted if window <= steps}))


def _ask_traces(call: LinearisedCall, chunks: list[slice], plan: Plan, loss: str, answers: Answers) -> None:
    statistics: dict[str, list[GateStatistics]] = {}
    refused: dict[str, NotMeasured] = {}
    for chunk in chunks:
        for trace in call.traces(chunk):
            if chunk is chunks[0]:
                answers.layers.append(_facts(trace, call, loss))
                answers.excerpts.append(excerpt(trace, plan.shown))
                for asked in of_trace(trace, plan.extra, plan.seed):
                    answers.ask(trace.name, asked)
            try:
                statistics.setdefault(trace.name, []).append(gate_statistics(trace))
            except GatescopeError as reason:
                refused.setdefault(trace.name, NotMeasured(trace.name, GateStatistics.measure, str(reason)))
    answers.measurements += [reduce(add, parts) for name, parts in statistics.items() if name not in refused]
    answers.not_measured += refused.values()


def _ask_adjoints(call: LinearisedCall, chunks: list[slice], plan: Plan, loss: str, answers: Answers) -> None:
    parts: dict[str, list[LagCurve]] = {}
    for chunk in chunks:
        for adjoint in call.of_the_last_step(chunk):
            if not call.mixes_lags:
                parts.setdefault(adjoint.name, []).append(lag_curve(adjoint, loss=loss))
            if chunk is chunks[0]:
                of = "" if len(chunks) == 1 else f", of the first {chunk.stop} of {call.sequences} sequences"
                _ask_adjoint(adjoint, plan, of, alone=call.mixes_lags, answers=answers)
        if call.mixes_lags:
            for curve in lag_curves(call, loss=loss, lag=plan.lag, sequences=chunk):
                parts.setdefault(curve.layer, []).append(curve)
    answers.measurements += [of_all_sequences(parts[name]) for name in call.names]


def _ask_adjoint(adjoint: Adjoint, plan: Plan, of: str, *, alone: bool, answers: Answers) -> None:
    windows = None if plan.whole_model else windows_of(plan.windows, int(adjoint.lengths.max()))
    loss = (f"{plan.loss}, of the last step that it reads alone" if alone else plan.loss) + of
    for asked in of_adjoint(adjoint, loss, windows):
        answers.ask(adjoint.name, asked)


def _suspicion(call: LinearisedCall) -> str:
    """What looks like padding although nobody gave lengths, in words; nothing where nothing does."""
    first = call.recorded[0]
    ragged = call.given_lengths is not None or bool((first.lengths < len(first.x)).any())
    padded = 0 if ragged else padding(first.x).padded
    if not padded:
        return ""
    return (
        f"{padded} of {call.sequences} sequences of {first.name} end in steps that are all alike, and no lengths were "
        "given: if that is padding, give lengths, since lags count from the last step"
    )


def _facts(trace: Trace, call: LinearisedCall, loss: str) -> AnalysedLayer:
    layer = trace.layer
    return AnalysedLayer(
        name=trace.name,
        cell=layer.cell.kind,
        direction=layer.direction,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        output_size=layer.output_size,
        sequences=call.sequences,
        steps=int(call.ends.max()),
        loss=loss,
        residual=trace.residual,
        method=trace.method,
        dtype=str(call.trained_in).removeprefix("torch."),
        aliases=layer.aliases,
    )
