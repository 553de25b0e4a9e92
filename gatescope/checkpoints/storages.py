"""Numbers that lie somewhere in a file: their type, where they begin, and how a strided view of them is read.

Element (i, j, ...) of a view is number `offset + i stride_0 + j stride_1 + ...` of its storage, as in torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoint import StoredArray
from .refusals import damaged

if TYPE_CHECKING:
    import numpy

MOST_DIMENSIONS = 32
MOST_REPEATED = 64 << 20
"""Bytes that a view may take which repeats numbers of a smaller storage, as `expand` does."""

SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one number, for each type that is read."""


@dataclass(frozen=True, eq=False)
class Storage:
    """A row of numbers of one type."""

    dtype: str
    count: int
    """How many numbers."""
    read: Callable[[int, int], bytes | bytearray | memoryview]
    """Bytes from a start on, so many; they are known to be there."""
    big_endian: bool = False


def view(
    storage: Storage, *, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], path: Path
) -> StoredArray | str:
    """A strided view of a storage, unread; or why it is not read. Raises where it leaves the storage."""
    counts = (*shape, *strides, offset)
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS or any(n < 0 or n >= 1 << 48 for n in counts):
        raise damaged(path, f"a tensor has {len(shape)} dimensions, {len(strides)} strides or an impossible size")
    width = SIZES[storage.dtype]
    elements = math.prod(shape)
    if not elements and math.prod(n for n in shape if n) >= 1 << 48:
        raise damaged(path, "a tensor without elements has an impossible size")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if elements else offset - 1
    if last >= storage.count:
        raise damaged(path, f"a tensor reaches number {last} of a storage that holds {storage.count}")
    if elements > storage.count and elements * width > MOST_REPEATED:
        return f"a view that repeats {storage.count} numbers {elements} times"

    def read() -> "numpy.ndarray":
        return _strided(storage, offset, last, shape, strides)

    return StoredArray(shape, storage.dtype, read)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an array whose last index runs fastest."""
    return tuple(math.prod(max(n, 1) for n in shape[axis + 1 :]) for axis in range(len(shape)))


def _strided(
    storage: Storage, offset: int, last: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> "numpy.ndarray":
    import numpy as np

    stored = {"bfloat16": "uint16", "bool": "uint8"}.get(storage.dtype, storage.dtype)
    if last < offset:
        data: bytes | bytearray | memoryview = b""
    else:
        data = storage.read(offset * SIZES[storage.dtype], (last + 1 - offset) * SIZES[storage.dtype])
    row: numpy.ndarray = np.frombuffer(data, np.dtype(stored).newbyteorder(">" if storage.big_endian else "<"))
    if row.size == 0:
        seen: numpy.ndarray = np.zeros(shape, row.dtype)
    elif row.size == math.prod(shape) and strides == contiguous(shape):
        seen = row.reshape(shape)
    else:
        seen = np.lib.stride_tricks.as_strided(
            row, shape, tuple(stride * row.itemsize for stride in strides), writeable=False
        )
    if storage.dtype == "bfloat16":
        wide: numpy.ndarray = (seen.astype(np.uint32) << 16).view(np.float32)
        return wide
    if storage.dtype == "bool":
        return np.asarray(seen != 0)
    native = seen.dtype.newbyteorder("=")
    owned = seen.flags.c_contiguous and seen.flags.writeable and seen.dtype == native
    result: numpy.ndarray = seen if owned else np.array(seen, native, order="C")
    return result
