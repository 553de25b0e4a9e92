"""Safetensors files, and indices of several of them: a JSON header of names, types and places, then the numbers.

A file is 8 bytes that say how long the header is, the header, and the arrays without a gap. There is no checksum. Names
and shapes come from the header alone, so that a large file is listed as fast as a small one.
"""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, StoredArray
from .raw_numbers import item_size, read_numbers
from .refusals import damaged, hostile, shown, truncated

LONGEST_HEADER = 8 << 20
"""Bytes; a hundred for each array, so that some ten thousand have room."""
LARGEST_INDEX = 8 << 20
MOST_SHARDS = 10_000
NO_CHECKSUM = "no checksum in this format: a bit that has flipped would not be noticed"

_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64",
}  # fmt: skip
_LENGTH = 8


def looks_like_safetensors(head: bytes, path: Path) -> bool:
    """Whether a file begins with a plausible length and the brace of a header."""
    return len(head) > _LENGTH and head[_LENGTH : _LENGTH + 1] == b"{" and head[6:8] == b"\0\0"


def looks_like_a_safetensors_index(head: bytes, path: Path) -> bool:
    """Whether a JSON file lists which array is in which shard."""
    return head.lstrip()[:1] == b"{" and (b'"weight_map"' in head or path.name.endswith(".safetensors.index.json"))


def read_safetensors(path: Path) -> Checkpoint:
    """The arrays of one file.

    Raises:
        CheckpointError: the header is damaged, or says what cannot be.
    """
    arrays, not_read = _listed(path)
    return Checkpoint(str(path), "safetensors", arrays, notes=(NO_CHECKSUM,), not_read=not_read)


def read_safetensors_index(path: Path) -> Checkpoint:
    """The arrays of all files that an index names, each of which lies in the index's own folder.

    Raises:
        CheckpointError: the index or a file is damaged, missing, or elsewhere.
    """
    if path.stat().st_size > LARGEST_INDEX:
        raise hostile(path, f"it is an index of {path.stat().st_size} bytes, where {LARGEST_INDEX} is the limit")
    index = _json(path.read_bytes(), path, "the index")
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise damaged(path, "its weight_map is no list of arrays and files")
    shards = list(dict.fromkeys(places.values()))
    if len(shards) > MOST_SHARDS:
        raise hostile(path, f"it names {len(shards)} files, where {MOST_SHARDS} is the limit")
    found: dict[str, Mapping[str, StoredArray]] = {}
    not_read: list[str] = []
    for shard in shards:
        found[shard], missed = _listed(_beside(path, shard))
        not_read += missed
    arrays = {name: found[shard][name] for name, shard in places.items() if name in found[shard]}
    unread = {said.partition(":")[0] for said in not_read}
    lost = next((name for name in places if name not in arrays and name not in unread), None)
    if lost is not None:
        raise damaged(path, f"{shown(lost)} is not in {shown(places[lost])}, where the index says")
    extra = [f"{shown(name)}: in {shown(shard)}, but not in the index" for shard in shards for name in found[shard]
             if name not in places]  # fmt: skip
    return Checkpoint(str(path), "safetensors, sharded", arrays, notes=(NO_CHECKSUM,), not_read=(*not_read, *extra))


def _beside(path: Path, shard: str) -> Path:
    """The shard, which must lie in the folder of the index, whatever links there are."""
    if shard != Path(shard).name or shard in {"", ".", ".."} or "\\" in shard or "\0" in shard:
        raise hostile(path, f"it points to {shown(shard)!r}, outside its own folder")
    place = path.parent / shard
    if not place.is_file():
        raise truncated(path, f"{shown(shard)}, which it names, is not beside it")
    return place


def _listed(path: Path) -> tuple[dict[str, StoredArray], tuple[str, ...]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > LONGEST_HEADER:
            raise hostile(path, f"its header declares {length} bytes, where {LONGEST_HEADER} is the limit")
        if _LENGTH + length > size:
            raise truncated(path, f"its header is {length} bytes long and the file {size}")
        header = _json(file.read(length), path, "the header")
    start = _LENGTH + length
    header.pop("__metadata__", None)
    arrays: dict[str, StoredArray] = {}
    not_read = []
    spans = []
    for name, said in header.items():
        dtype, shape, first, last = _entry(path, name, said)
        spans.append((first, last))
        if dtype not in _TYPES:
            not_read.append(f"{shown(name)}: numbers of type {shown(dtype)}, which numpy does not have")
            continue
        known = _TYPES[dtype]
        if last - first != item_size(known) * math.prod(shape):
            raise damaged(path, f"{shown(name)} has {last - first} bytes, which its shape and type do not make")
        read = partial(read_numbers, path, start + first, known, shape)
        arrays[name] = StoredArray(shape, known, read)
    _cover(path, sorted(spans), size - start)
    return arrays, tuple(not_read)


def _entry(path: Path, name: str, said: Any) -> tuple[str, tuple[int, ...], int, int]:
    match said:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [first, last]} if all(
            type(number) is int and number >= 0 for number in (*shape, first, last)
        ):
            if len(shape) > 64:
                raise hostile(path, f"{shown(name)} has {len(shape)} dimensions")
            return dtype, tuple(shape), first, last
    raise damaged(path, f"its header says nothing sensible of {shown(name)}")


def _cover(path: Path, spans: list[tuple[int, int]], size: int) -> None:
    """Every byte belongs to one array, as the format demands."""
    at = 0
    for first, last in spans:
        if first != at or last < first:
            raise hostile(path, f"its arrays overlap or leave a gap at byte {at} of the numbers")
        at = last
    if at > size:
        raise truncated(path, f"it has {size} bytes of numbers where its header lists {at}")
    if at < size:
        raise hostile(path, f"{size - at} bytes at its end belong to no array")


def _json(data: bytes, path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode(), object_pairs_hook=partial(_once, path))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{what} is no JSON ({shown(str(error))})") from error
    if not isinstance(found, dict):
        raise damaged(path, f"{what} is no JSON object")
    return found


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise hostile(path, "its header has a name twice")
    return found
