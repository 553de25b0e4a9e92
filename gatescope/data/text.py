"""`x.txt`: the characters of a text, one a step, as ids; of a vocabulary, or of the text's own sorted characters.

Every character counts as it stands in the file, line ends and a byte order mark included.
"""

import numpy as np

from ..errors import InputError
from .found import MOST_NUMBERS, Found, Options, count, damaged, digest
from .place import Place, quoted, shown
from .vocabulary import vocabulary


def is_text(place: Place) -> bool:
    return place.path is not None and place.path.suffix.lower() == ".txt"


def read_text(place: Place, options: Options) -> Found:
    """The ids of the characters, int64 [time].

    Raises:
        UnreadableError: the file is no text in UTF-8.
        InputError: it is empty, or has a character that the vocabulary has not.
    """
    if place.key:
        raise InputError(f"{place.name} is a text, which has no parts; leave {quoted(place.key)} out.")
    if place.file.stat().st_size > MOST_NUMBERS:
        raise damaged(place.name, f"it has more than {MOST_NUMBERS} bytes", do="give a part of it")
    with place.file.open("rb") as file:
        sha256 = digest(file)
        data = file.read()
    try:
        points = np.frombuffer(data.decode().encode("utf-32-le"), np.uint32)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise damaged(place.name, f"line {line} is no UTF-8", do="save it as UTF-8") from error
    if not len(points):
        raise InputError(f"{place.name} is empty; give a text.")
    own, ids = np.unique(points, return_inverse=True)
    if options.vocab is None:
        names, told = tuple(map(chr, own)), f"one-hot over its own {count(len(own), 'character')}"
    else:
        names = vocabulary(options.vocab)
        told = f"one-hot over the {count(len(names), 'character')} of {shown(options.vocab.name)}"
        ids = _ids(place, data, own, names, options.vocab.name)[ids]
    return Found(ids.astype(np.int64), place.name, sha256, tokens=names, remarks=(told,))


def _ids(place: Place, data: bytes, own: np.ndarray, names: tuple[str, ...], vocab: str) -> np.ndarray:
    """The id of each of the text's own characters."""
    known = {name: at for at, name in enumerate(names)}
    for point in own:
        if chr(point) not in known:
            line = data.count(b"\n", 0, data.find(chr(point).encode())) + 1
            raise InputError(
                f"{place.name}: line {line} has {chr(point)!a}, which {shown(vocab)} has not; "
                "add it there, or leave the vocabulary out."
            )
    return np.array([known[chr(point)] for point in own])
