"""Numbers that stand in a file one after the other, and the types they may have."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .refusals import truncated

NUMPY_TYPES: Mapping[str, str] = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1",
    "bool": "?", "complex64": "c8",
}  # fmt: skip
"""How numpy reads the bytes of a type; bfloat16, which numpy does not know, as the upper half of a float32."""


def item_size(dtype: str) -> int:
    """Bytes of one number."""
    return np.dtype(NUMPY_TYPES[dtype]).itemsize


def numbers(data: bytes | bytearray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Little-endian bytes as an array of one's own; bfloat16 widened to float32."""
    values = np.frombuffer(data, np.dtype(NUMPY_TYPES[dtype]).newbyteorder("<")).reshape(shape)
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="))


def read_numbers(path: Path, start: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array that stands at byte `start` of a file."""
    size = item_size(dtype) * int(np.prod(shape, dtype=object))
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    if len(data) != size:
        raise truncated(path, f"it ends at byte {start + len(data)}, and an array in it ends at {start + size}")
    return numbers(data, dtype, shape)
