r"""What a spec points to: a file, perhaps with a key after a colon; or no file.

A colon is no separator where the whole spec is a file's name, nor in the drive of `C:\x.npy`. Of several colons, the
last one counts before which a file's name stands.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..cleaning import clean
from ..errors import InputError

STANDARD_INPUT = "-"
"""Never the name of a file; `./-` is one."""

HEAD = 4096
"""Bytes from the beginning of a file by which its kind is known."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Place:
    """A spec, looked up on the disk."""

    spec: str
    path: Path | None
    """None where no part of the spec names a file."""
    key: str
    """What stands after the file's name and its colon; empty where nothing does."""
    head: bytes
    """How the file begins."""

    @property
    def name(self) -> str:
        """The file's own name without its folder, made safe to show; the spec where there is no file."""
        return shown(self.spec if self.path is None else self.path.name)

    @property
    def file(self) -> Path:
        """The file; for kinds that have looked whether there is one."""
        if self.path is None:
            raise InputError(f"{shown(self.spec)} is no file; give one that is there.")
        return self.path


def place(spec: str) -> Place:
    """Where a spec points.

    Raises:
        InputError: it is empty, or its file cannot be opened.
    """
    if not spec or "\0" in spec:
        raise InputError(f"the data spec {quoted(spec)} names nothing; give one such as x.npy.")
    for name, key in _splits(spec) if spec != STANDARD_INPUT else []:
        path = Path(name)
        try:
            if path.is_file():
                with path.open("rb") as file:
                    return Place(spec, path, key, file.read(HEAD))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(
                f"{shown(path.name)} could not be read ({reason}); give a file that you may read."
            ) from error
    return Place(spec, None, "", b"")


def shown(text: str, longest: int = 80) -> str:
    """Text of a stranger on one line, with what does not print escaped, at most so many characters of it."""
    safe = clean(text[: longest + 1])
    return safe if len(safe) <= longest else safe[: longest - 1] + "…"


def quoted(text: str) -> str:
    """Text of a stranger between quotation marks; as `repr`, but with nothing escaped twice."""
    return f"'{shown(text)}'"


def listed(names: list[str]) -> str:
    """The first eight names of a list that may be long."""
    return ", ".join(shown(name) for name in names[:8]) + (f", … ({len(names)} in all)" if len(names) > 8 else "")


def drive_of(spec: str) -> str:
    r"""`C:\` or `C:/` where a spec begins so."""
    found = _DRIVE.match(spec)
    return found[0] if found else ""


def _splits(spec: str) -> list[tuple[str, str]]:
    """(name, key), the whole spec first, then the longest names first."""
    start = len(drive_of(spec))
    colons = [at for at, sign in enumerate(spec) if sign == ":" and at >= start]
    return [(spec, "")] + [(spec[:at], spec[at + 1 :]) for at in reversed(colons) if at]
