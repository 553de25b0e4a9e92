"""A name from outside, short enough to stand in a sentence or beside a curve."""

import hashlib

from ..cleaning import clean


def shortened(text: str, limit: int = 80) -> str:
    """`clean(text)`, and if that is longer than `limit` its beginning with a hash, so that two long names stay apart.

    The hash is of the whole text: `"a" * 100` and `"a" * 101` do not look the same.
    """
    shown = clean(text)
    if len(shown) <= limit:
        return shown
    mark = f"…{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    return shown[: limit - len(mark)] + mark


def is_cut(text: str, limit: int = 80) -> bool:
    """Whether `shortened` leaves something out, which a page then shows in a title."""
    return len(clean(text)) > limit
