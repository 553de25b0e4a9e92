"""The three ways in which a file is refused: damaged, hostile-looking, or of a kind that cannot be read safely."""

from pathlib import Path

from ..cleaning import clean
from ..errors import CheckpointError

_LONGEST = 80


def damaged(path: Path, saw: str) -> CheckpointError:
    """The bytes are not those that were written."""
    return CheckpointError(f"{shown(path.name)} is damaged: {saw}; copy or download it again")


def truncated(path: Path, saw: str) -> CheckpointError:
    """The end of the file is missing."""
    return CheckpointError(f"{shown(path.name)} is truncated: {saw}; copy or download it again")


def hostile(path: Path, saw: str) -> CheckpointError:
    """No program that saves models writes such a file."""
    return CheckpointError(
        f"{shown(path.name)} looks hostile: {saw}, which no program that saves models writes; do not open it elsewhere"
    )


def unsupported(path: Path, saw: str, *, do: str) -> CheckpointError:
    """Sound perhaps, but not to be read safely, or not by us."""
    return CheckpointError(f"{shown(path.name)} cannot be read: {saw}; {do}")


def shown(text: str) -> str:
    """Text of a stranger on one line, with what does not print escaped, at most 80 characters of it."""
    safe = clean(text[: _LONGEST + 1])
    return safe if len(safe) <= _LONGEST else safe[: _LONGEST - 1] + "…"
