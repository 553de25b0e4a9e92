"""Tries every change that fits on a copy of a model, with the same data, loss and readout, and measures it again.

The user's own object is copied and nothing else: it is neither changed nor run.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import GatescopeError, GatescopeWarning, InputError
from ..measures.gradient_norms import GradientNorms
from ..measures.intervals import Interval, student_t_interval
from ..measures.lag_curve import LagCurve
from ..recording.driving import Cells, Loss
from ..recording.setting import Setting
from ..recording.watch import unwrapped
from ..verdicts import RESOLUTION, Horizon, Thresholds, attenuation, horizons, judge
from ..verdicts.reach import reach
from .changes import CHANGES, Change, changed, copied
from .limits import TruncationLength, truncation_lengths
from .remedy import Remedies, Remedy, ranked
from .runs import Run, norms, run, truncations

HORIZON = 0.01
"""The fraction of the gradient whose horizon is compared."""
QUANTITY = "pair"
"""Whose gradient: the whole recurrent state's, as in a verdict."""
Progress = Callable[[str, int, int], None]


def remedies(
    model: nn.Module,
    x: Any = None,
    y: Any = None,
    loss: Loss | None = None,
    lag: int | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    cells: Cells | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    progress: Progress | None = None,
) -> Remedies:
    """How far back the gradient reaches in copies of `model` that begin otherwise: before, after, and by how much.

    Copies are tried with each of `CHANGES` that fits one of their recurrent modules, in the mode in which the model is.
    The arguments are those of `analyze`; `lag` is also the longest memory of a chrono initialisation, which is the
    number of steps without it. `seed` draws the weights.

    Raises:
        InputError: a model that cannot be copied, holds no recurrent module, or whose loss is no single number.
    """
    told, of = progress or _nobody, len(CHANGES) + 1
    bare, ends = unwrapped(model), None if lengths is None else torch.as_tensor(lengths)
    setting = Setting(x, y, loss, lag, ends, cells, dtype, seed)
    told("remedies: the model as it is", 0, of)
    before = run(setting, copied(bare))
    left_out = [*before.left_out]
    horizon_before = {name: _horizon(curve) for name, curve in before.curves.items()}
    truncated, spread = _limits(setting, before, left_out)
    t_max = lag or max((int(curve.lengths.max()) for curve in before.curves.values()), default=1)
    found: list[Remedy] = []
    for done, change in enumerate(CHANGES, 1):
        told(f"remedies: {change.name}", done, of)
        other = changed(bare, change, t_max=t_max, seed=seed, cells=cells or {})
        left_out += [f"{change.name}: {why}" for why in other.refused.values()]
        if not other.modules:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GatescopeWarning)  # what there is to say was said of the model as it is
                after = run(setting, other.model)
        except GatescopeError as reason:
            left_out.append(f"{change.name}: {reason}")
            continue
        for name in (name for name in before.curves if before.modules[name] in other.modules):
            about = _About(change, t_max, horizon_before[name])
            try:
                found.append(_compared(about, before, after, name, lag))
            except InputError as reason:
                left_out.append(f"{change.name}: {reason}")
    told("remedies: done", of, of)
    return Remedies(
        data="synthetic" if x is None else "given",
        loss=setting.loss_in_words,
        seed=seed,
        remedies=ranked(found),
        truncation=truncated,
        norms=spread,
        left_out=tuple(left_out),
    )


def _limits(
    setting: Setting, ran: Run, left_out: list[str]
) -> tuple[tuple[TruncationLength, ...], tuple[GradientNorms, ...]]:
    """What the run of the model as it is says of truncating and clipping."""
    truncated: list[TruncationLength] = []
    spread: list[GradientNorms] = []
    for call in (one for one in ran.calls if set(one.names) & ran.curves.keys()):
        try:
            curves = truncations(setting, call)
            spread += norms(setting, curves)
        except GatescopeError as reason:
            left_out.append(f"truncation of {', '.join(call.names)}: {reason}")
        else:
            truncated += [one for curve in curves if curve.layer in ran.curves for one in truncation_lengths(curve)]
    if setting.loss is None:
        left_out.append("clipping: no loss was given, and the size of a random readout's gradient means nothing")
    return tuple(truncated), tuple(spread)


@dataclass(frozen=True)
class _About:
    """What was tried on a layer."""

    change: Change
    t_max: int
    horizon_before: Horizon | None


def _compared(about: _About, run: Run, other: Run, layer: str, lag: int | None) -> Remedy:
    """What a change did to one layer."""
    before, after = run.curves[layer], other.curves.get(layer)
    if after is None or not np.array_equal(before.lengths, after.lengths):
        why = "; ".join(other.left_out) or "the changed model took other steps than the model as it is"
        raise InputError(f"{layer}: {why}; compare them by analysing each.")
    at = lag or max(1, min(reach(before, QUANTITY), reach(after, QUANTITY)))
    thresholds = Thresholds(dead=RESOLUTION.get(run.dtypes[layer], RESOLUTION["float32"]))
    return Remedy(
        layer=layer,
        direction=before.direction,
        change=about.change.name,
        does=about.change.does.format(t_max=about.t_max),
        source=about.change.source,
        lag=at,
        before=_quietly(before, at),
        after=_quietly(after, at),
        difference=_paired(before, after, at),
        horizon_before=about.horizon_before,
        horizon=_horizon(after),
        verdicts=judge(after, lag, thresholds=thresholds),
        loss_before=run.loss,
        loss=other.loss,
    )


def _quietly(curve: LagCurve, lag: int) -> Interval:
    with np.errstate(invalid="ignore"):  # the spread of exact zeros
        return attenuation(curve, lag, quantity=QUANTITY).value


def _paired(before: LagCurve, after: LagCurve, lag: int) -> Interval:
    """Of the sequences that reach so far back, and to which a gradient comes in both."""
    long = before.lengths >= lag
    if not long.any():
        return student_t_interval(np.empty(0))
    with np.errstate(invalid="ignore"):  # of a cut gradient there is no difference
        then, now = (curve.log_attenuation(QUANTITY)[long, lag] for curve in (before, after))
        return student_t_interval((now - then)[~np.isnan(then) & ~np.isnan(now)])


def _horizon(curve: LagCurve) -> Horizon | None:
    return next((one for one in horizons(curve, quantity=QUANTITY) if one.fraction == HORIZON), None)


def _nobody(what: str, done: int, of: int) -> None:
    """Nobody wants to know."""
