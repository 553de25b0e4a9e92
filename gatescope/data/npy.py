"""`x.npy`: one array of numpy's. What its header declares is compared with the bytes that are there, and no pickle
in it is ever read.
"""

import math
import tokenize
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.lib import format as npy_format

from ..errors import InputError
from .found import Found, Options, damaged, digest
from .place import Place, quoted

MAGIC = b"\x93NUMPY"


@runtime_checkable
class Stream(Protocol):
    """What bytes are read from, once."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to so many bytes."""
        ...


_KINDS = "fiub"
"""Floats, integers, booleans."""
_MOST_DIMENSIONS = 32
_CHUNK = 1 << 20
_NOT_A_HEADER = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    MemoryError,
    OverflowError,
    KeyError,
)
"""What numpy raises over a header that is none."""


def is_npy(place: Place) -> bool:
    return place.head.startswith(MAGIC)


def read_npy(place: Place, options: Options) -> Found:
    """The array; a spec of it has no key."""
    if place.key:
        raise InputError(f"{place.name} holds one array, which has no name; leave {quoted(place.key)} out.")
    with place.file.open("rb") as file:
        sha256 = digest(file)
        return Found(array(file, place.file.stat().st_size, place.name), place.name, sha256)


def array(stream: Stream, size: int | None, name: str) -> np.ndarray:
    """The array at the beginning of a stream of `size` bytes; None: it ends where it ends.

    Raises:
        UnreadableError: the header makes no sense, or declares another size.
        InputError: the array holds no real numbers.
    """
    shape, by_columns, dtype, start = _header(stream, name)
    if dtype.kind not in _KINDS:
        kind = "Python objects, which are not read" if dtype.hasobject else f"{dtype.name}, which are no real numbers"
        raise InputError(f"{name} holds {kind}; save an array of floats or integers.")
    wanted = dtype.itemsize * math.prod(shape)
    if size is not None and start + wanted != size:
        raise damaged(name, f"it has {size} bytes where its header makes {start + wanted}")
    data = _exactly(stream, wanted)
    if len(data) != wanted or stream.read(1):
        had = f"only {len(data)}" if len(data) != wanted else "more"
        raise damaged(name, f"its header makes {wanted} bytes of numbers, and there are {had}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _header(stream: Stream, name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """The shape, whether by columns, the type, and where the numbers begin."""
    counted = _Counted(stream)
    try:
        version = npy_format.read_magic(counted)
        read = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
        if read is None:
            raise InputError(
                f"{name} is of npy version {version[0]}.{version[1]}, that of records; save plain numbers."
            )
        shape, by_columns, dtype = read(counted)
    except InputError:  # which is a ValueError too
        raise
    except _NOT_A_HEADER as error:
        raise damaged(name, "it does not begin as an array of numpy's does") from error
    if len(shape) > _MOST_DIMENSIONS or any(length < 0 for length in shape):
        raise damaged(name, "the shape that its header gives cannot be")
    return shape, by_columns, dtype, counted.seen


class _Counted:
    """A stream that counts what was read from it, and cannot be asked for more than a header at once."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.seen = 0

    def read(self, size: int = _CHUNK, /) -> bytes:
        data = self._stream.read(min(size, _CHUNK))
        self.seen += len(data)
        return data


def _exactly(stream: Stream, size: int) -> bytearray:
    """Up to so many bytes, piece by piece, so that no more memory is taken than there is to read."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(min(_CHUNK, size - len(data)))
        if not piece:
            break
        data += piece
    return data
