"""What a data spec came to: sequences of numbers or tokens, how long each is, and a sentence on where they are from."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from ..errors import InputError
from .place import shown

Sequences = Float32[np.ndarray, "sequence time feature"] | Int64[np.ndarray, "sequence time"]


class Cut(NamedTuple):
    """What there was before windows were cut and sequences left out, so that a target can be cut alike."""

    steps: int | None
    """Of the one long sequence that became windows; None where the sequences came as sequences."""
    sequences: int
    """Before those after the first so many were left out."""


@dataclass(frozen=True, eq=False)
class Data:
    """Sequences to run a network on."""

    x: Sequences
    """Numbers, or the ids of tokens."""
    lengths: Int64[np.ndarray, "sequence"] | None
    """In steps, 1 to the steps of `x`; None: every sequence fills it."""
    tokens: tuple[str, ...]
    """By id or by feature, the characters that they stand for; empty where they are no characters."""
    what: str
    """For whoever asks later: the source's own name, what was made of it, its SHA-256; no folder and no host."""
    cut: Cut


@dataclass(frozen=True, eq=False)
class Target:
    """What a loss compares the network's output with."""

    y: Shaped[np.ndarray, "sequence *rest"]
    """float32 or int64, one entry for each sequence of the data; cut into windows where these were."""
    what: str
    """As `Data.what`."""


def checked_lengths(
    values: Shaped[np.ndarray, "*shape"], x: Shaped[np.ndarray, "sequence time *rest"], name: str
) -> Int64[np.ndarray, "sequence"]:
    """The lengths of the sequences of `x`, as int64.

    Raises:
        InputError: not one whole number from 1 to the steps of `x` for each sequence.
    """
    sequences, steps = x.shape[:2]
    if values.shape != (sequences,):
        raise InputError(
            f"{shown(name)} has lengths of shape {list(values.shape)} where x has {sequences} sequences; "
            f"give {sequences} numbers."
        )
    wrong = ~((values >= 1) & (values <= steps) & (values == np.floor(values)))
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{shown(name)} has {values[at]:g} as the length of sequence {at} (the first is 0); "
            f"give a whole number from 1 to {steps}, the steps of x."
        )
    return values.astype(np.int64)
