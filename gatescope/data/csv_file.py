"""`x.csv[:cols]`: a table of numbers, one row a step, one column a feature: one long sequence.

A first row that is no numbers is a header. Numbers are plain decimal ones; whatever else stands in a cell that was
asked for, NaN and nothing included, is refused by its line.
"""

import csv
import re
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from .columns import chosen
from .found import MOST_NUMBERS, Found, Options, count, damaged, digest
from .place import Place, listed, quoted, shown

LONGEST_LINE = 1 << 20
"""Bytes."""
MOST_FIELDS = 10_000
MOST_ROWS = 50_000_000

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_LARGEST = float(np.finfo(np.float32).max)
_BOM = "\ufeff"


def is_csv(place: Place) -> bool:
    return place.path is not None and place.path.suffix.lower() == ".csv"


def read_csv(place: Place, options: Options) -> Found:
    """The columns that the key names, as float32 [time, feature].

    Raises:
        InputError: a cell that is no number, or a column that is not there.
        UnreadableError: the file is no table, or larger than any that is read.
    """
    with place.file.open("rb") as file:
        sha256 = digest(file)
        rows = _rows(place, file)
        line, first = next(rows, (0, []))
        if not first:
            raise damaged(place.name, "it has no line in it")
        header = None if all(map(_NUMBER.fullmatch, first)) else [name.strip() for name in first]
        columns = chosen(place, header, len(first))
        names = [f"column {header[at]!r}" if header else f"column {at + 1}" for at in columns]
        values = array("f")
        if header is None:
            values.extend(_numbers(place, line, first, columns, names))
        for line, row in rows:
            if len(row) != len(first):
                raise damaged(
                    place.name, f"line {line} has {count(len(row), 'field')} where the first has {len(first)}"
                )
            values.extend(_numbers(place, line, row, columns, names))
            if len(values) > MOST_NUMBERS:
                raise damaged(place.name, f"it has more than {MOST_NUMBERS} numbers", do="save it as x.npy")
    told = f"{count(len(columns), 'column')}{': ' + listed([header[at] for at in columns]) if header else ''}"
    return Found(np.frombuffer(values, np.float32).reshape(-1, len(columns)), place.name, sha256, remarks=(told,))


def _numbers(place: Place, line: int, row: list[str], columns: list[int], names: list[str]) -> Iterator[float]:
    for at, name in zip(columns, names, strict=True):
        cell = row[at]
        if not _NUMBER.fullmatch(cell):
            saw = f"{quoted(cell)}" if cell.strip() else "nothing"
            raise InputError(
                f"{place.name}: line {line} has {saw} in {shown(name)}, where a number is wanted; "
                f"mend it, or choose columns, as in {place.name}:1,3."
            )
        number = float(cell)
        if not abs(number) <= _LARGEST:
            raise InputError(
                f"{place.name}: line {line} has {shown(cell)} in {shown(name)}, beyond float32; give it another unit."
            )
        yield number


def _rows(place: Place, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each line that is not empty, within the limits."""
    reader = csv.reader(_lines(place, file), strict=True)
    try:
        for number, row in enumerate(reader, 1):
            if len(row) > MOST_FIELDS:
                raise damaged(place.name, f"line {reader.line_num} has {len(row)} fields, above {MOST_FIELDS}")
            if number > MOST_ROWS:
                raise damaged(place.name, f"it has more than {MOST_ROWS} rows", do="save it as x.npy")
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise damaged(place.name, f"line {reader.line_num} is no line of a table ({shown(str(error))})") from error


def _lines(place: Place, file: BinaryIO) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise damaged(place.name, f"line {number} has more than {LONGEST_LINE} bytes", do="give a table of lines")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise damaged(place.name, f"line {number} is no UTF-8", do="save it as UTF-8") from error
        yield text.removeprefix(_BOM) if number == 1 else text
