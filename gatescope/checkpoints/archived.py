"""A checkpoint inside a `.gz`, `.xz`, `.bz2` or `.tar`, also in a `.tar.gz`: unpacked to a place of its own, then read.

What is unpacked is bounded by the size of what it came in. The temporary file goes when the checkpoint does.
"""

import bz2
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from .checkpoint import Checkpoint, StoredArray
from .refusals import damaged, hostile, shown, unsupported

LARGEST_RATIO = 100
"""How many times larger than its archive a file may be."""
MOST_MEMBERS = 10_000

_MEMORY = 96 << 20
"""Bytes that unpacking xz may take; its strongest setting takes 65 MiB."""
_CHUNK = 1 << 20
_GZIP, _XZ, _BZIP2 = b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b"BZh"
_TAR_AT, _TAR = 257, b"ustar"
_DAMAGE = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)

Inside = Callable[[Path], Checkpoint | None]
"""Reads a file; None where it is no checkpoint of a known kind."""


def looks_like_an_archive(head: bytes, path: Path) -> bool:
    """Whether a file begins as gzip, xz, bzip2 or tar do."""
    return head.startswith((_GZIP, _XZ, _BZIP2)) or head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


def read_archive(path: Path, *, inside: Inside) -> Checkpoint:
    """The one checkpoint that the archive holds.

    Raises:
        CheckpointError: the archive is damaged or looks hostile, or holds no checkpoint, or several.
    """
    folder = tempfile.TemporaryDirectory(prefix="gatescope-")
    try:
        found = list(_checkpoints(path, Path(folder.name), inside))
    except CheckpointError as error:
        raise CheckpointError(f"{shown(path.name)}, an archive: {error}") from error
    if len(found) != 1:
        names = ", ".join(shown(name) for name, _ in found)
        saw = (
            f"it is an archive of {len(found)} checkpoints, {names}"
            if found
            else "it is an archive without a checkpoint"
        )
        raise unsupported(path, saw, do="unpack it and give the file that you mean")
    name, checkpoint = found[0]
    arrays = {
        key: StoredArray(array.shape, array.dtype, partial(_read, array, folder))
        for key, array in checkpoint.arrays.items()
    }
    how = f"{checkpoint.format}, in an archive"
    return replace(
        checkpoint, path=str(path), format=how, arrays=arrays, notes=(f"unpacked: {shown(name)}", *checkpoint.notes)
    )


def _read(array: StoredArray, folder: "tempfile.TemporaryDirectory[str]") -> np.ndarray:
    """The numbers; that the folder is named here keeps it until nobody can ask for them any more."""
    return array.read()


def _checkpoints(path: Path, folder: Path, inside: Inside) -> Iterator[tuple[str, Checkpoint]]:
    most = LARGEST_RATIO * path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_TAR_AT + len(_TAR))
    unpacked, name = path, path.name
    if head.startswith((_GZIP, _XZ, _BZIP2)):
        unpacked, name = folder / "unpacked", Path(path.name).stem
        _unpack(path, unpacked, head, most)
        with unpacked.open("rb") as file:
            head = file.read(_TAR_AT + len(_TAR))
    if head[_TAR_AT:] == _TAR:
        yield from _members(unpacked, folder, inside)
        return
    checkpoint = _unless_packed_again(unpacked, inside)
    if checkpoint is not None:
        yield name, checkpoint


def _unless_packed_again(path: Path, inside: Inside) -> Checkpoint | None:
    with path.open("rb") as file:
        head = file.read(_TAR_AT + len(_TAR))
    if looks_like_an_archive(head, path):
        raise unsupported(path, "it is an archive inside an archive", do="unpack it once")
    return inside(path)


def _unpack(path: Path, target: Path, head: bytes, most: int) -> None:
    written = 0
    with path.open("rb") as file, target.open("xb") as out:
        try:
            for chunk in _chunks(file, head):
                written += len(chunk)
                if written > most:
                    raise hostile(path, f"it swells to more than {LARGEST_RATIO} times its size")
                out.write(chunk)
        except CheckpointError:
            raise
        except _DAMAGE as error:
            raise damaged(path, f"it does not unpack ({shown(str(error))})") from error


def _chunks(file: Any, head: bytes) -> Iterator[bytes]:
    """The unpacked bytes, a chunk at a time; what begins again after an end is unpacked too, as gzip does it."""

    def fresh() -> Any:
        if head.startswith(_GZIP):
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        return lzma.LZMADecompressor(memlimit=_MEMORY) if head.startswith(_XZ) else bz2.BZ2Decompressor()

    unpacker = fresh()
    rest = file.read(_CHUNK)
    while rest or not unpacker.eof:
        if unpacker.eof:
            unpacker = fresh()
        if not rest and getattr(unpacker, "needs_input", True):
            rest = file.read(_CHUNK)
            if not rest:
                raise EOFError("its end is missing")
        chunk = unpacker.decompress(rest, _CHUNK)
        rest = unpacker.unused_data if unpacker.eof else getattr(unpacker, "unconsumed_tail", b"")
        if not rest and (unpacker.eof or getattr(unpacker, "needs_input", True)):
            rest = file.read(_CHUNK)
        yield chunk


def _members(path: Path, folder: Path, inside: Inside) -> Iterator[tuple[str, Checkpoint]]:
    seen: set[str] = set()
    try:
        with tarfile.open(path, "r:") as archive:
            for place, member in enumerate(archive):
                _is_ordinary(path, member, seen)
                seen.add(member.name)
                if place >= MOST_MEMBERS:
                    raise hostile(path, f"it has more than {MOST_MEMBERS} members")
                if not member.isfile() or member.size == 0:
                    continue
                target = folder / str(place)
                _copy(archive, member, target)
                checkpoint = _unless_packed_again(target, inside)
                if checkpoint is None:
                    target.unlink()
                else:
                    yield member.name, checkpoint
    except (tarfile.TarError, *_DAMAGE) as error:
        if isinstance(error, CheckpointError):
            raise
        raise damaged(path, f"it is no sound tar archive ({shown(str(error))})") from error


def _is_ordinary(path: Path, member: tarfile.TarInfo, seen: set[str]) -> None:
    parts = Path(member.name).parts
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        raise hostile(path, f"its member {shown(member.name)} would lie outside the archive's folder")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise hostile(path, f"its member {shown(member.name)} is a link or a device, not a file")
    if member.isfile() and member.name in seen:
        raise hostile(path, f"there are two members {shown(member.name)}")


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise ValueError("a member without content")
    left = member.size
    with source, target.open("xb") as out:
        while left:
            chunk = source.read(min(left, _CHUNK))
            if not chunk:
                raise EOFError("a member ends too early")
            out.write(chunk)
            left -= len(chunk)
