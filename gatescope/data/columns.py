"""Which columns of a table a key names: `a,b` by name, `1,3` by number from 1; a name wins over a number."""

from collections.abc import Sequence

from ..errors import InputError
from .place import Place, listed, quoted


def chosen(place: Place, names: Sequence[str] | None, width: int) -> list[int]:
    """Their places from 0, in the order of the key; all of them where there is no key.

    `names` is the header, None where the table has none.

    Raises:
        InputError: there is no such column, or there are two.
    """
    if not place.key:
        return list(range(width))
    if names is not None and place.key in names:
        return [_only(place, names, place.key)]  # a name may have a comma in it
    return [_one(place, names, width, part.strip()) for part in place.key.split(",")]


def _one(place: Place, names: Sequence[str] | None, width: int, part: str) -> int:
    if names is not None and part in names:
        return _only(place, names, part)
    if part.isascii() and part.isdigit() and len(part) < 10 and 1 <= int(part) <= width:
        return int(part) - 1
    has = f"it has {listed(list(names))}" if names is not None else "it has no header"
    raise InputError(f"{place.name} has no column {quoted(part)}, {has}; give names, or numbers from 1 to {width}.")


def _only(place: Place, names: Sequence[str], name: str) -> int:
    if list(names).count(name) > 1:
        raise InputError(f"{place.name} has several columns {quoted(name)}; give the number of one, from 1.")
    return list(names).index(name)
