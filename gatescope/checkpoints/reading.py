"""Reading a checkpoint: the content of a file decides which reader reads it, never its name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, InputError
from .archived import looks_like_an_archive, read_archive
from .checkpoint import Checkpoint
from .json_file import looks_like_json, read_json
from .keras_file import looks_like_hdf5, looks_like_keras, read_hdf5, read_keras
from .not_a_checkpoint import folder_refusal, refusal
from .npz import looks_like_npy, looks_like_npz, read_npy, read_npz
from .onnx_file import looks_like_onnx, read_onnx
from .pickled_arrays import looks_like_pickled_arrays, read_pickled_arrays
from .refusals import shown, unsupported
from .safetensors_file import (
    looks_like_a_safetensors_index,
    looks_like_safetensors,
    read_safetensors,
    read_safetensors_index,
)
from .torch_distributed import looks_like_torch_distributed, read_torch_distributed
from .torch_exported import looks_like_torch_exported, read_torch_exported
from .torch_legacy import looks_like_torch_legacy, read_torch_legacy
from .torch_zip import looks_like_torch_zip, read_torch_zip

HEAD = 4096
"""Bytes from the beginning of a file by which its format is known."""


class Reader(NamedTuple):
    """One format: what its files begin with, and how they are read."""

    looks_like: Callable[[bytes, Path], bool]
    read: Callable[[Path], Checkpoint]


def read(
    path: str | PathLike[str],
    *,
    key: str | None = None,
    nonlinearity: str | None = None,
    settled: Mapping[str, str] | None = None,
) -> Checkpoint:
    """What a checkpoint holds, found without running anything of it, and without loading torch.

    `key` is the path of the nested dictionary in which to look for layers, where there are several; `nonlinearity`
    is `tanh` or `relu`, for simple RNNs of which the file does not say; `settled` has, by the name of a layer that
    only might be one, what it is, as `Maybe.flag` offers it.

    Raises:
        CheckpointError: the file is not there, damaged, hostile, or of no kind that can be read safely.
        MissingExtraError: reading it needs a package that is not installed.
        InputError: `key` or `nonlinearity` says what cannot be.
    """
    if nonlinearity not in (None, "tanh", "relu"):
        raise InputError(f"nonlinearity is {nonlinearity!r} where 'tanh' or 'relu' is wanted.")
    place = Path(path)
    try:
        found = _read(place)
        if found is None:
            raise refusal(place, _head(place), place.stat().st_size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{shown(str(path))} could not be read ({reason}); give a file that is there") from error
    if key is not None and not any(name.startswith(f"{key}.") for name in found.arrays):
        begins = list(dict.fromkeys(name.partition(".")[0] for name in found.arrays))
        has = ", ".join(shown(begin) for begin in begins[:8]) + (", …" if len(begins) > 8 else "")
        raise InputError(
            f"{shown(place.name)} has nothing under the key {key!r}; its names begin with {has or 'nothing'}."
        )
    return replace(found, path=str(path), key=key, nonlinearity=nonlinearity, settled=dict(settled or {}))


def _read(path: Path) -> Checkpoint | None:
    """What the first reader makes of it that knows its beginning; None where none does."""
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise unsupported(path, "it is no ordinary file", do="copy what it gives into one")
    head = b"" if path.is_dir() else _head(path)
    reader = next((reader for reader in READERS if reader.looks_like(head, path)), None)
    if reader is None and path.is_dir():
        raise folder_refusal(path)
    return None if reader is None else reader.read(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


READERS: tuple[Reader, ...] = (
    Reader(looks_like_torch_exported, read_torch_exported),
    Reader(looks_like_npz, read_npz),
    Reader(looks_like_keras, read_keras),
    Reader(looks_like_hdf5, read_hdf5),
    Reader(looks_like_torch_zip, read_torch_zip),
    Reader(looks_like_torch_legacy, read_torch_legacy),
    Reader(looks_like_torch_distributed, read_torch_distributed),
    Reader(looks_like_pickled_arrays, read_pickled_arrays),
    Reader(looks_like_safetensors, read_safetensors),
    Reader(looks_like_npy, read_npy),
    Reader(looks_like_an_archive, partial(read_archive, inside=_read)),
    Reader(looks_like_a_safetensors_index, read_safetensors_index),
    Reader(looks_like_json, read_json),
    Reader(looks_like_onnx, read_onnx),
)
"""Every format, the ones first whose beginning says most."""
