"""What is left of a pickle when nothing in it is imported, called or built: inert values that can only be looked at.

Numbers, text, bytes, `None`, lists and tuples stand for themselves. None of these nodes is ever hashed or compared
by what it holds: in a stranger's file either would recurse as deep as the stranger likes.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the file names; a pair of strings, and nothing that they name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Pairs:
    """A dict: its keys and values in the order in which they were set."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list, repr=False)


@dataclass(eq=False, slots=True)
class Members:
    """A set or frozenset."""

    items: list[Any] = field(default_factory=list, repr=False)


@dataclass(eq=False, slots=True)
class Call:
    """A call that opening the file elsewhere would make, and what would then be done to its result."""

    target: Any
    """What would be called: a `Global`, or the result of another call."""
    args: Any = field(default=(), repr=False)
    kwargs: Any = field(default=None, repr=False)
    states: list[Any] = field(default_factory=list, repr=False)
    """What would be set on it: nearly always one `Pairs` of attributes."""
    items: list[Any] = field(default_factory=list, repr=False)
    """What would be appended to it."""
    pairs: list[tuple[Any, Any]] = field(default_factory=list, repr=False)
    """What would be put into it by key."""


@dataclass(eq=False, slots=True)
class Persistent:
    """A thing that lies outside the pickle, by the name under which it lies there."""

    id: Any = field(repr=False)


def entries(node: Any) -> list[tuple[Any, Any]]:
    """The keys and values of a dict, or of an object that behaves like one (an OrderedDict, a defaultdict)."""
    return node.pairs if isinstance(node, Pairs | Call) else []


def entry(node: Any, key: str) -> Any:
    """What stands under a key of text; the last, as in a dict; None where there is none."""
    return next((value for found, value in reversed(entries(node)) if isinstance(found, str) and found == key), None)


def target(node: Any) -> str:
    """What a call would call, as `module.name`; empty for everything else."""
    return str(node.target) if isinstance(node, Call) and isinstance(node.target, Global) else ""


def arguments(node: Any) -> tuple[Any, ...]:
    """Of a call, in order."""
    return node.args if isinstance(node, Call) and isinstance(node.args, tuple) else ()


def as_bytes(node: Any) -> bytes | memoryview | None:
    """Bytes, in each of the ways in which old and new pickles write them; None for everything else."""
    if isinstance(node, bytes | memoryview):
        return node
    if isinstance(node, str):  # what Python 2 called a string, and happened to be text
        return node.encode("utf-8", "surrogatepass")
    called, args = target(node), arguments(node)
    if called == "_codecs.encode" and len(args) == 2 and isinstance(args[0], str) and args[1] == "latin1":
        try:
            return args[0].encode("latin-1")
        except UnicodeEncodeError:
            return None
    if called in ("builtins.bytes", "__builtin__.bytes", "builtins.bytearray", "__builtin__.bytearray"):
        if not args:
            return b""
        return args[0] if isinstance(args[0], bytes | memoryview) else None
    return None
