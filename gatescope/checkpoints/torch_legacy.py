"""What `torch.save` wrote before torch 1.6: five pickles in a row, then the storages, each after its length.

The pickles are a magic number, a protocol version, facts of the machine, what was saved, and the storages' keys in
their order. The numbers are little-endian whatever the machine was. There are no checksums.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .globals import MOST_NOTES, dangers, notes
from .nodes import Call, Persistent, arguments, as_bytes, entry, target
from .pickles import Pickle, interpret
from .refusals import damaged, hostile, shown, truncated, unsupported
from .storages import SIZES, Storage
from .tensors import array, storage_id, storage_type
from .walk import walk

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_PICKLE = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""As each protocol from 2 on writes it, after a few bytes that name the protocol."""
MOST_PICKLES = 64 << 20
"""Bytes before the first storage."""

Bytes = bytes | bytearray | memoryview
Read = Callable[[int, int], Bytes]


def looks_like_torch_legacy(head: bytes, path: Path) -> bool:
    """Whether the first pickle is torch's magic number."""
    return head[:1] == b"\x80" and MAGIC_PICKLE in head[:32]


def read_torch_legacy(path: Path) -> Checkpoint:
    """Every tensor of the file, unread; what its pickle says of modules; what it would build or run elsewhere.

    Raises CheckpointError for a damaged, hostile or unreadable file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(MOST_PICKLES)

    def read(start: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise truncated(path, f"it ends before byte {start + length}")
        return data

    stream = LegacyStream(head, size, read, path)
    found = walk(stream.pickle.root, lambda node: array(node, stream.storage, path), path)
    unused = [key for key in stream.starts if key not in stream.used]
    return Checkpoint(
        path=str(path),
        format=_format(stream.pickle.root),
        arrays=found.arrays,
        hints=found.hints,
        notes=(
            "no checksum: this format has none",
            *(f"the storage {shown(key)} belongs to no tensor" for key in unused[:MOST_NOTES]),
            *notes(stream.pickles),
        ),
        not_read=tuple(found.not_read),
        dangers=dangers(stream.pickles),
    )


class LegacyStream:
    """The five pickles, and where each storage begins."""

    def __init__(self, head: Bytes, size: int, read: Read, path: Path) -> None:
        self.path, self.size, self.read = path, size, read
        magic = interpret(head, path)
        if magic.root != MAGIC:
            raise damaged(path, "it does not begin with torch's magic number")
        version = interpret(head, path, start=magic.end)
        if version.root != 1001:
            raise unsupported(
                path, "its version is not 1001, the only one that there has been", do="save it with a newer torch"
            )
        machine = interpret(head, path, start=version.end)
        self.pickle: Pickle = interpret(head, path, start=machine.end)
        keys = interpret(head, path, start=self.pickle.end)
        if not isinstance(keys.root, list) or not all(isinstance(key, str) for key in keys.root):
            raise damaged(path, "the list of its storages is none")
        self.pickles = (magic, version, machine, self.pickle, keys)
        self.types = self._types()
        self.used: set[str] = set()
        self.starts = self._starts(keys.root, keys.end)

    def storage(self, node: Any) -> Storage | str | None:
        """What a persistent id names: a storage, or a stretch of one that others share."""
        if isinstance(node, Call) and target(node) == "torch.storage._load_from_bytes":
            return nested_storage(arguments(node), self.path)
        named = storage_id(node)
        if named is None:
            return None
        key = named[2]
        start, count = self.starts.get(key, (0, -1))
        if count < 0:
            raise damaged(self.path, f"the storage {shown(key)} is not in the file")
        self.used.add(key)
        kind = storage_type(named[1])
        dtype = kind[0] if kind else ""
        if not dtype:
            return f"quantised numbers of {shown(str(named[1]))}; save the network before it is quantised"
        first = 0
        if len(named) > 5 and named[5] is not None:
            first, count = self._stretch(named[5], count)
        width = SIZES[dtype]
        return Storage(dtype, count, lambda at, length: self.read(start + first * width + at, length))

    def _types(self) -> dict[str, int]:
        """Bytes of one number, for each key that the pickle names."""
        types: dict[str, int] = {}
        for node in self.pickle.persistents:
            named = storage_id(node)
            if named is None:
                continue
            kind = storage_type(named[1])
            if kind is None or types.setdefault(named[2], kind[1]) != kind[1]:
                raise damaged(self.path, f"the storage {shown(named[2])} is of no type that torch has, or of two")
        return types

    def _starts(self, keys: list[str], at: int) -> dict[str, tuple[int, int]]:
        """For each key, where its numbers begin and how many they are."""
        starts: dict[str, tuple[int, int]] = {}
        for key in keys:
            if key in starts or key not in self.types:
                raise damaged(self.path, f"the storage {shown(key)} is listed twice, or named by no tensor")
            if at + 8 > self.size:
                raise truncated(self.path, f"it ends at byte {self.size}, before the storage {shown(key)}")
            count = int.from_bytes(self.read(at, 8), "little", signed=True)
            end = at + 8 + count * self.types[key]
            if count < 0 or end > self.size:
                raise truncated(
                    self.path, f"the storage {shown(key)} of {count} numbers ends past the file's {self.size} bytes"
                )
            starts[key] = (at + 8, count)
            at = end
        if at != self.size:
            raise damaged(self.path, f"{self.size - at} bytes follow its last storage")
        return starts

    def _stretch(self, view: Any, count: int) -> tuple[int, int]:
        if not isinstance(view, tuple) or len(view) != 3 or not all(type(n) is int and n >= 0 for n in view[1:]):
            raise damaged(self.path, "a stretch of a storage is none")
        if view[1] + view[2] > count:
            raise damaged(self.path, f"a stretch reaches number {view[1] + view[2]} of a storage that holds {count}")
        return view[1], view[2]


def nested_storage(args: tuple[Any, ...], path: Path) -> Storage | str:
    """A storage that was pickled for itself, as a file within the file: how a plain pickle holds tensors."""
    data = as_bytes(args[0]) if len(args) == 1 else None
    if data is None:
        raise damaged(path, "a storage is said to lie in bytes that are none")
    if not looks_like_torch_legacy(bytes(data[:64]), path):
        return "a storage that is pickled in a way of its own; save it with torch.save"
    stream = LegacyStream(data, len(data), lambda start, length: data[start : start + length], path)
    found = stream.storage(stream.pickle.root) if isinstance(stream.pickle.root, Persistent) else None
    if any(pickle.calls for pickle in stream.pickles) or found is None:
        raise hostile(path, "a storage holds a program of its own")
    return found


def _format(root: Any) -> str:
    lightning = entry(root, "pytorch-lightning_version") is not None
    return "Lightning checkpoint, torch legacy" if lightning else "torch legacy"
