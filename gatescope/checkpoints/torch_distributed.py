"""A folder that `torch.distributed.checkpoint` wrote: shards, each a row of small torch archives, and `.metadata`.

That file is a pickle, and says which piece of which tensor lies where.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Checkpoint, StoredArray
from .globals import dangers, notes
from .nodes import Call, Pairs, arguments, entries, entry, target
from .pickles import interpret
from .refusals import damaged, hostile, shown
from .torch_zip import MOST_PICKLE, TorchTree
from .zip_audit import audited

if TYPE_CHECKING:
    import numpy

MOST_PIECES = 1_000
"""Of one tensor; there is one for each process that holds a part of it."""

_MODULE = "torch.distributed.checkpoint"


@dataclass(frozen=True)
class _Piece:
    """A box of a tensor, and the archive in a shard that holds it."""

    offsets: tuple[int, ...]
    shard: str
    start: int
    size: int


def looks_like_torch_distributed(head: bytes, path: Path) -> bool:
    """Whether this is a folder with a `.metadata` file."""
    return path.is_dir() and (path / ".metadata").is_file()


def read_torch_distributed(path: Path) -> Checkpoint:
    """Every tensor of the folder, put together from its pieces when it is read.

    Raises CheckpointError for a damaged or hostile folder; shards outside it are never opened.
    """
    file = _inside(path, ".metadata")
    if file.stat().st_size > MOST_PICKLE:
        raise hostile(path, f".metadata has {file.stat().st_size} bytes, where {MOST_PICKLE} is the limit")
    metadata = interpret(file.read_bytes(), file)
    described = entry(_state(metadata.root), "state_dict_metadata")
    if not isinstance(described, Pairs):
        raise damaged(file, "it describes no state dict")
    pieces = _pieces(entry(_state(metadata.root), "storage_data"), file)
    arrays: dict[str, StoredArray] = {}
    not_read: list[str] = []
    said = [metadata]
    for key, what in entries(described):
        name = key if isinstance(key, str) else type(key).__name__
        size = _counts(entry(_state(what), "size"))
        boxes = pieces.pop(name, [])
        trees = [_tree(path, piece) for piece in boxes]
        said.extend(tree.pickle for tree in trees)
        if size is None:
            for tree in trees:
                for below, value in tree.found.arrays.items():
                    arrays[name if below == "tensor" else f"{name}.{below}"] = value
                not_read.extend(f"{shown(name)}.{line}" for line in tree.found.not_read)
        else:
            found = _whole(name, size, list(zip(boxes, trees, strict=True)), file)
            if isinstance(found, str):
                not_read.append(f"{shown(name)}: {found}")
            else:
                arrays[name] = found
    return Checkpoint(
        path=str(path),
        format="torch distributed",
        arrays=arrays,
        notes=notes(said),
        not_read=(*not_read, *(f"{shown(name)}: it is stored and not described" for name in pieces)),
        dangers=dangers(said),
    )


def _whole(name: str, size: tuple[int, ...], pieces: list[tuple[_Piece, TorchTree]], file: Path) -> StoredArray | str:
    """A tensor put together; its pieces must lie within it and fill it."""
    boxes: list[tuple[_Piece, StoredArray]] = []
    if len(pieces) > MOST_PIECES:
        raise hostile(file, f"{shown(name)} has {len(pieces)} pieces, where {MOST_PIECES} is the limit")
    for piece, tree in pieces:
        if tree.found.not_read or list(tree.found.arrays) != ["tensor"]:
            return "its shard holds another kind of thing"
        box = tree.found.arrays["tensor"]
        ends = tuple(start + count for start, count in zip(piece.offsets, box.shape, strict=False))
        if len(piece.offsets) != len(size) or len(box.shape) != len(size) or any(map(int.__gt__, ends, size)):
            raise damaged(file, f"a piece of {shown(name)} lies outside it")
        boxes.append((piece, box))
    if any(_overlap(*two) for two in itertools.combinations(boxes, 2)):
        raise damaged(file, f"two pieces of {shown(name)} overlap")
    if not boxes or sum(math.prod(box.shape) for _, box in boxes) != math.prod(size):
        raise damaged(file, f"the pieces of {shown(name)} do not fill it")

    def read() -> "numpy.ndarray":
        import numpy as np

        first = boxes[0][1].read()
        if first.shape == size:
            return first
        whole: numpy.ndarray = np.empty(size, first.dtype)
        for piece, box in boxes:
            where = tuple(slice(at, at + count) for at, count in zip(piece.offsets, box.shape, strict=True))
            whole[where] = box.read()
        return whole

    return StoredArray(size, boxes[0][1].dtype, read)


def _overlap(one: tuple[_Piece, StoredArray], other: tuple[_Piece, StoredArray]) -> bool:
    spans = zip(one[0].offsets, one[1].shape, other[0].offsets, other[1].shape, strict=True)
    return all(a < b + n and b < a + m for a, m, b, n in spans)


def _tree(folder: Path, piece: _Piece) -> TorchTree:
    shard = _inside(folder, piece.shard)
    archive = audited(shard, start=piece.start, size=piece.size)
    return TorchTree(archive, "archive/", "data.pkl", "data/")


def _pieces(node: Any, file: Path) -> dict[str, list[_Piece]]:
    """By the name of the tensor, each piece of it, the same piece once."""
    found: dict[str, dict[tuple[int, ...], _Piece]] = {}
    for index, place in entries(node):
        name = entry(_state(index), "fqn")
        offsets = _counts(entry(_state(index), "offset"))
        shard, start, size = (entry(_state(place), key) for key in ("relative_path", "offset", "length"))
        if not isinstance(name, str) or not isinstance(shard, str) or type(start) is not int or type(size) is not int:
            raise damaged(file, "it does not say where a tensor lies")
        piece = _Piece(offsets or (), shard, start, size)
        found.setdefault(name, {}).setdefault(piece.offsets, piece)
    return {name: list(pieces.values()) for name, pieces in found.items()}


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; refused where its name or a link leads out of it."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise hostile(folder, f"it points to {shown(name)}, outside its folder")
    try:
        within, there = file.resolve().is_relative_to(folder.resolve()), file.is_file()
    except (OSError, RuntimeError) as error:  # a name that is too long, a link that leads to itself
        raise damaged(folder, f"it has no file {shown(name)}") from error
    if not within:
        raise hostile(folder, f"{shown(name)} is a link that leads outside its folder")
    if not there:
        raise damaged(folder, f"it has no file {shown(name)}")
    return file


def _state(node: Any) -> Any:
    """The attributes of an object of torch's checkpoint package; None for everything else."""
    if isinstance(node, Call) and target(node).startswith(_MODULE) and node.states:
        return node.states[-1]
    return None


def _counts(node: Any) -> tuple[int, ...] | None:
    if target(node) == "torch.Size" and len(arguments(node)) == 1:
        node = arguments(node)[0]
    if not isinstance(node, tuple | list) or not all(type(n) is int and 0 <= n < 1 << 48 for n in node):
        return None
    return tuple(node)
