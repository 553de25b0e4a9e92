"""A plain pickle, as `pickle.dump` writes it: numpy's arrays in dicts and objects, and torch's tensors too."""

from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .globals import dangers, notes
from .nodes import Call, arguments, target
from .pickles import Pickle, interpret, is_pickle
from .refusals import hostile
from .storages import Storage
from .tensors import array
from .torch_legacy import looks_like_torch_legacy, nested_storage
from .walk import walk

MOST_PICKLES = 1_000
"""Pickles one after another in one file."""
LARGEST = 8 << 30
"""Bytes of the file, all of which are held while its arrays are: a pickle cannot be read in parts."""


def looks_like_pickled_arrays(head: bytes, path: Path) -> bool:
    """Whether the file begins as a pickle does that is not torch's own."""
    return is_pickle(head) and not looks_like_torch_legacy(head, path)


def read_pickled_arrays(path: Path) -> Checkpoint:
    """Every array in the pickles of the file, one after another where they are several.

    Raises CheckpointError for a damaged, hostile or unreadable file.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise hostile(path, f"it is a plain pickle of {size >> 30} GB, where {LARGEST >> 30} are the limit")
    data, at = path.read_bytes(), 0
    said: list[Pickle] = []
    while at < len(data) or not said:
        said.append(interpret(data, path, start=at))
        at = said[-1].end
        if len(said) > MOST_PICKLES:
            raise hostile(path, f"it holds more than {MOST_PICKLES} pickles one after another")
    root = said[0].root if len(said) == 1 else [pickle.root for pickle in said]
    found = walk(root, lambda node: array(node, lambda node: _storage(node, path), path), path)
    return Checkpoint(
        path=str(path),
        format="pickle",
        arrays=found.arrays,
        hints=found.hints,
        notes=("no checksum: this format has none", *notes(said)),
        not_read=tuple(found.not_read),
        dangers=dangers(said),
    )


def _storage(node: Any, path: Path) -> Storage | str | None:
    if isinstance(node, Call) and target(node) == "torch.storage._load_from_bytes":
        return nested_storage(arguments(node), path)
    return None
