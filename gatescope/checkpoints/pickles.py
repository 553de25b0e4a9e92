"""A pickle read symbolically: the opcodes of protocols 0 to 5 become inert nodes, and nothing is imported or called.

The language is that of Python's `pickletools`: a stack, a memo, and one byte per operation.
The machine and its sixty-eight operations are one file because most of them are a line or two.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .nodes import Call, Global, Members, Pairs, Persistent
from .refusals import damaged, hostile, truncated, unsupported

MOST_OPERATIONS = 4_000_000
"""Of one pickle; a dictionary of a million words takes about three million."""
MOST_BYTES = 144 << 20
"""What the nodes of one pickle may take in memory, as estimated."""
MOST_MARKS = 1_000
"""Containers begun and not yet ended; Python's own pickler gives up at about five hundred."""
LONGEST_NAME = 1_000
"""Characters in the name of a module or class."""
LONGEST_INTEGER = 256
"""Bytes of an integer; numpy's random state has 16."""

_PER_OPERATION, _PER_CONTAINER, _PER_MEMO, _PER_STRAY, _PER_TEXT = 40, 160, 10, 120, 60
_COPIED = 1 << 16
"""Bytes in a pickle up to this long are copied out of it."""

_SCALAR = re.compile(rb"[+-]?\d{1,600}L?")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|[\\'\"abfnrtv\n])", re.DOTALL)
_ESCAPES = dict(zip(b"\\'\"abfnrtv", b"\\'\"\a\b\f\n\r\t\v", strict=True))


@dataclass(frozen=True, eq=False)
class Pickle:
    """What one pickle says."""

    root: Any
    globals: tuple[Global, ...]
    """Each class and function that it names, once, in the order in which they come."""
    calls: tuple[Call, ...]
    """Each call that opening it elsewhere would make."""
    persistents: tuple[Persistent, ...]
    """Each thing outside it that it points to."""
    end: int
    """Where the next byte after it is."""


def is_pickle(head: bytes) -> bool:
    """Whether the first bytes of a file may begin a pickle: of protocol 2 to 5, or of the older ones by their look."""
    if head[:1] == b"\x80":
        return head[1:2] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05")
    return bool(re.match(rb"\(dp?\d*\n|\(lp?\d*\n|\(?c[\w.]+\n[\w.]+\n|\]q|\}q|\(\]|\}\(", head))


def interpret(data: bytes | bytearray | memoryview, path: Path, *, start: int = 0) -> Pickle:
    """The pickle that begins at byte `start` of `data`; `path` is for the messages alone.

    Raises CheckpointError, whatever the bytes are: for one that ends early, for what no pickler writes, and where a
    limit is passed. Time and memory are bounded by the limits above; nothing here recurses.
    """
    return _Machine(bytes(data) if isinstance(data, memoryview) else data, path, start).run()


class _Machine:
    """The stack, the memo, and where we are."""

    def __init__(self, data: bytes | bytearray, path: Path, start: int) -> None:
        self.data, self.path, self.at = data, path, start
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: list[Any] = []
        self.persistents: list[Persistent] = []
        self.strays: dict[int, Any] = {}
        self.globals: dict[Global, None] = {}
        self.calls: list[Call] = []
        self.bytes = 0
        self.operation = ""

    def run(self) -> Pickle:
        done = 0
        while True:
            done += 1
            if done > MOST_OPERATIONS:
                raise hostile(self.path, f"its pickle has more than {MOST_OPERATIONS} operations")
            code = self.take(1)[0]
            known = _OPERATIONS.get(code)
            if known is None:
                raise damaged(self.path, f"byte {self.at - 1} of its pickle, 0x{code:02x}, is no operation of pickles")
            if code == ord("."):
                if self.outer or len(self.stack) != 1:
                    raise damaged(self.path, f"its pickle stops with {len(self.stack)} values where one is wanted")
                return Pickle(self.stack[0], tuple(self.globals), tuple(self.calls), tuple(self.persistents), self.at)
            self.operation = known[0]
            self.spend(known[2])
            known[1](self)

    def spend(self, size: int) -> None:
        self.bytes += size
        if self.bytes > MOST_BYTES:
            raise hostile(self.path, f"its pickle asks for more than {MOST_BYTES >> 20} MB of memory")

    def take(self, size: int) -> bytes | bytearray:
        end = self.at + size
        if end > len(self.data):
            raise truncated(
                self.path, f"its pickle needs {size} bytes at byte {self.at}, and the data end at {len(self.data)}"
            )
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def counted(self, size: int) -> bytes | memoryview:
        """As many bytes as the number before them says; long ones are not copied."""
        length = self.number(size)
        if length > len(self.data) - self.at:
            raise truncated(
                self.path, f"its pickle announces {length} bytes at byte {self.at}, and {len(self.data)} are all"
            )
        if length > _COPIED:
            self.at += length
            return memoryview(self.data)[self.at - length : self.at].toreadonly()
        self.spend(length)
        return bytes(self.take(length))

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise truncated(self.path, f"a line of its pickle at byte {self.at} has no end")
        self.spend(end - self.at)
        taken = bytes(self.data[self.at : end])
        self.at = end + 1
        return taken

    def wrong(self, saw: str) -> Exception:
        return damaged(self.path, f"{self.operation} at byte {self.at} of its pickle {saw}")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise self.wrong("takes a value from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise self.wrong("looks at a value on an empty stack")
        return self.stack[-1]

    def mark(self) -> None:
        if len(self.outer) >= MOST_MARKS:
            raise hostile(self.path, f"its pickle opens more than {MOST_MARKS} containers within each other")
        self.outer.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        if not self.outer:
            raise self.wrong("wants a mark that was never set")
        items, self.stack = self.stack, self.outer.pop()
        return items

    def text(self, data: bytes | memoryview) -> str:
        self.spend(len(data))
        try:
            return str(data, "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise self.wrong(f"holds text that is not UTF-8 ({error.reason})") from error

    def remember(self, key: int) -> None:
        if key < 0:
            raise self.wrong(f"stores a value as number {key}")
        if key == len(self.memo):  # picklers count; whoever does not pays for a dictionary
            self.memo.append(self.top())
        elif key < len(self.memo):
            self.memo[key] = self.top()
        else:
            self.spend(_PER_STRAY)
            self.strays[key] = self.top()

    def recall(self, key: int) -> None:
        if 0 <= key < len(self.memo):
            self.push(self.memo[key])
        elif key in self.strays:
            self.push(self.strays[key])
        else:
            raise self.wrong(f"recalls value {key}, which was never stored")

    def decimal(self, data: bytes) -> int:
        if not _SCALAR.fullmatch(data):
            raise self.wrong("holds a number that is none, or is too long")
        return int(data.rstrip(b"L"))

    def long(self, size: int) -> None:
        length = self.number(size)
        if length > LONGEST_INTEGER:
            raise hostile(
                self.path, f"its pickle holds an integer of {length} bytes, where {LONGEST_INTEGER} is the limit"
            )
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.wrong("names a class by something that is not text")
        if len(module) > LONGEST_NAME or len(name) > LONGEST_NAME:
            raise hostile(self.path, f"its pickle names a class with more than {LONGEST_NAME} characters")
        found = Global(module, name)
        self.globals.setdefault(found)
        self.push(found)

    def call(self, target: Any, args: Any, kwargs: Any = None) -> None:
        made = Call(target, args, kwargs)
        self.calls.append(made)
        self.push(made)

    def point_to(self, name: Any) -> None:
        made = Persistent(name)
        self.persistents.append(made)
        parts = name if isinstance(name, tuple) and len(name) >= 2 else (None, None)
        of_a_module = isinstance(parts[0], str) and parts[0] == "module" and isinstance(parts[1], Global)
        self.push(parts[1] if of_a_module else made)  # torch once wrote a module's class with its source beside it

    def extend(self, items: list[Any]) -> None:
        into = self.top()
        if isinstance(into, list):
            into.extend(items)
        elif isinstance(into, Call | Members):
            into.items.extend(items)
        else:
            raise self.wrong(f"appends to a {type(into).__name__}")

    def insert(self, items: list[Any]) -> None:
        into = self.top()
        if len(items) % 2:
            raise self.wrong("has a key without a value")
        if not isinstance(into, Pairs | Call):
            raise self.wrong(f"sets a key of a {type(into).__name__}")
        into.pairs.extend(zip(items[::2], items[1::2], strict=True))


def _two(machine: _Machine) -> list[Any]:
    second, first = machine.pop(), machine.pop()
    return [first, second]


def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.marked()


def _pop_mark(machine: _Machine) -> None:
    machine.marked()


def _old_text(machine: _Machine, data: bytes | memoryview) -> None:
    """What Python 2 called a string: text where it can be, and bytes where it cannot, or where it is very long."""
    try:
        machine.push(data if isinstance(data, memoryview) else data.decode())
    except UnicodeDecodeError:
        machine.push(data)


def _quoted(machine: _Machine) -> None:
    data = machine.line().strip()
    if len(data) < 2 or data[:1] != data[-1:] or data[:1] not in (b"'", b'"'):
        raise machine.wrong("holds text without quotes")
    _old_text(machine, _ESCAPE.sub(_unescaped, data[1:-1]))


def _unescaped(found: re.Match[bytes]) -> bytes:
    body = found[1]
    if body[:1] == b"x":
        return bytes([int(body[1:], 16)])
    if body[:1].isdigit():
        return bytes([int(body, 8) & 0xFF])
    return b"" if body == b"\n" else bytes([_ESCAPES[body[0]]])


def _unicode_line(machine: _Machine) -> None:
    try:
        machine.push(machine.line().decode("raw-unicode-escape"))
    except UnicodeDecodeError as error:
        raise machine.wrong(f"holds text that cannot be read ({error.reason})") from error


def _float_line(machine: _Machine) -> None:
    try:
        machine.push(float(machine.line()))
    except ValueError as error:
        raise machine.wrong("holds a number that is none") from error


def _integer_line(machine: _Machine) -> None:
    data = machine.line()
    machine.push({b"00": False, b"01": True}[data] if data in (b"00", b"01") else machine.decimal(data))


def _global_line(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.name(machine.text(module), machine.text(name))


def _stack_global(machine: _Machine) -> None:
    machine.name(*_two(machine))


def _frame(machine: _Machine) -> None:
    size = machine.number(8)
    if size > len(machine.data) - machine.at:
        raise truncated(machine.path, f"its pickle announces a frame of {size} bytes, and {len(machine.data)} are all")


def _protocol(machine: _Machine) -> None:
    version = machine.number(1)
    if version > 5:
        raise unsupported(machine.path, f"its pickle has protocol {version}", do="save it with protocol 5 or lower")


def _reduce(machine: _Machine) -> None:
    machine.call(*_two(machine))


def _new_with_words(machine: _Machine) -> None:
    kwargs, args, target = machine.pop(), machine.pop(), machine.pop()
    machine.call(target, args, kwargs)


def _instance(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    args = tuple(machine.marked())
    machine.name(machine.text(module), machine.text(name))
    machine.call(machine.pop(), args)


def _object(machine: _Machine) -> None:
    items = machine.marked()
    if not items:
        raise machine.wrong("makes an object of no class")
    machine.call(items[0], tuple(items[1:]))


def _build(machine: _Machine) -> None:
    state, thing = machine.pop(), machine.top()
    if not isinstance(thing, Call):
        raise machine.wrong(f"sets the state of a {type(thing).__name__}")
    thing.states.append(state)


def _binary_float(machine: _Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


def _signed(machine: _Machine) -> None:
    machine.push(int.from_bytes(machine.take(4), "little", signed=True))


def _extension(machine: _Machine) -> None:
    raise unsupported(
        machine.path,
        "its pickle uses codes of a private registry (EXT)",
        do="save it again where that registry is known, without copyreg.add_extension",
    )


def _outside_buffer(machine: _Machine) -> None:
    raise unsupported(
        machine.path, "its pickle keeps its buffers in another place", do="save it again without buffer_callback"
    )


def _items_onto(machine: _Machine) -> None:
    items = machine.marked()
    machine.extend(items)


def _pairs_onto(machine: _Machine) -> None:
    items = machine.marked()
    machine.insert(items)


def _pairs_of_marked(machine: _Machine) -> None:
    items = machine.marked()
    machine.push(Pairs())
    machine.insert(items)


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    def make(machine: _Machine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return make


_Operation = tuple[str, Callable[[_Machine], None], int]

_OPERATIONS: dict[int, _Operation] = {
    ord("."): ("STOP", lambda m: None, 0),
    ord("("): ("MARK", _Machine.mark, _PER_CONTAINER),
    ord("0"): ("POP", _pop, 0),
    ord("1"): ("POP_MARK", _pop_mark, 0),
    ord("2"): ("DUP", lambda m: m.push(m.top()), _PER_OPERATION),
    ord("N"): ("NONE", lambda m: m.push(None), _PER_OPERATION),
    0x88: ("NEWTRUE", lambda m: m.push(True), _PER_OPERATION),
    0x89: ("NEWFALSE", lambda m: m.push(False), _PER_OPERATION),
    ord("F"): ("FLOAT", _float_line, _PER_OPERATION),
    ord("G"): ("BINFLOAT", _binary_float, _PER_OPERATION),
    ord("I"): ("INT", _integer_line, _PER_OPERATION),
    ord("J"): ("BININT", _signed, _PER_OPERATION),
    ord("K"): ("BININT1", lambda m: m.push(m.number(1)), _PER_OPERATION),
    ord("M"): ("BININT2", lambda m: m.push(m.number(2)), _PER_OPERATION),
    ord("L"): ("LONG", lambda m: m.push(m.decimal(m.line())), _PER_OPERATION),
    0x8A: ("LONG1", lambda m: m.long(1), _PER_OPERATION),
    0x8B: ("LONG4", lambda m: m.long(4), _PER_OPERATION),
    ord("S"): ("STRING", _quoted, _PER_TEXT),
    ord("T"): ("BINSTRING", lambda m: _old_text(m, m.counted(4)), _PER_TEXT),
    ord("U"): ("SHORT_BINSTRING", lambda m: _old_text(m, m.counted(1)), _PER_TEXT),
    ord("V"): ("UNICODE", _unicode_line, _PER_TEXT),
    ord("X"): ("BINUNICODE", lambda m: m.push(m.text(m.counted(4))), _PER_TEXT),
    0x8C: ("SHORT_BINUNICODE", lambda m: m.push(m.text(m.counted(1))), _PER_TEXT),
    0x8D: ("BINUNICODE8", lambda m: m.push(m.text(m.counted(8))), _PER_TEXT),
    ord("B"): ("BINBYTES", lambda m: m.push(m.counted(4)), _PER_TEXT),
    ord("C"): ("SHORT_BINBYTES", lambda m: m.push(m.counted(1)), _PER_TEXT),
    0x8E: ("BINBYTES8", lambda m: m.push(m.counted(8)), _PER_TEXT),
    0x96: ("BYTEARRAY8", lambda m: m.push(m.counted(8)), _PER_TEXT),
    0x97: ("NEXT_BUFFER", _outside_buffer, 0),
    0x98: ("READONLY_BUFFER", lambda m: None, 0),
    ord("]"): ("EMPTY_LIST", lambda m: m.push([]), _PER_CONTAINER),
    ord("a"): ("APPEND", lambda m: m.extend([m.pop()]), 0),
    ord("e"): ("APPENDS", _items_onto, 0),
    ord("l"): ("LIST", lambda m: m.push(m.marked()), _PER_CONTAINER),
    ord(")"): ("EMPTY_TUPLE", lambda m: m.push(()), _PER_OPERATION),
    ord("t"): ("TUPLE", lambda m: m.push(tuple(m.marked())), _PER_CONTAINER),
    0x85: ("TUPLE1", _tuple_of(1), _PER_CONTAINER),
    0x86: ("TUPLE2", _tuple_of(2), _PER_CONTAINER),
    0x87: ("TUPLE3", _tuple_of(3), _PER_CONTAINER),
    ord("}"): ("EMPTY_DICT", lambda m: m.push(Pairs()), _PER_CONTAINER),
    ord("d"): ("DICT", _pairs_of_marked, _PER_CONTAINER),
    ord("s"): ("SETITEM", lambda m: m.insert(_two(m)), _PER_OPERATION),
    ord("u"): ("SETITEMS", _pairs_onto, 0),
    0x8F: ("EMPTY_SET", lambda m: m.push(Members()), _PER_CONTAINER),
    0x90: ("ADDITEMS", _items_onto, 0),
    0x91: ("FROZENSET", lambda m: m.push(Members(m.marked())), _PER_CONTAINER),
    ord("c"): ("GLOBAL", _global_line, _PER_CONTAINER),
    0x93: ("STACK_GLOBAL", _stack_global, _PER_CONTAINER),
    ord("R"): ("REDUCE", _reduce, 2 * _PER_CONTAINER),
    0x81: ("NEWOBJ", _reduce, 2 * _PER_CONTAINER),
    0x92: ("NEWOBJ_EX", _new_with_words, 2 * _PER_CONTAINER),
    ord("i"): ("INST", _instance, 2 * _PER_CONTAINER),
    ord("o"): ("OBJ", _object, 2 * _PER_CONTAINER),
    ord("b"): ("BUILD", _build, _PER_OPERATION),
    ord("P"): ("PERSID", lambda m: m.point_to(m.text(m.line())), _PER_CONTAINER),
    ord("Q"): ("BINPERSID", lambda m: m.point_to(m.pop()), _PER_CONTAINER),
    ord("g"): ("GET", lambda m: m.recall(m.decimal(m.line())), _PER_OPERATION),
    ord("h"): ("BINGET", lambda m: m.recall(m.number(1)), _PER_OPERATION),
    ord("j"): ("LONG_BINGET", lambda m: m.recall(m.number(4)), _PER_OPERATION),
    ord("p"): ("PUT", lambda m: m.remember(m.decimal(m.line())), _PER_MEMO),
    ord("q"): ("BINPUT", lambda m: m.remember(m.number(1)), _PER_MEMO),
    ord("r"): ("LONG_BINPUT", lambda m: m.remember(m.number(4)), _PER_MEMO),
    0x94: ("MEMOIZE", lambda m: m.remember(len(m.memo) + len(m.strays)), _PER_MEMO),
    0x80: ("PROTO", _protocol, 0),
    0x95: ("FRAME", _frame, 0),
    0x82: ("EXT1", _extension, 0),
    0x83: ("EXT2", _extension, 0),
    0x84: ("EXT4", _extension, 0),
}
"""By their byte: a name for the messages, what is done, and what it is taken to cost in memory."""
