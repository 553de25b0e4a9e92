"""What `torch.save` writes since torch 1.6: a zip archive of one pickle, `data.pkl`, and a member for each storage.

TorchScript archives are read here too: the same pickle, beside code that is never run.
"""

from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .globals import MOST_NOTES, dangers, notes
from .nodes import Call, arguments, entry, target
from .pickles import Pickle, interpret
from .refusals import damaged, shown, unsupported
from .storages import Storage
from .tensors import array, storage_id, storage_type
from .torch_legacy import nested_storage
from .walk import Found, walk
from .zip_audit import AuditedZip, audited, is_zip

MOST_PICKLE = 128 << 20
"""Bytes of a `data.pkl`: it holds names and numbers beside the tensors, not the tensors."""


def looks_like_torch_zip(head: bytes, path: Path) -> bool:
    """Whether the file is a zip archive in which `torch.save` or TorchScript keeps its pickle."""
    return is_zip(head) and any(_is_a_data_pickle(name) for name in audited(path).names)


def read_torch_zip(path: Path) -> Checkpoint:
    """Every tensor of the archive, unread; what its pickle says of modules; what it would build or run elsewhere.

    Raises CheckpointError for a damaged, hostile or unreadable archive.
    """
    archive = audited(path)
    pickles = [name for name in archive.names if _is_a_data_pickle(name)]
    if len(pickles) != 1:
        raise damaged(path, f"it has {len(pickles)} members data.pkl where one is wanted")
    folder = pickles[0].removesuffix("data.pkl")
    scripted = f"{folder}constants.pkl" in archive
    tree = TorchTree(archive, folder, "data.pkl", "data/")
    found, said = tree.found, [tree.pickle]
    if scripted:
        constants = TorchTree(archive, folder, "constants.pkl", "constants/")
        said.append(constants.pickle)
        found.arrays.update({f"constants.{name}": value for name, value in constants.found.arrays.items()})
        found.not_read.extend(f"constants.{line}" for line in constants.found.not_read)
        tree.used.update(constants.used)
    unused = [name for name in archive.names if name.startswith(f"{folder}data/") and name not in tree.used]
    return Checkpoint(
        path=str(path),
        format=_format(tree.pickle.root, scripted=scripted),
        arrays=found.arrays,
        hints=found.hints,
        notes=(
            *(() if archive.checksums else ("no checksum: it was switched off when the file was written",)),
            *(f"{shown(name)} belongs to no tensor" for name in unused[:MOST_NOTES]),
            *notes(said),
        ),
        not_read=tuple(found.not_read),
        dangers=dangers(said),
    )


class TorchTree:
    """One pickle of an archive, interpreted, and the arrays below it."""

    def __init__(self, archive: AuditedZip, folder: str, pickle: str, data: str) -> None:
        self.archive, self.data = archive, folder + data
        self.big_endian = _is_big_endian(archive, folder)
        self.pickle: Pickle = interpret(archive.read(folder + pickle, most=MOST_PICKLE), archive.path)
        named = (storage_id(node) for node in self.pickle.persistents)
        self.used = {f"{self.data}{parts[2]}" for parts in named if parts}
        self.found: Found = walk(self.pickle.root, lambda node: array(node, self._storage, archive.path), archive.path)

    def _storage(self, node: Any) -> Storage | str | None:
        if isinstance(node, Call) and target(node) == "torch.storage._load_from_bytes":
            return nested_storage(arguments(node), self.archive.path)
        named = storage_id(node)
        if named is None:
            return None
        kind, key, count, name = storage_type(named[1]), named[2], named[4], f"{self.data}{named[2]}"
        if kind is None or not isinstance(count, int) or count < 0:
            raise damaged(self.archive.path, f"the storage {shown(key)} is of no type or size that torch has")
        dtype, width = kind
        size = self.archive.size(name)
        if count * width > size:
            raise damaged(self.archive.path, f"the storage {shown(key)} declares {count * width} bytes, and has {size}")
        if not dtype:
            return f"quantised numbers of {shown(str(named[1]))}; save the network before it is quantised"
        return Storage(
            dtype, count, lambda start, length: self.archive.open_range(name, start, length), self.big_endian
        )


def _is_a_data_pickle(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _is_big_endian(archive: AuditedZip, folder: str) -> bool:
    """torch writes little-endian numbers where it says nothing."""
    name = f"{folder}byteorder"
    order = bytes(archive.read(name, most=64)) if name in archive else b"little"
    if order not in (b"little", b"big"):
        raise unsupported(
            archive.path, f"its numbers are in the order {shown(repr(order))}", do="save it little- or big-endian"
        )
    return order == b"big"


def _format(root: Any, *, scripted: bool) -> str:
    if scripted:
        return "TorchScript"
    if entry(root, "pytorch-lightning_version") is not None:
        return "Lightning checkpoint, torch zip"
    return "torch zip"
