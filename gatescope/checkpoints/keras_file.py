"""HDF5 files, Keras' own among them, and `.keras` archives around one: read with h5py alone, after an audit.

HDF5 can name other files, compute one array from others and load code for a filter. Whatever does so is refused before
a number is read: links other than plain ones, external and virtual storage, filters other than HDF5's own.
"""

import json
import math
import mmap
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingExtraError
from .checkpoint import Checkpoint, StoredArray
from .refusals import damaged, hostile, shown
from .zip_audit import audited, is_zip

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LARGEST_RATIO = 100
LARGEST_CHUNK = 16 << 20
"""Bytes that are unpacked at once, unless the array itself is larger."""
MOST_OBJECTS = 100_000
DEEPEST = 64
LONGEST_CONFIG = 8 << 20
_MOST_MENTIONS, _BEHIND, _MOST_TEXTS = 16, 256, 10_000

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_DEFLATE = 1
_FILTERS = {_DEFLATE, 2, 3}
"""Deflate, shuffle, Fletcher's checksum."""
_KEPT = (
    *("activation", "recurrent_activation", "reset_after", "go_backwards", "units", "use_bias", "stateful"),
    *("return_sequences", "implementation"),
)
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, AttributeError)


def looks_like_hdf5(head: bytes, path: Path) -> bool:
    """Whether a file begins with HDF5's signature."""
    return head.startswith(SIGNATURE)


def looks_like_keras(head: bytes, path: Path) -> bool:
    """Whether a zip archive holds a network's configuration and weights as Keras 3 saves them."""
    return is_zip(head) and {_CONFIG, _WEIGHTS} <= set(audited(path).names)


def read_hdf5(path: Path) -> Checkpoint:
    """Every array of an HDF5 file, and what Keras says of its layers where it does.

    Raises:
        CheckpointError: the file is damaged, or leads elsewhere.
        MissingExtraError: h5py is not installed.
    """
    h5py = _h5py(path)
    arrays: dict[str, StoredArray] = {}
    not_read: list[str] = []
    hints: dict[str, dict[str, Any]] = {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            for name, dataset in _datasets(path, file, h5py):
                if dataset.dtype.kind not in "fiub" or dataset.dtype.hasobject:
                    not_read.append(f"{shown(name)}: holds {shown(str(dataset.dtype))}, which is no number")
                    continue
                arrays[name] = StoredArray(dataset.shape, dataset.dtype.name, partial(_read, path, name, dataset.shape))
            hints = _hints(path, file)
    except CheckpointError:
        raise
    except _DAMAGE as error:
        raise damaged(path, f"HDF5 says of it: {shown(str(error))}") from error
    notes = ("no checksum in this format, unless it was asked for: a flipped bit may not be noticed",)
    return Checkpoint(str(path), "Keras HDF5" if "" in hints else "HDF5", arrays, hints, notes, tuple(not_read))


def read_keras(path: Path) -> Checkpoint:
    """The weights in a `.keras` archive, with what its configuration says of the layers."""
    archive = audited(path)
    folder = tempfile.TemporaryDirectory(prefix="gatescope-")
    weights = Path(folder.name) / _WEIGHTS
    weights.write_bytes(archive.read(_WEIGHTS))
    try:
        config = json.loads(bytes(archive.read(_CONFIG, most=LONGEST_CONFIG)).decode())
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its {_CONFIG} is no JSON ({shown(str(error))})") from error
    inside = read_hdf5(weights)
    arrays = {
        name: StoredArray(array.shape, array.dtype, partial(_read_inside, array, folder))
        for name, array in inside.arrays.items()
    }
    return replace(
        inside, path=str(path), format="Keras 3", arrays=arrays, notes=(), hints={"": {}, **_said_of_layers(config)}
    )


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"{shown(path.name)} is an HDF5 file, and reading it needs h5py; pip install 'gatescope[keras]'"
        ) from error
    return h5py


def _datasets(path: Path, file: Any, h5py: Any) -> Iterator[tuple[str, Any]]:
    """Each dataset by its path, once, whatever the links are; none of them leads out of the file."""
    seen: set[Any] = set()
    todo = [("", file, 0)]
    while todo:
        place, group, depth = todo.pop(0)
        if depth > DEEPEST or len(seen) > MOST_OBJECTS:
            raise hostile(path, f"its groups are deeper than {DEEPEST}, or hold more than {MOST_OBJECTS} objects")
        for name in group:
            whole = f"{place}/{name}" if place else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise hostile(path, f"{shown(whole)} is a link that leads elsewhere")
            one = group[name]
            mark = h5py.h5o.get_info(one.id)
            if (mark.fileno, mark.addr) in seen:
                raise hostile(path, f"{shown(whole)} is an object that lies elsewhere in the file too")
            seen.add((mark.fileno, mark.addr))
            if isinstance(one, h5py.Group):
                todo.append((whole, one, depth + 1))
            elif isinstance(one, h5py.Dataset):
                _is_plain(path, whole, one)
                yield whole, one


def _is_plain(path: Path, name: str, dataset: Any) -> None:
    made = dataset.id.get_create_plist()
    if made.get_external_count() or dataset.is_virtual:
        raise hostile(path, f"{shown(name)} has its numbers in another file")
    if any(made.get_filter(place)[0] not in _FILTERS for place in range(made.get_nfilters())):
        raise hostile(path, f"{shown(name)} needs a filter that is not HDF5's own")
    stored, whole = dataset.id.get_storage_size(), path.stat().st_size
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if stored > whole or chunk > max(LARGEST_CHUNK, dataset.nbytes):
        raise damaged(path, f"{shown(name)} claims {stored} bytes in chunks of {chunk}, in a file of {whole}")
    if dataset.nbytes > LARGEST_RATIO * max(stored, 1):
        raise hostile(path, f"{shown(name)} swells from {stored} to {dataset.nbytes} bytes")


def _read(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            dataset = file[name]
            _is_plain(path, name, dataset)
            _chunks_are_bounded(path, name, dataset)
            values = np.asarray(dataset[()])
    except _DAMAGE as error:
        raise damaged(path, f"{shown(name)} cannot be read: {shown(str(error))}") from error
    if values.shape != shape:
        raise damaged(path, f"{shown(name)} has changed its shape")
    return np.array(values, values.dtype.newbyteorder("="), order="C")


def _chunks_are_bounded(path: Path, name: str, dataset: Any) -> None:
    """HDF5 unpacks a chunk to whatever it swells to, so each is unpacked here first, as far as it may."""
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(place)[0] for place in range(made.get_nfilters())]
    if _DEFLATE not in filters:
        return
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize + 4  # a checksum may stand behind the numbers
    for place in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(place)
        if chunk.size > path.stat().st_size:
            raise damaged(path, f"a chunk of {shown(name)} claims {chunk.size} bytes")
        skipped, packed = dataset.id.read_direct_chunk(chunk.chunk_offset)
        if skipped & 1 << filters.index(_DEFLATE):
            continue
        try:
            size = len(zlib.decompressobj().decompress(packed, most + 1))
        except zlib.error as error:
            raise damaged(path, f"a chunk of {shown(name)} does not unpack ({error})") from error
        if size > most:
            raise hostile(path, f"a chunk of {shown(name)} swells to more than {most} bytes")


def _read_inside(array: StoredArray, folder: "tempfile.TemporaryDirectory[str]") -> np.ndarray:
    """The numbers; that the folder is named here keeps it until nobody can ask for them any more."""
    return array.read()


def _hints(path: Path, file: Any) -> dict[str, dict[str, Any]]:
    """What the attributes say: Keras' version, and the configuration of each layer."""
    groups = [group for group in (file, file.get("model_weights")) if group is not None]
    version = next((text for group in groups if (text := _text(path, group, "keras_version"))), "")
    config = _text(path, file, "model_config")
    if not version and not config:
        return {}
    try:
        said = _said_of_layers(json.loads(config)) if config else {}
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its model_config is no JSON ({shown(str(error))})") from error
    return {"": {"keras_version": version[:40]}, **said}


def _text(path: Path, group: Any, name: str) -> str:
    if name not in group.attrs:
        return ""
    attribute = group.attrs.get_id(name)
    if attribute.shape != ():
        return ""
    if attribute.dtype.kind != "S":
        return _text_of_any_length(path, name)
    value = group.attrs[name] if attribute.get_storage_size() <= LONGEST_CONFIG else b""
    return bytes(value).decode(errors="replace")


def _text_of_any_length(path: Path, name: str) -> str:
    """A text from HDF5's heap, read here, because HDF5 itself believes whatever lengths the file declares.

    Behind the name of the attribute stand 4 bytes of length, 8 of the address of a heap, which begins with GCOL, and 4
    of a number in it; in the heap from byte 16 on, for each text, its number in 2 bytes, its size from the 8th byte on,
    and its bytes from the 16th on, filled up to a multiple of 8.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(name.encode() + b"\0")
        for _ in range(_MOST_MENTIONS):
            if at < 0:
                break
            for place in range(at + len(name), min(at + len(name) + _BEHIND, len(data) - 16)):
                heap = int.from_bytes(data[place + 4 : place + 12], "little")
                if 0 < heap < len(data) and data[heap : heap + 4] == b"GCOL":
                    length, number = (int.from_bytes(data[i : i + 4], "little") for i in (place, place + 12))
                    return _in_the_heap(data, heap + 16, number)[: min(length, LONGEST_CONFIG)].decode(errors="replace")
            at = data.find(name.encode() + b"\0", at + 1)
    return ""


def _in_the_heap(data: mmap.mmap, at: int, number: int) -> bytes:
    for _ in range(_MOST_TEXTS):
        found, size = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 8 : at + 16], "little")
        if found == number and found:
            return data[at + 16 : at + 16 + min(size, LONGEST_CONFIG)]
        if found == 0 or at + 16 + size > len(data):
            break
        at += 16 + (size + 7) // 8 * 8
    return b""


def _said_of_layers(config: Any) -> dict[str, dict[str, Any]]:
    """By the name of each layer that has one, its class and what decides which cell it is."""
    found: dict[str, dict[str, Any]] = {}
    todo = [config]
    while todo:
        match todo.pop():
            case {"class_name": str(kind), "config": {"name": str(name)} as said}:
                plain = {key: said[key] for key in _KEPT if isinstance(said.get(key), str | bool | int)}
                inner = said.get("layer")
                if isinstance(inner, Mapping) and isinstance(inner.get("config"), Mapping):  # Bidirectional
                    plain |= {
                        key: inner["config"][key] for key in _KEPT if isinstance(inner["config"].get(key), str | bool)
                    }
                    plain.pop("go_backwards", None)
                if "activation" in plain and "recurrent_activation" not in plain:
                    plain["nonlinearity"] = plain["activation"]
                found[name[:200]] = {"class": f"Keras' {shown(kind)}", "batch_first": True, **plain}
                todo += list(said.values())
            case dict() as other:
                todo += list(other.values())
            case list() as several:
                todo += several
    return found
