"""The lag curves of every layer of one recorded call, whatever steps its loss reads.

Where the loss reads one step of each sequence, one backward pass gives them. Where it reads many, each of some of these
steps is a source by itself, and the curve is the mean of the logarithms over the sources: one backward pass would add
up what many lags felt.
"""

from ..recording.linearised import ALL, LinearisedCall
from .lag_curve import LagCurve, lag_curve, mean_over_sources

SOURCES = 8
"""So many of the steps that a loss reads have a curve each."""


def lag_curves(call: LinearisedCall, *, loss: str, lag: int | None = None, sequences: slice = ALL) -> list[LagCurve]:
    """One curve a layer, from the input to the output; `lag` is the lag that the sources must leave room for."""
    if not call.mixes_lags:
        return [lag_curve(felt, loss=loss) for felt in call.adjoints(sequences, preactivations=False)][::-1]
    curves: dict[str, list[LagCurve]] = {name: [] for name in call.names}
    for direction in call.directions:
        for source in call.sources(direction, SOURCES, lag or 0):
            read_at = source[sequences].cpu().numpy()
            for adjoint in call.adjoints(sequences, source=source, preactivations=False):
                if adjoint.layer.direction == direction:
                    curves[adjoint.name].append(lag_curve(adjoint, loss=loss, read_at=read_at))
    return [mean_over_sources(of_a_layer, loss=loss) for of_a_layer in curves.values()]


def read_by(call: LinearisedCall, loss: str, *, lag: int | None = None) -> str:
    """The loss, and at which steps it is read."""
    if call.readout is not None:
        return loss
    if call.reader is not None:
        return f"{loss}, read at one step of each sequence through {call.reader.names[-1]}"
    if not call.mixes_lags:
        return f"{loss}, read at one step of each sequence"
    read = int(call.enters.sum(0).max())
    if call.reads_ends_alone:
        return f"{loss}, read at the end of both directions, each for its own layers"
    chosen = len(call.sources(call.directions[0], SOURCES, lag or 0))
    return f"{loss}, read at {read} steps; mean over {chosen} of them, each by itself"
