"""JSON files with lists of numbers under the names of parameters, in as many nested objects as there are.

The text is walked, not loaded: a list of numbers is found by its brackets, its shape counted from its commas, and its
numbers are made only when they are asked for. Lists and objects in a list are counted from 0.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .checkpoint import Checkpoint, StoredArray
from .refusals import damaged, hostile, shown

LARGEST = 1 << 30
"""Bytes of text that are held in memory."""
DEEPEST = 64
LONGEST_NAME = 1024
MOST_VALUES = 50_000
"""Names, and lists that are not of numbers alone."""
MOST_BRACKETS = 10_000_000
"""Rows that are looked at, over all passes."""

_BLANK = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\.)*+"')
_NUMBERS = re.compile(rb"[\[\]\d\s,.eE+\-NaIinfty]*+")
_BRACKET = re.compile(rb"[\[\]]")
_NUMBER = rb"(?:-?(?:0|[1-9]\d*+)(?:\.\d++)?(?:[eE][+-]?\d++)?|-?Infinity|NaN)"
_SCALAR = re.compile(_NUMBER + rb"|true|false|null")
_PLAIN_ITEMS = re.compile(
    rb'(?:[ \t\r\n]*+(?:"(?:[^"\\\x00-\x1f]++|\\.)*+"|true|false|null|' + _NUMBER + rb")[ \t\r\n]*+,)*+"
)
_ROW = re.compile(rb"[ \t\r\n]*(?:" + _NUMBER + rb"[ \t\r\n]*,[ \t\r\n]*)*+" + _NUMBER + rb"[ \t\r\n]*")


def looks_like_json(head: bytes, path: Path) -> bool:
    """Whether a file begins with the brace of an object or the bracket of a list, as text."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return begin[:1] in {b"{", b"["} and b"\0" not in head


def read_json(path: Path) -> Checkpoint:
    """The lists of numbers in the file, by their path of names.

    Raises:
        CheckpointError: the text is no JSON, or larger or deeper than any network needs.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise hostile(path, f"it is {size} bytes of JSON, where {LARGEST} is the limit")
    walk = _Walk(path, path.read_bytes())
    walk.whole()
    return Checkpoint(str(path), "JSON", walk.arrays, notes=("no checksum in this format",))


class _Walk:
    """One pass over the text."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path, self.text = path, text
        self.arrays: dict[str, StoredArray] = {}
        self._at = 3 if text.startswith(b"\xef\xbb\xbf") else 0
        self._values = self._brackets = 0
        self._numbers_end = -1

    def whole(self) -> None:
        self._value("", 0)
        self._skip()
        if self._at != len(self.text):
            raise self._wrong("something follows after its end")

    def _value(self, name: str, depth: int) -> None:
        if depth > DEEPEST:
            raise hostile(self.path, f"it is nested more than {DEEPEST} deep")
        self._values += 1
        if self._values > MOST_VALUES:
            raise hostile(self.path, f"it has more than {MOST_VALUES} names and lists that are no numbers")
        self._skip()
        match self.text[self._at : self._at + 1]:
            case b"{":
                self._object(name, depth)
            case b"[":
                self._list(name, depth)
            case b'"':
                self._string()
            case _:
                self._take(_SCALAR, "a value")

    def _object(self, name: str, depth: int) -> None:
        self._at += 1
        seen: set[str] = set()
        while self._goes_on(b"}", first=not seen):
            self._skip()
            key = self._name()
            if key in seen:
                raise hostile(self.path, f"the name {shown(key)} is in it twice")
            if len(key) > LONGEST_NAME:
                raise hostile(self.path, f"it has a name of more than {LONGEST_NAME} letters")
            seen.add(key)
            self._skip()
            self._expect(b":")
            self._value(_joined(name, key), depth + 1)

    def _list(self, name: str, depth: int) -> None:
        end = self._end_of_numbers()
        if end is not None:
            shape = self._shape(self._at, end)
            if shape is not None and name:
                if name in self.arrays:
                    raise hostile(self.path, f"the name {shown(name)} is in it twice")
                read = partial(_read, self.path, name, self.text, self._at, end, shape)
                self.arrays[name] = StoredArray(shape, "float64", read)
            if shape is not None:
                self._at = end
                return
        self._at += 1
        first, number = True, 0
        while self._goes_on(b"]", first=first):
            plain = _PLAIN_ITEMS.match(self.text, self._at)
            self._at = plain.end() if plain else self._at
            self._skip()
            holds = self.text[self._at : self._at + 1] in (b"[", b"{")
            self._value(_joined(name, str(number)) if holds else "", depth + 1)
            first, number = False, number + holds

    def _end_of_numbers(self) -> int | None:
        """Where the list that begins here ends, if it is one of numbers and lists of numbers."""
        if self._at >= self._numbers_end:
            stretch = _NUMBERS.match(self.text, self._at)
            self._numbers_end = stretch.end() if stretch else self._at
        depth = 0
        for bracket in self._all_brackets(self._at, self._numbers_end):
            depth += 1 if bracket[0] == b"[" else -1
            if depth == 0:
                return bracket.end()
            if depth > DEEPEST:
                raise hostile(self.path, f"it is nested more than {DEEPEST} deep")
        return None

    def _all_brackets(self, start: int, end: int) -> Iterator[re.Match[bytes]]:
        for bracket in _BRACKET.finditer(self.text, start, end):
            self._brackets += 1
            if self._brackets > MOST_BRACKETS:
                raise hostile(self.path, f"its lists have more than {MOST_BRACKETS} rows")
            yield bracket

    def _shape(self, start: int, end: int) -> tuple[int, ...] | None:
        """The shape of a list of numbers; None where its rows differ, or it is empty."""
        counts: list[set[int]] = []
        open_counts: list[int] = []
        row_start = start
        for bracket in self._all_brackets(start, end):
            if bracket[0] == b"[":
                if open_counts:
                    open_counts[-1] += 1
                open_counts.append(0)
                row_start = bracket.end()
                continue
            depth = len(open_counts)
            inside = open_counts.pop()
            while len(counts) < depth:
                counts.append(set())
            if inside == 0:
                if not self.text[row_start : bracket.start()].strip():
                    return None
                inside = self.text.count(b",", row_start, bracket.start()) + 1
            counts[depth - 1].add(inside)
            if len(counts[depth - 1]) > 1:
                return None
        return tuple(next(iter(count)) for count in counts)

    def _goes_on(self, end: bytes, *, first: bool) -> bool:
        """Whether another member follows; past the comma before it, or past the end."""
        self._skip()
        if self.text[self._at : self._at + 1] == end:
            self._at += 1
            return False
        if not first:
            self._expect(b",")
        return True

    def _name(self) -> str:
        text = self._string()
        try:
            return str(json.loads(text))
        except ValueError as error:
            raise self._wrong(f"a name should end, not {shown(str(error))}") from error

    def _string(self) -> bytes:
        return self._take(_STRING, "a name or a text")

    def _take(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        match = pattern.match(self.text, self._at)
        if match is None:
            raise self._wrong(f"{what} should stand")
        self._at = match.end()
        return match[0]

    def _expect(self, sign: bytes) -> None:
        if self.text[self._at : self._at + 1] != sign:
            raise self._wrong(f"{sign.decode()!r} should stand")
        self._at += 1

    def _skip(self) -> None:
        blank = _BLANK.match(self.text, self._at)
        self._at = blank.end() if blank else self._at

    def _wrong(self, what: str) -> Exception:
        if self._at >= len(self.text):
            return damaged(self.path, f"its JSON ends where {what}")
        return damaged(self.path, f"its JSON breaks at byte {self._at}, where {what}")


def _joined(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _read(path: Path, name: str, text: bytes, start: int, end: int, shape: tuple[int, ...]) -> np.ndarray:
    rows = text[start:end].translate(None, b"[]")
    if _ROW.fullmatch(rows) is None:
        raise damaged(path, f"{shown(name)} holds something that is no number")
    values = np.fromstring(rows.decode(), sep=",")
    if values.size != int(np.prod(shape, dtype=object)):
        raise damaged(path, f"{shown(name)} has {values.size} numbers, which its rows do not make")
    return values.reshape(shape)
