"""Numpy's own files: one array (`.npy`), or a zip archive of them (`.npz`). No pickle in them is ever read.

What the header of an array declares is compared with the bytes that are there before anything is believed.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .checkpoint import Checkpoint, StoredArray
from .refusals import damaged, shown, truncated
from .zip_audit import STORED, AuditedZip, audited, is_zip

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000
"""Bytes, numpy's own limit."""
NO_CHECKSUM = "no checksum in this format: a bit that has flipped would not be noticed"

_SUFFIX = ".npy"
_KINDS = "fiubc"
"""Floats, integers, booleans, complex numbers: what can be read without running anything."""
_NO_NUMBERS = "holds Python objects or records, which are not read"
_MOST_DIMENSIONS = 32
_SAID = re.compile(
    r"\{'descr': '(?P<descr>[<>|=][a-zA-Z]\d{1,3})', 'fortran_order': (?P<turned>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,18},? ?){0,64})\), ?\} *\n?"
)
_OBJECTS = re.compile(r"\{'descr': (\[|'\|O)")


def looks_like_npy(head: bytes, path: Path) -> bool:
    """Whether a file begins as one array."""
    return head.startswith(MAGIC)


def looks_like_npz(head: bytes, path: Path) -> bool:
    """Whether a zip archive's first member is an array."""
    name_size = int.from_bytes(head[26:28], "little")
    return is_zip(head) and head[30 : 30 + name_size].endswith(_SUFFIX.encode())


def read_npy(path: Path) -> Checkpoint:
    """The one array, under the name `array`.

    Raises:
        CheckpointError: the file is damaged, or holds Python objects.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _header(path, path.name, file.read(LONGEST_HEADER), size)
    if header.dtype is None:
        return Checkpoint(str(path), "npy", {}, notes=(NO_CHECKSUM,), not_read=(f"array: {_NO_NUMBERS}",))
    return Checkpoint(str(path), "npy", {"array": _stored(header, partial(_stretch, path))}, notes=(NO_CHECKSUM,))


def read_npz(path: Path) -> Checkpoint:
    """The arrays of an archive, by their names without `.npy`.

    Raises:
        CheckpointError: the archive is damaged or looks hostile.
    """
    archive = audited(path)
    arrays: dict[str, StoredArray] = {}
    not_read = []
    for member in archive.names:
        name = member.removesuffix(_SUFFIX)
        head = _head(archive, member)
        if not head.startswith(MAGIC):
            not_read.append(f"{shown(member)}: no array of numpy's")
            continue
        header = _header(path, member, head, archive.size(member))
        if header.dtype is None:
            not_read.append(f"{shown(name)}: {_NO_NUMBERS}")
        else:
            arrays[name] = _stored(header, partial(archive.open_range, member))
    notes = () if archive.checksums else ("its checksums were switched off: a flipped bit would not be noticed",)
    return Checkpoint(str(path), "npz", arrays, notes=notes, not_read=tuple(not_read))


def _head(archive: AuditedZip, member: str) -> bytes:
    """The first bytes of a member, of a stored one without reading the rest of it."""
    size = min(archive.size(member), LONGEST_HEADER)
    if archive.members[member].method != STORED:
        return bytes(archive.open_range(member, 0, size))
    with archive.path.open("rb") as file:
        return archive.window.read(file, archive.members[member].start, size)


class _Header(NamedTuple):
    dtype: np.dtype | None
    """None: Python objects or records, which are not read."""
    shape: tuple[int, ...]
    by_columns: bool
    start: int
    """Where the numbers begin."""


def _header(path: Path, member: str, head: bytes, size: int) -> _Header:
    """The header of an array, compared with the size of what it stands in."""
    width = {1: 2, 2: 4, 3: 4}.get(head[6] if len(head) > 6 else 0, 0)
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if not width or start > min(size, LONGEST_HEADER):
        raise damaged(path, f"{shown(member)} begins as an array, and its header makes no sense")
    text = head[8 + width : start].decode("latin-1")
    said = _SAID.fullmatch(text)
    if said is None:
        if _OBJECTS.match(text):
            return _Header(None, (), False, start)
        raise damaged(path, f"the header of {shown(member)} makes no sense: {shown(text)}")
    try:
        dtype = np.dtype(said["descr"])
        shape = tuple(int(length) for length in said["shape"].split(",") if length.strip())
    except (ValueError, TypeError) as error:
        raise damaged(path, f"the header of {shown(member)} makes no sense: {shown(text)}") from error
    if dtype.kind not in _KINDS:
        return _Header(None, (), False, start)
    expected = start + dtype.itemsize * math.prod(shape)
    if len(shape) > _MOST_DIMENSIONS or expected < size:
        raise damaged(path, f"{shown(member)} has {size} bytes where its header makes {expected}")
    if expected > size:
        raise truncated(path, f"{shown(member)} has {size} bytes where its header makes {expected}")
    return _Header(dtype, shape, said["turned"] == "True", start)


def _stored(header: _Header, data: Callable[[int, int], bytes | bytearray]) -> StoredArray:
    dtype = header.dtype or np.dtype("u1")
    return StoredArray(header.shape, dtype.name, partial(_read, header, dtype, data))


def _read(header: _Header, dtype: np.dtype, data: Callable[[int, int], bytes | bytearray]) -> np.ndarray:
    found = data(header.start, dtype.itemsize * math.prod(header.shape))
    values = np.frombuffer(found, dtype).reshape(header.shape, order="F" if header.by_columns else "C")
    return np.array(values, dtype.newbyteorder("="), order="C")


def _stretch(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    if len(data) != size:
        raise truncated(path, f"it ends at byte {start + len(data)}, and its array ends at {start + size}")
    return data
