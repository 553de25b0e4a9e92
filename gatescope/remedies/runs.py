"""Runs a copy of a model with the data, the loss and the readout of all the others, and takes its lag curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ..errors import GatescopeError, InputError
from ..measures.gradient_norms import GradientNorms, gradient_norms_of_sequences
from ..measures.lag_curve import LagCurve, of_all_sequences
from ..measures.lag_curves import lag_curves, read_by
from ..measures.truncation import Truncation, truncation
from ..recording.driving import Cells, Drive, Loss, drive, drive_on_noise
from ..recording.linearised import LinearisedCall, linearised_calls


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


@dataclass(frozen=True, eq=False)
class Setting:
    """What every copy is run with."""

    x: Any
    """None for noise."""
    y: Any
    loss: Loss | None
    """None for a random readout."""
    lag: int | None
    lengths: Int[Tensor, "sequence"] | None
    cells: Cells | None
    dtype: torch.dtype
    seed: int

    @property
    def words(self) -> str:
        """The loss in words."""
        if self.loss is not None:
            return getattr(self.loss, "__name__", type(self.loss).__name__)
        return f"a random linear readout of h_n, a direction of its own for each sequence, seed {self.seed}"

    def run(self, model: nn.Module) -> Run:
        ran = self._driven(model)
        readout = self.seed if self.loss is None else None
        calls = linearised_calls(ran.recorder, readout=readout, lengths=self.lengths, dtype=self.dtype)
        curves: dict[str, LagCurve] = {}
        modules: dict[str, str] = {}
        dtypes: dict[str, str] = {}
        left_out: list[str] = []
        for call in calls:
            try:
                found = self._curves(call)
            except GatescopeError as refusal:
                left_out.append(f"{', '.join(call.names)}: {refusal}")
                continue
            curves |= {curve.layer: curve for curve in found if curve.direction not in call.unread}
            modules |= dict.fromkeys(call.names, call.call.watched.path)
            dtypes |= dict.fromkeys(call.names, str(call.trained_in).removeprefix("torch."))
            left_out += [
                f"{curve.layer}: the loss does not read this direction after its last step, so that there is no lag to "
                "count from there; read h_n, which has the end of both directions"
                for curve in found
                if curve.direction in call.unread
            ]
        return Run(calls, ran.loss, curves, modules, dtypes, tuple(left_out))

    def truncations(self, call: LinearisedCall) -> list[Truncation]:
        """The truncation curve of every layer of a call; of its first sequences, if not all fit."""
        loss = f"{self.words}, of the last step that it reads alone" if call.mixes_lags else self.words
        return [truncation(adjoint, loss=loss) for adjoint in call.of_the_last_step(call.parts[0])][::-1]

    def norms(self, truncations: list[Truncation]) -> tuple[GradientNorms, ...]:
        """The gradients of single sequences by all layers of a call; none without a loss."""
        return () if self.loss is None else (gradient_norms_of_sequences(truncations),)

    def _driven(self, model: nn.Module) -> Drive:
        if self.x is None:
            return drive_on_noise(model, cells=self.cells, seed=self.seed)
        return drive(model, self.x, self.y, self.loss, lengths=self.lengths, cells=self.cells, seed=self.seed)

    def _curves(self, call: LinearisedCall) -> list[LagCurve]:
        parts = call.parts  # or why the call could not be recorded
        if not call.felt:
            raise InputError("the loss sends no gradient to it; let the loss depend on its output.")
        loss = read_by(call, self.words, lag=self.lag)
        found = [lag_curves(call, loss=loss, lag=self.lag, sequences=part) for part in parts]
        return [of_all_sequences(of_a_layer) for of_a_layer in zip(*found, strict=True)]
