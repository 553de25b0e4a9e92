"""What only a whole model with its loss can be asked: fresh windows of it, the spread of its gradients, remedies."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import GatescopeError, GatescopeWarning, InputError
from ..measures.fresh_window import ALL, FreshWindow, fresh_window
from ..measures.fresh_window_of_layer import fresh_window_of_layer
from ..measures.gradient_norms import gradient_norms_of_sequences
from ..measures.truncation import Truncation
from ..recording.left_as_it_was import left_as_it_was
from ..recording.linearised import LinearisedCall
from ..recording.setting import Setting
from ..recording.watch import unwrapped
from ..remedies.remedies import remedies
from ..remedies.remedy import Remedies
from .one_call import windows_of
from .questions import Answers, Asked, Extra

ROUNDED = 0.01
"""What a kernel read may differ by this factor from what the model was given: bfloat16 has eight binary digits."""


def can_be_cut(source: object, how: Setting, calls: Sequence[LinearisedCall]) -> bool:
    """Whether a model can be run anew on the last steps of its data, with the same target."""
    felt = [call for call in calls if call.felt]
    return (
        isinstance(source, nn.Module)
        and how.loss is not None
        and how.lengths is None
        and isinstance(how.x, Tensor)
        and how.x.dim() > 1
        and bool(felt)
        and not any(call.mixes_lags for call in felt)
        and _time_of(how.x, calls[0]) is not None
    )


def of_whole_model(
    source: object,
    how: Setting,
    answers: Answers,
    calls: Sequence[LinearisedCall],
    windows: Sequence[int] | None,
    extra: tuple[Extra, ...],
) -> Iterator[Asked]:
    """The questions, in their order."""
    if can_be_cut(source, how, calls):
        yield Asked("fresh_window", lambda: _fresh_windows(source, how, calls[0], windows))
        if not any(isinstance(one, FreshWindow) for one in answers.measurements):
            yield from _of_each_layer(calls, windows)
    passes = _passes(calls, answers.truncations) if how.loss is not None else []
    for together in passes:
        layer = ALL if len(passes) == 1 else ", ".join(one.layer for one in together)
        yield Asked("gradient_norms", partial(gradient_norms_of_sequences, together, layer=layer))
    if "remedies" in extra:
        yield Asked("remedies", lambda: _remedies(source, how))


def _time_of(x: Tensor, first: LinearisedCall) -> int | None:
    """The dimension of `x` along which the module that was called first runs, onwards; None where that is not plain.

    What the module read shows it, if it read `x` itself; else the numbers of sequences and of steps, if they differ.
    """
    if not first.recorded:
        return None
    read = first.recorded[0].x
    steps, sequences = read.shape[:2]
    alone = x.dim() == 2 and sequences == 1
    dims = [dim for dim in (0, 1) if x.shape[dim] == steps and (alone or x.shape[1 - dim] == sequences)]
    if onwards := [dim for dim in dims if _is_read(x, dim, read)]:
        return onwards[0] if len(onwards) == 1 else None
    backwards = any(_is_read(x, dim, read.flip(0)) for dim in dims)
    return dims[0] if len(dims) == 1 and not backwards else None


def _is_read(x: Tensor, dim: int, read: Tensor) -> bool:
    """Whether `x`, with time in that dimension, is what a module read."""
    if x.numel() != read.numel():
        return False
    return torch.allclose(x.detach().movedim(dim, 0).reshape(read.shape).to(read), read, ROUNDED, 0, equal_nan=True)


def _fresh_windows(model: Any, how: Setting, first: LinearisedCall, windows: Sequence[int] | None) -> FreshWindow:
    time_dim = _time_of(how.x, first)
    assert how.loss is not None
    assert time_dim is not None
    chosen = windows_of(windows, how.x.shape[time_dim])
    otherwise = (
        f"{type(model).__name__} cannot run on the last steps of its data alone",
        "each layer by itself is asked",
    )
    with left_as_it_was(unwrapped(model), how.seed), warnings.catch_warnings(), _in_words(*otherwise):
        warnings.simplefilter("ignore", GatescopeWarning)  # what there is to say was said of the whole
        return fresh_window(model, how.x, how.y, how.loss, chosen, time_dim=time_dim, cells=how.cells)


def _of_each_layer(calls: Sequence[LinearisedCall], windows: Sequence[int] | None) -> Iterator[Asked]:
    for call in (one for one in calls if one.felt and one.recorded):
        for adjoint in [*call.of_the_last_step(call.parts[0])][::-1]:
            chosen = windows_of(windows, int(adjoint.lengths.max()))
            yield Asked("fresh_window", partial(fresh_window_of_layer, adjoint, chosen))


@dataclass
class _Pass:
    """Layers that ran over the same sequences, each module once."""

    lengths: bytes
    modules: set[str] = field(default_factory=set)
    truncations: list[Truncation] = field(default_factory=list)


def _passes(calls: Sequence[LinearisedCall], truncations: Sequence[Truncation]) -> list[list[Truncation]]:
    """Together what ran over the same sequences; where a module was called again, that is another pass."""
    found: list[_Pass] = []
    for call in calls:
        curves = [one for one in truncations if one.layer in call.names]
        if not curves:
            continue
        lengths = curves[0].lengths.tobytes()
        known = [one for one in found if one.lengths == lengths and call.module not in one.modules]
        if not known:
            known = [_Pass(lengths)]
            found += known
        known[0].modules.add(call.module)
        known[0].truncations += curves
    return [one.truncations for one in found]


def _remedies(source: object, how: Setting) -> Remedies:
    if not isinstance(source, nn.Module):
        raise InputError(
            f"A {type(source).__name__} holds no model of which copies could be tried; give the model, and its data."
        )
    with torch.inference_mode(False), _in_words(f"A copy of {type(source).__name__} cannot run", "nothing was tried"):
        return remedies(
            source, how.x, how.y, how.loss, how.lag, how.lengths, cells=how.cells, dtype=how.dtype, seed=how.seed
        )


@contextmanager
def _in_words(seen: str, instead: str) -> Iterator[None]:
    """Somebody's own code, run otherwise than it was written for, may raise anything: a reason, and no end."""
    try:
        yield
    except GatescopeError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:LONGEST]
        raise InputError(f"{seen} ({type(error).__name__}: {said}); {instead}.") from error


LONGEST = 200
"""Characters of what a model raised."""
