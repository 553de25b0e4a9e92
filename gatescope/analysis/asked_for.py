"""Whether what `analyze` was asked for can be had: what is misspelt, contradicts itself or is not there is said so."""

import operator
from collections.abc import Collection, Sequence
from typing import Any, SupportsIndex, get_args

from ..errors import InputError
from ..measures.fresh_window import ALL, FreshWindow
from ..recording.driving import Loss
from .analysis import AnalysedLayer, NotMeasured
from .questions import Extra
from .ran import Ran

SHOWN = (0, 1)
"""The sequences that are shown unless others are chosen, as far as there are so many."""


def whole_lag(lag: object) -> int:
    """The lag as a number of steps.

    Raises:
        InputError: it is no whole number.
    """
    try:
        if isinstance(lag, bool) or not isinstance(lag, SupportsIndex):
            raise TypeError
        return operator.index(lag)
    except TypeError:
        raise InputError(f"The lag was given as {lag!r}, and a whole number of steps is wanted; give one.") from None


def known_extras(extra: str | Collection[str]) -> tuple[Extra, ...]:
    """What takes long and was asked for, by name.

    Raises:
        InputError: a name that is none of `Extra`.
    """
    known: tuple[Extra, ...] = get_args(Extra)
    asked_for = (extra,) if isinstance(extra, str) else tuple(extra)
    for name in asked_for:
        if name not in known:
            raise InputError(f"{name!r} was asked for as an extra; choose among {', '.join(known)}.")
    return tuple(name for name in known if name in asked_for)


def refuse_what_does_not_fit_together(x: Any, y: Any, loss: Loss | None, windows: Sequence[int] | None) -> None:
    """What can be told before anything runs."""
    if isinstance(x, list):
        raise InputError("x was given as a list; give a tensor, a tuple of several arguments, or a dict of them.")
    if y is not None and loss is None:
        raise InputError("y was given without a loss that compares the output with it; give the loss, or leave y out.")
    for window in windows or ():
        if window < 1:
            raise InputError(f"A window of {window} was asked for; windows are numbers of steps: choose 1 or more.")


def refuse_what_did_not_run(ran: Ran, shown: Sequence[int]) -> None:
    """What can be told of the run alone."""
    if not ran.calls and not ran.refused:
        raise InputError(
            "There is nothing to look at, since no recurrent module was called; let the model's forward call one, or "
            "run it within the `with` block of the Recorder."
        )
    sequences = max((call.sequences for call in ran.calls if call.recorded), default=None)
    for place in shown:
        if place < 0 or (sequences is not None and place >= sequences and place not in SHOWN):
            there = "they are counted from 0" if sequences is None else f"there are {sequences}, counted from 0"
            raise InputError(f"Sequence {place} was to be shown, and {there}; choose among them.")


def longer_than_the_data(windows: Sequence[int] | None, layers: Sequence[AnalysedLayer]) -> list[NotMeasured]:
    """The windows that no sequence fills."""
    longest = max((layer.steps for layer in layers), default=0)
    longer = [window for window in windows or () if window > longest]
    if not longer:
        return []
    why = (
        f"Windows of {', '.join(map(str, longer))} steps were asked for, and the longest sequence has {longest}; give "
        "more steps, or shorter windows."
    )
    return [NotMeasured(ALL, FreshWindow.measure, why)]
