"""Pickles and archives written by hand, byte by byte, as no library of today would write them."""

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class Named:
    """A class or function."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Made:
    """A call, and the state then set."""

    target: Any
    args: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class Outside:
    """A persistent id."""

    id: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are."""

    code: bytes


def pickled(what: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + _code(what) + b"."


def _code(what: Any) -> bytes:
    match what:
        case Raw():
            return what.code
        case None:
            return b"N"
        case bool():
            return b"\x88" if what else b"\x89"
        case int():
            data = what.to_bytes(what.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", what)
        case str():
            data = what.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case bytes():
            return b"B" + struct.pack("<I", len(what)) + what
        case tuple():
            return b"(" + b"".join(map(_code, what)) + b"t"
        case list():
            return b"](" + b"".join(map(_code, what)) + b"e"
        case dict():
            return b"}(" + b"".join(_code(part) for pair in what.items() for part in pair) + b"u"
        case Named():
            return b"c" + what.module.encode() + b"\n" + what.name.encode() + b"\n"
        case Outside():
            return _code(what.id) + b"Q"
        case Made():
            state = b"" if what.state is None else _code(what.state) + b"b"
            return _code(what.target) + _code(what.args) + b"R" + state
    raise TypeError(what)


def storage(key: str, count: int, kind: str = "FloatStorage", *more: Any) -> Outside:
    return Outside(("storage", Named("torch", kind), key, "cpu", count, *more))


def tensor(key: str = "0", count: int = 4, **changed: Any) -> Made:
    """So many float32 numbers in a row, a storage of their own, but for what is changed."""
    parts = {"storage": storage(key, count), "offset": 0, "shape": (count,), "strides": (1,), **changed}
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    return Made(rebuild, (*parts.values(), False, Made(Named("collections", "OrderedDict"))))


def torch_zip(path: Path, what: Any, storages: dict[str, bytes], **members: bytes) -> Path:
    """An archive as torch would write it, with other members by their name."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", what if isinstance(what, bytes) else pickled(what))
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return path


def torch_legacy(path: Path, what: Any, storages: dict[str, bytes], width: int = 4) -> Path:
    """Five pickles and the storages, as torch wrote them before 1.6."""
    out = io.BytesIO()
    for part in (MAGIC, VERSION, {"little_endian": True}):
        out.write(pickled(part))
    out.write(what if isinstance(what, bytes) else pickled(what))
    out.write(pickled(list(storages)))
    for data in storages.values():
        out.write(struct.pack("<q", len(data) // width) + data)
    path.write_bytes(out.getvalue())
    return path
