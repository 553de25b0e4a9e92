"""An analysis as one file: a zip of `analysis.json` and one `.npy` for each array. No pickle, nothing is run.

The members are stored, not compressed, so that none can be larger than the file, and carry the checksums of zip. Every
dataclass is written by the name it has in `KINDS`; a file of a later gatescope that has a kind or a field more is
refused by name, not misread. The same analysis gives the same bytes.
"""

import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InputError, UnreadableError
from ..measures import MEASURES
from ..measures.intervals import Interval
from ..measures.moments import Moments
from ..measures.onset import NonFiniteGradient
from ..measures.state_geometry import Geometry
from ..measures.truncation import AdaptiveLength
from ..measures.weights import Block
from ..nonfinite import NonFinite
from ..remedies.limits import TruncationLength
from ..remedies.remedy import Remedies, Remedy
from ..verdicts import Horizon, Level, Verdict
from ..writing import atomic_write
from .analysis import AnalysedLayer, Analysis, NotMeasured
from .excerpt import Excerpt

SCHEMA = "gatescope.analysis/1"
KINDS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Analysis, AnalysedLayer, NotMeasured, Excerpt, Verdict, Horizon),
        *(Interval, Moments, Geometry, Block, NonFinite, NonFiniteGradient),
        *(Remedies, Remedy, TruncationLength, AdaptiveLength),
        *MEASURES,
    )
}
"""What may stand in a file, by name."""

_LISTING = "analysis.json"
_LONGEST_LISTING = 64 << 20
_THEN = (1980, 1, 1, 0, 0, 0)
"""The oldest date that zip knows: the same bytes on every day."""
_DAMAGE = (zipfile.BadZipFile, ValueError, KeyError, TypeError, RecursionError, NotImplementedError, EOFError)


def write(analysis: Analysis, path: Path) -> Path:
    """Writes an analysis to `path`, as a whole or not at all."""
    return atomic_write(path, _packed(analysis))


def load(path: str | PathLike[str]) -> Analysis:
    """Reads what `Analysis.save` wrote. Nothing in the file is run, and none of it needs the model's code.

    Raises:
        UnreadableError: a file that is not there, is no analysis, is damaged, or was written by a later gatescope.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            return _unpacked(file, path)
    except OSError as error:
        raise UnreadableError(
            f"{path} could not be read ({error.strerror or error}); give a file that Analysis.save wrote."
        ) from error
    except (
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
        NotImplementedError,
        EOFError,
    ) as error:
        raise UnreadableError(
            f"{path} is no analysis, or is damaged ({error}); give a file that Analysis.save wrote."
        ) from error


def _packed(analysis: Analysis) -> bytes:
    arrays: list[np.ndarray] = []
    listing = {"schema": SCHEMA, "analysis": _plain(analysis, arrays)}
    members = {_LISTING: json.dumps(listing, ensure_ascii=False, allow_nan=False, indent=1).encode()}
    for place, array in enumerate(arrays):
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        members[_member(place)] = stream.getvalue()
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name, _THEN), data)
    return whole.getvalue()


def _unpacked(file: zipfile.ZipFile, path: Path) -> Analysis:
    members = {info.filename: info for info in file.infolist()}
    size = path.stat().st_size
    if _LISTING not in members or len(members) < len(file.infolist()):
        raise ValueError(f"it has no single {_LISTING}")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members.values()):
        raise ValueError("it has compressed or encrypted members, which Analysis.save does not write")
    if sum(info.file_size for info in members.values()) > size or members[_LISTING].file_size > _LONGEST_LISTING:
        raise ValueError("its members claim to be larger than the file")
    listing = json.loads(file.read(_LISTING))
    schema = listing.get("schema") if isinstance(listing, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r} where {SCHEMA!r} is read; a later gatescope may read it")

    def array(place: object) -> np.ndarray:
        with file.open(_member(place)) as stream:
            values: np.ndarray = np.load(io.BytesIO(stream.read()), allow_pickle=False)
        values.setflags(write=False)
        return values

    analysis = _value(listing["analysis"], array)
    if not isinstance(analysis, Analysis):
        raise ValueError(f"it holds a {type(analysis).__name__}")
    return analysis


def _member(place: object) -> str:
    if not isinstance(place, int) or place < 0:
        raise ValueError(f"an array is named {place!r}")
    return f"arrays/{place}.npy"


def _plain(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON has it; arrays go into the list and leave their place."""
    match value:
        case Level():
            return {"level": str(value)}
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else {"float": repr(value)}
        case np.ndarray():
            arrays.append(value)
            return {"array": len(arrays) - 1}
        case np.generic():
            return _plain(value.item(), arrays)
        case Mapping():
            return {"mapping": [[_plain(key, arrays), _plain(one, arrays)] for key, one in value.items()]}
        case tuple() | list():
            return {"tuple": [_plain(one, arrays) for one in value]}
    kind = type(value).__name__
    if KINDS.get(kind) is not type(value):
        raise InputError(f"A {kind} cannot be saved with an analysis; leave it out, or keep it in a file of its own.")
    fields = {field.name: _plain(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
    return {"is": kind, **{f".{name}": one for name, one in fields.items()}}


def _value(plain: Any, array: Callable[[object], np.ndarray]) -> Any:
    """The value again."""
    if not isinstance(plain, dict):
        if isinstance(plain, list):
            raise ValueError("a bare list stands in it")
        return plain
    match plain:
        case {"level": str(level)}:
            return Level(level)
        case {"float": "nan" | "inf" | "-inf" as number}:
            return float(number)
        case {"array": place}:
            return array(place)
        case {"mapping": list(pairs)}:
            return MappingProxyType({_value(key, array): _value(one, array) for key, one in pairs})
        case {"tuple": list(ones)}:
            return tuple(_value(one, array) for one in ones)
        case {"is": str(kind), **rest}:
            return _made(kind, {name.removeprefix("."): _value(one, array) for name, one in rest.items()})
    raise ValueError(f"an entry with {', '.join(map(str, plain))[:80]} is not known")


def _made(kind: str, fields: dict[str, Any]) -> Any:
    if kind not in KINDS:
        raise ValueError(f"it holds a {kind!r}, which this gatescope does not know; a later one may")
    known = {field.name for field in dataclasses.fields(KINDS[kind])}
    unknown = fields.keys() - known
    if unknown:
        raise ValueError(f"its {kind} has {', '.join(sorted(unknown))}, which this gatescope does not know")
    return KINDS[kind](**fields)
