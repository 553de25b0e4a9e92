"""Runs a copy of a model with the data, the loss and the readout of all the others, and takes its lag curves."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ..errors import GatescopeError, InputError
from ..measures.gradient_norms import GradientNorms, gradient_norms_of_sequences
from ..measures.lag_curve import LagCurve, of_all_sequences
from ..measures.lag_curves import lag_curves, read_by
from ..measures.truncation import Truncation, truncation
from ..recording.linearised import LinearisedCall
from ..recording.setting import Setting


@dataclass(frozen=True, eq=False)
class Run:
    """One run of one copy."""

    calls: list[LinearisedCall]
    loss: float | None
    curves: Mapping[str, LagCurve]
    """By layer."""
    modules: Mapping[str, str]
    """By layer, the path of its module."""
    dtypes: Mapping[str, str]
    """By layer, in which it trains."""
    left_out: tuple[str, ...]
    """What has no curve, and why."""


def run(setting: Setting, model: nn.Module) -> Run:
    """One run of a model, most often of a copy."""
    ran = setting.driven(model)
    calls = setting.calls(ran.recorder, readout=setting.loss is None)
    curves: dict[str, LagCurve] = {}
    modules: dict[str, str] = {}
    dtypes: dict[str, str] = {}
    left_out: list[str] = []
    for call in calls:
        try:
            found = _curves(setting, call)
        except GatescopeError as refusal:
            left_out.append(f"{', '.join(call.names)}: {refusal}")
            continue
        curves |= {curve.layer: curve for curve in found if curve.direction not in call.unread}
        modules |= dict.fromkeys(call.names, call.module)
        dtypes |= dict.fromkeys(call.names, str(call.trained_in).removeprefix("torch."))
        left_out += [
            f"{curve.layer}: the loss does not read this direction after its last step, so that there is no lag to "
            "count from there; read h_n, which has the end of both directions"
            for curve in found
            if curve.direction in call.unread
        ]
    return Run(calls, ran.loss, curves, modules, dtypes, tuple(left_out))


def truncations(setting: Setting, call: LinearisedCall) -> list[Truncation]:
    """The truncation curve of every layer of a call; of its first sequences, if not all fit."""
    words = setting.loss_in_words
    loss = f"{words}, of the last step that it reads alone" if call.mixes_lags else words
    return [truncation(adjoint, loss=loss) for adjoint in call.of_the_last_step(call.parts[0])][::-1]


def norms(setting: Setting, curves: list[Truncation]) -> tuple[GradientNorms, ...]:
    """The gradients of single sequences by all layers of a call; none without a loss."""
    return () if setting.loss is None else (gradient_norms_of_sequences(curves),)


def _curves(setting: Setting, call: LinearisedCall) -> list[LagCurve]:
    parts = call.parts  # or why the call could not be recorded
    if not call.felt:
        raise InputError("the loss sends no gradient to it; let the loss depend on its output.")
    loss = read_by(call, setting.loss_in_words, lag=setting.lag)
    found = [lag_curves(call, loss=loss, lag=setting.lag, sequences=part) for part in parts]
    return [of_all_sequences(of_a_layer) for of_a_layer in zip(*found, strict=True)]
