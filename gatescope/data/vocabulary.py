r"""`--vocab FILE`: the characters of a text in the order of their ids, as a network was trained with them.

A file `x.json` has a list of them, or an object that gives each its id; any other is text with one in a line, where
`\n`, `\r`, `\t` and `\\` stand for themselves.
"""

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .found import damaged
from .place import quoted, shown

LARGEST = 16 << 20
"""Bytes."""
MOST = 1_000_000
"""Ids; all of Unicode has 155 000 characters."""

_ESCAPES = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}


def vocabulary(path: Path) -> tuple[str, ...]:
    """By id, the character; an empty string where an id has none.

    Raises:
        InputError: the file is not there, or says nothing that can be a vocabulary.
        UnreadableError: it is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"the vocabulary {shown(path.name)} could not be read ({reason}); give a file that is there."
        ) from error
    if len(data) > LARGEST:
        raise damaged(path.name, f"it has more than {LARGEST} bytes, and a vocabulary is small", do="give another")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise damaged(path.name, "it is neither JSON nor text in UTF-8", do="save the vocabulary as JSON") from error
    if path.suffix.lower() == ".json":
        return _of_json(path, text)
    lines = text.removesuffix("\n").split("\n")
    return _once(path, [_ESCAPES.get(line, line) for line in lines])


def _of_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path.name, f"it is no JSON ({shown(str(error))})", do="mend it") from error
    match said:
        case list() if all(isinstance(one, str) for one in said):
            return _once(path, said)
        case dict() if said and all(type(at) is int and 0 <= at < MOST for at in said.values()):
            names = [""] * (max(said.values()) + 1)
            for name, at in said.items():
                if names[at]:
                    raise InputError(
                        f"{shown(path.name)} gives {quoted(name)} and {quoted(names[at])} the id {at}; "
                        "give each character its own."
                    )
                names[at] = name
            return tuple(names)
    raise InputError(
        f"{shown(path.name)} is neither a list of characters nor an object of characters and ids below {MOST}; "
        "give one of these."
    )


def _once(path: Path, names: list[str]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InputError(f"{shown(path.name)} lists {quoted(twice)} twice; give each character one id.")
    if not names or names == [""]:
        raise InputError(f"{shown(path.name)} lists no character; give those of the text.")
    return tuple(names)
