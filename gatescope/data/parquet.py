"""`x.parquet[:cols]`: a table of numbers in columns, one row a step: one long sequence; read by pyarrow."""

from typing import Any

import numpy as np

from ..errors import InputError, MissingExtraError
from .columns import chosen
from .found import MOST_NUMBERS, Found, Options, count, damaged, digest
from .place import Place, listed, quoted, shown

_SIGN = b"PAR1"


def is_parquet(place: Place) -> bool:
    """By the sign at its beginning and at its end: a text may well begin with the same four letters."""
    if place.path is None or not place.head.startswith(_SIGN):
        return False
    with place.path.open("rb") as file:
        file.seek(-len(_SIGN), 2)
        return file.read() == _SIGN or place.path.suffix.lower() == ".parquet"


def read_parquet(place: Place, options: Options) -> Found:
    """The columns that the key names, as [time, feature].

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: a column that is not there, is no numbers, or has cells without a value.
        UnreadableError: the file is damaged, or unpacks to more than is read.
    """
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from pyarrow import parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            f"{place.name} is a parquet file, which takes pyarrow; install it with: pip install 'gatescope[parquet]'"
        ) from error
    with place.file.open("rb") as file:  # a file that is open, not a path: pyarrow makes no folder of it
        sha256 = digest(file)
        try:
            table = parquet.ParquetFile(file)
            names = [str(name) for name in table.schema_arrow.names]
            places = chosen(place, names, len(names))
            rows = table.metadata.num_rows
            if rows * len(places) > MOST_NUMBERS:
                raise damaged(place.name, f"it unpacks to {rows} rows of {len(places)} numbers", do="choose columns")
            wanted = table.read(columns=[names[at] for at in dict.fromkeys(places)])
            values = [_numbers(place, names[at], wanted.column(names[at])) for at in places]
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(place.name, f"as a parquet file it is damaged ({shown(str(error))})") from error
    if not values:
        raise InputError(f"{place.name} has no column; give a table of numbers.")
    told = f"{count(len(places), 'column')}: {listed([names[at] for at in places])}"
    return Found(np.stack(values, axis=1), place.name, sha256, remarks=(told,))


def _numbers(place: Place, name: str, column: Any) -> np.ndarray:
    """One column, whose rows must all have a number; numbered from 1, as lines are."""
    from pyarrow import types  # type: ignore[import-not-found, import-untyped, unused-ignore]

    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise InputError(
            f"{place.name} has {shown(str(kind))} in column {quoted(name)}, where numbers are wanted; "
            f"choose columns, as in {place.name}:1,3."
        )
    empty = np.asarray(column.is_null(nan_is_null=True))
    if empty.any():
        row = int(empty.argmax()) + 1
        raise InputError(f"{place.name}: row {row} has no number in column {quoted(name)}; fill it or leave it out.")
    return np.asarray(column.to_numpy(), np.float64)
