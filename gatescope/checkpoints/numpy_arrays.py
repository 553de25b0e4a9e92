"""numpy's arrays as pickles describe them: `_reconstruct` with a state, and `_frombuffer`; nothing else of numpy's."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoint import StoredArray
from .nodes import Call, Pairs, arguments, as_bytes, target
from .refusals import damaged, shown
from .storages import SIZES, Storage, contiguous, view

_RECONSTRUCT = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_MASKED = {"numpy.ma.core._mareconstruct"}

_CODES = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "u1": "uint8",
    "u2": "uint16",
    "u4": "uint32",
    "u8": "uint64",
    "b1": "bool",
    "c8": "complex64",
    "c16": "complex128",
}


def numpy_array(node: Any, path: Path) -> StoredArray | str | None:
    """The array that a call would build, why it is not read, or None where the call builds none."""
    called, args = target(node), arguments(node)
    if called in _MASKED:
        return "a masked array; save its data and mask apart"
    if called in _RECONSTRUCT and isinstance(node, Call):
        state = node.states[-1] if node.states else None
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise damaged(path, "a numpy array has no state")
        shape, kind, by_columns, data = state[-4:]
        return _array(shape, kind, by_columns is True or by_columns == 1, data, path)
    if called in _FROM_BUFFER:
        if len(args) != 4:
            raise damaged(path, f"a numpy array is made of {len(args)} arguments where 4 are wanted")
        data, kind, shape, order = args
        return _array(shape, kind, isinstance(order, str) and order == "F", data, path)
    return None


def _array(shape: Any, kind: Any, by_columns: bool, data: Any, path: Path) -> StoredArray | str:  # noqa: FBT001
    code, big_endian = _dtype(kind, path)
    dtype = _CODES.get(code)
    if dtype is None:
        return f"an array of {shown(code)}, which holds no numbers that are read"
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = (shape,)
    if not isinstance(shape, tuple) or any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in shape):
        raise damaged(path, "a numpy array has a shape that is none")
    size = _size(data)
    if size != math.prod(shape) * SIZES[dtype]:
        raise damaged(path, f"a numpy array of {math.prod(shape)} numbers of type {dtype} has {size} bytes")
    strides = contiguous(shape[::-1])[::-1] if by_columns else contiguous(shape)
    storage = Storage(dtype, math.prod(shape), _reader(data), big_endian)
    return view(storage, offset=0, shape=shape, strides=strides, path=path)


def _reader(data: Any) -> Callable[[int, int], bytes | memoryview]:
    def read(start: int, size: int) -> bytes | memoryview:
        return (as_bytes(data) or b"")[start : start + size]

    return read


def _size(data: Any) -> int | None:
    """Of bytes, however they are written; None where they are not bytes."""
    found = as_bytes(data)
    return None if found is None else len(found)


def _dtype(kind: Any, path: Path) -> tuple[str, bool]:
    """Such as ("f4", False): numpy's code, and whether the most significant byte comes first."""
    args = arguments(kind)
    code = args[0] if args else kind
    if target(kind) != "numpy.dtype" and not isinstance(kind, str):
        raise damaged(path, "a numpy array has no type")
    if isinstance(code, bytes):
        code = code.decode("latin-1")
    if not isinstance(code, str):
        return "a structure", False
    order = code[:1] if code[:1] in "<>|=" else ""
    code = code.removeprefix(order)
    if isinstance(kind, Call) and kind.states:
        state = kind.states[-1]
        if not isinstance(state, tuple) or len(state) < 2:
            raise damaged(path, "a numpy type has a state that is none")
        if len(state) > 4 and (isinstance(state[3], tuple) or isinstance(state[4], Pairs)):
            return "a structure", False
        order = state[1] if isinstance(state[1], str) else ""
    return ("objects" if re.match(r"O\d*$", code) else code), order == ">"
