"""`-`: one array of numpy's, as `numpy.save` writes it, from standard input."""

import hashlib
import sys

from ..errors import InputError
from .found import Found, Options
from .npy import Stream, array
from .place import STANDARD_INPUT, Place

_NAME = "standard input"


def is_standard_input(place: Place) -> bool:
    return place.spec == STANDARD_INPUT


def read_standard_input(place: Place, options: Options) -> Found:
    """The array.

    Raises:
        InputError: nothing is piped into the program.
        UnreadableError: what is, is no array.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("the data is to come from standard input, which is a terminal; pipe an array.npy into it.")
    hashed = _Hashed(sys.stdin.buffer)
    values = array(hashed, None, _NAME)
    return Found(values, _NAME, hashed.seen.hexdigest())


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.seen = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.seen.update(data)
        return data
