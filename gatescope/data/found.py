"""What a source holds, before it is made into sequences; and what a kind of source may be told."""

import hashlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UnreadableError
from .place import shown

MOST_NUMBERS = 1 << 28
"""Numbers that a spec may be blown up to: 1 GiB of float32."""


class Options(NamedTuple):
    """What is known beside the spec."""

    vocab: Path | None
    """A file that lists the characters of a text, in the order of their ids."""
    features: int | None
    """What the layer takes; None where it is not known."""
    seed: int
    """For random numbers."""


@dataclass(frozen=True, eq=False)
class Found:
    """The numbers of a source as they stand there."""

    values: np.ndarray
    """Real numbers of any type and shape."""
    name: str
    """The source's own name, made safe to show, with the key: no folder."""
    sha256: str
    """Of the bytes of the source; of the numbers, where it has no bytes of its own."""
    lengths: np.ndarray | None = None
    tokens: tuple[str, ...] = ()
    """What integers in `values` stand for, by their number."""
    remarks: tuple[str, ...] = ()
    """What was made of the source: `2 channels averaged`, `columns a, b`."""


def digest(file: BufferedReader) -> str:
    """The SHA-256 of a file that is open, which is then at its beginning again."""
    found = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return found


def digest_of(values: np.ndarray) -> str:
    """The SHA-256 of numbers that come from no file."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def damaged(name: str, saw: str, *, do: str = "copy it again, or save it anew") -> UnreadableError:
    """A file is not what it says that it is; `name` is a file's own, without its folder."""
    return UnreadableError(f"{shown(name)} cannot be read: {saw}; {do}.")


def count(number: int, thing: str) -> str:
    """Such as `1 step` and `200 steps`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
