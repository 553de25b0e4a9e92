"""The one run that an analysis looks at, whatever it was given: a model, a Recorder, or a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from ..errors import GatescopeError, InputError
from ..recording.linearised import LinearisedCall
from ..recording.recorder import Recorder
from ..recording.setting import Setting


@dataclass(frozen=True, eq=False)
class Ran:
    """The calls that ran, and what is to be said of them."""

    calls: list[LinearisedCall]
    data: str
    loss: str
    facts: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, GatescopeError] = field(default_factory=dict)
    """By layer, why it could not be run."""


def ran_recorder(recorder: Recorder, how: Setting) -> Ran:
    """A recording that somebody made, with the gradient that they took."""
    if how.x is not None or how.loss is not None:
        raise InputError(
            "A Recorder was given together with x or a loss, and it holds the data and the gradient of its own run; "
            "give it alone, or give the model."
        )
    felt = bool(len(recorder.adjoints))
    loss = "the loss of the recording" if felt else how.loss_in_words
    return Ran(how.calls(recorder, readout=not felt), "as recorded", loss)


def ran_model(model: nn.Module, how: Setting) -> Ran:
    """A model, run on the data that were given, or on noise."""
    ran = how.driven(model)
    facts = {"mode": "training" if model.training else "evaluation"}
    facts |= {} if ran.loss is None else {"value of the loss": f"{ran.loss:.6g}"}
    calls = how.calls(ran.recorder, readout=how.loss is None)
    return Ran(calls, how.data_in_words, how.loss_in_words, facts)
