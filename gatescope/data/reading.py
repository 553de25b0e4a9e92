"""`--data SPEC`: from one line to sequences. What the spec names decides the kind, a file's content before its name."""

import re
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError, UnreadableError
from . import sequences
from .csv_file import is_csv, read_csv
from .data import Data, Target, checked_lengths
from .found import Found, Options, damaged
from .function import is_function, read_function
from .npy import is_npy, read_npy
from .npz import is_npz, read_npz
from .parquet import is_parquet, read_parquet
from .place import Place, drive_of, place, shown
from .safetensors_file import is_safetensors, read_safetensors
from .standard_input import is_standard_input, read_standard_input
from .synthetic import is_synthetic, read_synthetic
from .text import is_text, read_text
from .wav import is_wav, read_wav

_NUMBERS = re.compile(r"\d{1,12}(,\d{1,12})*", re.ASCII)
_LFS = b"version https://git-lfs"


class Kind(NamedTuple):
    """One kind of spec: how it is written, how it is known, and what is found there."""

    form: str
    is_it: Callable[[Place], bool]
    read: Callable[[Place, Options], Found]

    @property
    def suffix(self) -> str:
        """Of the files of this kind, such as `.npy`; empty where it is no file."""
        found = re.match(r"x(\.\w+)", self.form)
        return found[1] if found else ""


def data(
    spec: str,
    *,
    vocab: str | PathLike[str] | None = None,
    window: int | None = None,
    most: int | None = None,
    features: int | None = None,
    one_hot: bool = True,
    seed: int = 0,
) -> Data:
    """The sequences that a spec names; the kinds are those of `SPECS`.

    Args:
        vocab: a file that lists the characters of a text in the order of their ids.
        window: steps into which one long sequence is cut; a text is cut into windows of 200 if not given.
        most: no more sequences than so many, the first ones.
        features: what the layer takes. If given, integers are numbers and not tokens, and x has so many features.
        one_hot: characters as features rather than as ids.
        seed: of synthetic data.

    Raises:
        InputError: the spec names nothing, or what cannot be sequences; the message says what to do.
        UnreadableError: a file is damaged or not of its kind.
        MissingExtraError: reading it needs a package that is not installed.
    """
    options = Options(None if vocab is None else Path(vocab), features, seed)
    return sequences.sequences(_found(spec, options), window=window, most=most, features=features, one_hot=one_hot)


def target(spec: str, of: Data, *, vocab: str | PathLike[str] | None = None, seed: int = 0) -> Target:
    """What a loss compares the outputs for `of` with: one entry for each sequence, or for each step of one long one.

    Integers stay integers, such as classes and the ids of a text's characters.

    Raises:
        InputError, UnreadableError, MissingExtraError: as `data`.
    """
    return sequences.target(_found(spec, Options(None if vocab is None else Path(vocab), None, seed)), of)


def with_lengths(spec: str, of: Data) -> Data:
    """The same data with the lengths of its sequences in steps: `5,3,4`, or a spec that names as many numbers.

    Raises:
        InputError, UnreadableError, MissingExtraError: as `data`.
    """
    if _NUMBERS.fullmatch(spec):
        values, name = np.array([int(number) for number in spec.split(",")]), "lengths"
    else:
        found = _found(spec, Options(None, None, 0))
        values, name = found.values, found.name
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values  # a column of a table
    if values.shape == (of.cut.sequences,):
        values = values[: len(of.x)]
    lengths = checked_lengths(values, of.x, name)
    return replace(of, lengths=lengths, what=f"{of.what}; {sequences.between(lengths)}")


def _found(spec: str, options: Options) -> Found:
    where = place(spec)
    kind = next((kind for kind in SPECS if kind.is_it(where)), None)
    if kind is None or _missing_file(where):  # x.npy:key could be a function, were there no files of that name
        raise _refusal(where)
    return kind.read(where, options)


def _refusal(where: Place) -> InputError | UnreadableError:
    """Why it is of no kind."""
    forms = ", ".join(kind.form for kind in SPECS)
    if where.path is not None:
        if where.head.startswith(_LFS):
            return damaged(where.name, "it is a Git LFS pointer and not the file itself", do="run `git lfs pull`")
        if where.path.suffix.lower() in _suffixes():
            saw = "it is empty" if not where.head else f"it does not begin as a {where.path.suffix} file does"
            return damaged(where.name, saw)
        return InputError(f"{where.name} is of no kind that is known; give one of {forms}.")
    if Path(where.spec).exists():
        return InputError(f"{where.name} is a folder or a device and no file; give a file.")
    if missing := _missing_file(where):
        return InputError(f"there is no file {shown(missing)}; give one that is there.")
    return InputError(f"{where.name} names no file and no known kind of data; give one of {forms}.")


def _missing_file(where: Place) -> str:
    """The file that a spec means and that is not there, without its folder; empty where it means none."""
    if where.path is not None:
        return ""
    drive = drive_of(where.spec)
    rest = where.spec.removeprefix(drive)
    names = [name for name in (rest, rest.rpartition(":")[0]) if Path(name).suffix.lower() in _suffixes()]
    return re.split(r"[/\\]", names[0])[-1] if names else ""


def _suffixes() -> set[str]:
    return {kind.suffix for kind in SPECS if kind.suffix}


SPECS: tuple[Kind, ...] = (
    Kind("x.npy", is_npy, read_npy),
    Kind("x.npz:key", is_npz, read_npz),
    Kind("x.safetensors:key", is_safetensors, read_safetensors),
    Kind("x.wav:512", is_wav, read_wav),
    Kind("x.parquet:a,b", is_parquet, read_parquet),
    Kind("x.csv:a,b", is_csv, read_csv),
    Kind("x.txt", is_text, read_text),
    Kind("synthetic:normal,B=32,T=200", is_synthetic, read_synthetic),
    Kind("module:function", is_function, read_function),
    Kind("-", is_standard_input, read_standard_input),
)
"""Every kind: files known by their content, files known by their names, then what is no file."""
