"""`x.safetensors:key`: one array of a safetensors file, the key being its name; with one array it can be left out.

The file is opened by the safetensors library, which compares its header with its size.
"""

from ..errors import InputError
from .found import Found, Options, damaged, digest
from .place import Place, listed, quoted, shown

_TYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
"""Those of numpy's."""


def is_safetensors(place: Place) -> bool:
    """A length that can be, and the brace of a header."""
    return place.head[8:9] == b"{" and place.head[4:8] == b"\0\0\0\0"


def read_safetensors(place: Place, options: Options) -> Found:
    """The array of that name.

    Raises:
        UnreadableError: the file is damaged.
        InputError: it has no array of that name, or one of a type that numpy does not have.
    """
    from safetensors import SafetensorError, safe_open  # as heavy as numpy, and needed here only

    with place.file.open("rb") as file:
        sha256 = digest(file)
    try:
        with safe_open(place.file, framework="numpy") as arrays:
            names = list(arrays.keys())
            key = _key(place, names)
            dtype = arrays.get_slice(key).get_dtype()
            if dtype not in _TYPES:
                raise InputError(f"{place.name}:{shown(key)} holds {dtype}, which numpy has not; save it as F32.")
            return Found(arrays.get_tensor(key), f"{place.name}:{shown(key)}", sha256)
    except SafetensorError as error:
        raise damaged(place.name, f"as a safetensors file it is damaged ({shown(str(error))})") from error


def _key(place: Place, names: list[str]) -> str:
    if place.key in names:
        return place.key
    if not place.key and len(names) == 1:
        return names[0]
    saw = f"has no array {quoted(place.key)}" if place.key else f"holds {len(names)} arrays"
    has = f"choose one by name, as in {place.name}:{shown(names[0])}" if names else "save one in it"
    raise InputError(f"{place.name} {saw}, it holds {listed(names) or 'none'}; {has}.")
