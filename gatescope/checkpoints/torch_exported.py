"""What `torch.export.save` writes: a zip archive with the weights as raw bytes, and JSON that says what they are.

Until torch 2.6 the weights were an archive of `torch.save` within the archive. Graphs and example inputs are not read.
"""

import json
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, StoredArray
from .globals import dangers, notes
from .refusals import damaged, shown
from .storages import SIZES, Storage, view
from .torch_zip import TorchTree
from .zip_audit import AuditedZip, audited, is_zip

MOST_JSON = 64 << 20
"""Bytes of a member that lists weights."""

_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
}
"""`ScalarType` of torch.export's schema."""

_OLD = "serialized_state_dict.pt"


def looks_like_torch_exported(head: bytes, path: Path) -> bool:
    """Whether the file is a zip archive that calls itself `pt2`, or holds an exported program of older torch."""
    return is_zip(head) and any(_is_the_mark(name) for name in audited(path).names)


def read_torch_exported(path: Path) -> Checkpoint:
    """Every weight, buffer and constant of an exported program, unread.

    Raises CheckpointError for a damaged, hostile or unreadable archive.
    """
    archive = audited(path)
    mark = next((name for name in archive.names if _is_the_mark(name)), "")
    if mark == _OLD:
        return _read_old(archive)
    folder = mark.removesuffix("archive_format")
    order = bytes(archive.read(f"{folder}byteorder", most=64)) if f"{folder}byteorder" in archive else b"little"
    arrays: dict[str, StoredArray] = {}
    not_read: list[str] = []
    for kind in ("weights", "constants"):
        inside = f"{folder}data/{kind}/"
        for name in archive.names:
            if name.startswith(inside) and name.endswith("_config.json"):
                _read_listed(archive, name, inside, order == b"big", arrays, not_read)
    samples = [name for name in archive.names if name.startswith(f"{folder}data/sample_inputs/")]
    return Checkpoint(
        path=str(path),
        format="torch.export",
        arrays=arrays,
        notes=() if archive.checksums else ("no checksum: it was switched off when the file was written",),
        not_read=(*not_read, *(f"{shown(name)}: example inputs, which are no weights" for name in samples)),
    )


def _read_listed(
    archive: AuditedZip,
    name: str,
    folder: str,
    big_endian: bool,  # noqa: FBT001
    arrays: dict[str, StoredArray],
    not_read: list[str],
) -> None:
    """What one list of weights names, each a member of raw bytes."""
    listed = _json(archive, name).get("config")
    if not isinstance(listed, dict):
        raise damaged(archive.path, f"{shown(name)} lists no weights")
    for key, about in listed.items():
        if not isinstance(about, dict) or not isinstance(about.get("path_name"), str):
            raise damaged(archive.path, f"{shown(name)} does not say where {shown(key)} lies")
        found = _weight(archive, folder + about["path_name"], about, big_endian)
        if isinstance(found, str):
            not_read.append(f"{shown(key)}: {found}")
        else:
            arrays[key if key not in arrays else f"{key}~2"] = found


def _weight(archive: AuditedZip, member: str, about: dict[str, Any], big_endian: bool) -> StoredArray | str:  # noqa: FBT001
    if about.get("use_pickle") is not False:
        return "it is a pickle, whose class would have to be built"
    meta = about.get("tensor_meta")
    if not isinstance(meta, dict):
        raise damaged(archive.path, f"{shown(member)} has no description")
    dtype = _TYPES.get(meta["dtype"]) if isinstance(meta.get("dtype"), int) else None
    if dtype is None:
        return "its type of number is one that numpy does not have"
    shape, strides, offset = _integers(meta.get("sizes")), _integers(meta.get("strides")), [meta.get("storage_offset")]
    start = _integers(offset)
    if shape is None or strides is None or start is None:
        raise damaged(archive.path, f"the sizes of {shown(member)} are no numbers")
    storage = Storage(
        dtype,
        archive.size(member) // SIZES[dtype],
        lambda at, length: archive.open_range(member, at, length),
        big_endian,
    )
    return view(storage, offset=start[0], shape=shape, strides=strides, path=archive.path)


def _read_old(archive: AuditedZip) -> Checkpoint:
    inner = archive.within(_OLD)
    pickle = next((name for name in inner.names if name.endswith("data.pkl")), "data.pkl")
    tree = TorchTree(inner, pickle.removesuffix("data.pkl"), "data.pkl", "data/")
    others = [name for name in archive.names if name.endswith(".pt") and name != _OLD]
    return Checkpoint(
        path=str(archive.path),
        format="torch.export",
        arrays=tree.found.arrays,
        hints=tree.found.hints,
        notes=notes([tree.pickle]),
        not_read=(*tree.found.not_read, *(f"{shown(name)}: constants or example inputs" for name in others)),
        dangers=dangers([tree.pickle]),
    )


def _is_the_mark(name: str) -> bool:
    return name == _OLD or name == "archive_format" or (name.endswith("/archive_format") and name.count("/") == 1)


def _json(archive: AuditedZip, name: str) -> dict[str, Any]:
    try:
        found = json.loads(archive.read(name, most=MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise damaged(archive.path, f"{shown(name)} is no JSON") from error
    return found if isinstance(found, dict) else {}


def _integers(listed: Any) -> tuple[int, ...] | None:
    """Sizes as the schema writes them: [{"as_int": 3}, ...]."""
    if not isinstance(listed, list):
        return None
    found = [item.get("as_int") if isinstance(item, dict) else None for item in listed]
    numbers = tuple(n for n in found if type(n) is int)
    return numbers if len(numbers) == len(found) else None
