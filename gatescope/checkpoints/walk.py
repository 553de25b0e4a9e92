"""From the nodes of a pickle to named arrays: each way down to an array gives it a name, and modules give hints.

Parameters, buffers and modules of a pickled `nn.Module` are named as its `state_dict` would name them. Nothing here
recurses, so neither depth nor cycles of a stranger's file can hurt.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .checkpoint import StoredArray
from .nodes import Call, Global, Members, Pairs, Persistent, arguments, entries, target
from .refusals import hostile, shown

MOST_DEPTH = 1_000
"""Containers within containers; Python's own pickler gives up at about five hundred."""
MOST_NAMES = 100_000
"""About how many things are looked at again, because they are found in several places."""
LONGEST_NAME = 4_000
"""Characters in the path of an array."""
LONGEST_HINT = 200
"""Characters of an attribute that is kept as a hint."""

Recognise = Callable[[Any], StoredArray | str | None]
"""The array that a node stands for, why it is not read, or None where it stands for none."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a tree of nodes holds."""

    arrays: dict[str, StoredArray] = field(default_factory=dict)
    hints: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)


class _Step(NamedTuple):
    """A place on the way down: what lies here, under which name, and how we came."""

    node: Any
    part: str
    above: "_Step | None"
    depth: int


def walk(root: Any, recognise: Recognise, path: Path) -> Found:
    """Every array below `root`, in the order of the file; `path` is for the messages alone.

    An array found in two places has two names. Of a module's attributes beside its parameters, buffers and modules
    only arrays are named that have no name yet, such as hidden states that it keeps.
    """
    found, known, again = Found(), dict[int, StoredArray | str | None](), 0
    later: deque[_Step] = deque()
    todo = [iter([_Step(root, "", None, 0)])]
    once = False
    while todo or later:
        if not todo:
            once = True
            todo = [iter([later.popleft()])]
        step = next(todo[-1], None)
        if step is None:
            todo.pop()
            continue
        node = step.node
        if id(node) in known:
            again += 1 + (step.depth + _width(node)) // 10
            if once or again > MOST_NAMES or _is_above(step):
                continue
        else:
            known[id(node)] = recognise(node)
        array = known[id(node)]
        if array is None:
            below, attributes = _below(step, found, path)
            later.extend(attributes)
            todo.append(below)
        else:
            _keep(found, step, array, path)
    return found


def _below(step: _Step, found: Found, path: Path) -> tuple[Iterator[_Step], Iterator[_Step]]:
    """What is inside a node, and what is put off until all modules have been seen."""
    node = step.node
    if step.depth >= MOST_DEPTH:
        raise hostile(path, f"its containers lie in each other more than {MOST_DEPTH} deep")
    if isinstance(node, Call) and (parts := _module(node)):
        inside, attributes = parts
        found.hints[_unused(_name(step, path), found.hints)] = _hints(node, attributes)
        return _steps(step, inside), _steps(step, attributes)
    return _steps(step, _children(node)), iter(())


def _module(call: Call) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]] | None:
    """(parameters, buffers and modules; all other attributes) of a pickled module; None for other objects."""
    if not call.states or not all(isinstance(state, Pairs) for state in call.states):
        return None
    attributes = list(_distinct(pair for state in call.states for pair in state.pairs))
    if target(call).startswith("__torch__."):
        own, others = list[tuple[Any, Any]](), list[tuple[Any, Any]]()
        for key, value in attributes:
            (own if isinstance(value, Call) and not _is_a_list(value) else others).append((key, value))
        return own, others
    named = {key: value for key, value in attributes if isinstance(key, str)}
    if not {"_parameters", "_modules"} <= set(named):
        return None
    parts = [entries(named.pop(part, None)) for part in ("_parameters", "_buffers", "_modules")]
    return [pair for part in parts for pair in part], list(named.items())


def _is_a_list(call: Call) -> bool:
    return target(call).startswith("torch.jit._pickle.")


def _hints(call: Call, attributes: list[tuple[Any, Any]]) -> dict[str, Any]:
    """The class of a module and its plain attributes."""
    name = re.sub(r"\.___torch_mangle_\d+", "", target(call).removeprefix("__torch__."))
    plain = {key: value for key, value in attributes if isinstance(key, str) and key[:1] != "_" and _is_plain(value)}
    return {"class": name[:LONGEST_HINT], **plain}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_HINT
    if isinstance(value, tuple | list):
        return len(value) <= 8 and all(isinstance(item, int | float) for item in value)
    return value is None or isinstance(value, int | float)


def _children(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, Pairs):
        yield from _distinct(node.pairs)
    elif isinstance(node, Members):
        yield from enumerate(node.items)
    elif isinstance(node, tuple | list):
        yield from enumerate(node)
    elif isinstance(node, Call):
        yield from _children_of_call(node)


def _children_of_call(call: Call) -> Iterator[tuple[Any, Any]]:
    args = arguments(call)
    if target(call) == "collections.OrderedDict" and len(args) == 1 and isinstance(args[0], list):
        for number, pair in enumerate(args[0]):  # as Python 2 pickled it
            yield (pair[0], pair[1]) if isinstance(pair, tuple | list) and len(pair) == 2 else (number, pair)
    elif len(args) == 1 and isinstance(args[0], tuple | list | Pairs):  # set([...]), defaultdict, dict subclasses
        yield from _children(args[0])
    else:
        yield from enumerate(args)
    yield from entries(call.kwargs)
    yield from _distinct(call.pairs)
    yield from enumerate(call.items)
    for state in call.states:
        for part in state if isinstance(state, tuple) else (state,):  # (attributes, slots)
            if isinstance(part, Pairs | Call):
                yield from entries(part) or [("state", part)]
            else:
                yield "state", part


def _distinct(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """As in a dict, where the value that was set last under a key is the one that stays."""
    pairs = list(pairs)
    last = {key: value for key, value in pairs if isinstance(key, str)}
    if len(last) == len(pairs):
        yield from pairs
        return
    for key, value in pairs:
        if not isinstance(key, str):
            yield key, value
        elif key in last:
            yield key, last.pop(key)


def _width(node: Any) -> int:
    """How many things a node holds, about."""
    if isinstance(node, Call):
        return (
            len(node.items) + len(node.pairs) + sum(_width(state) for state in node.states[:8]) + len(arguments(node))
        )
    if isinstance(node, Pairs):
        return len(node.pairs)
    return len(node.items) if isinstance(node, Members) else len(node) if isinstance(node, tuple | list) else 0


def _steps(step: _Step, pairs: Iterable[tuple[Any, Any]]) -> Iterator[_Step]:
    """Only what may hold an array; a million numbers are passed over."""
    for key, value in pairs:
        if isinstance(value, tuple | list | Pairs | Members | Call | Persistent):
            yield _Step(value, _part(key), step, step.depth + 1)


def _part(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes | memoryview):
        return bytes(key[:LONGEST_NAME]).decode("utf-8", "backslashreplace")
    if isinstance(key, tuple):
        return f"({', '.join(_part(item) if not isinstance(item, tuple) else '…' for item in key[:8])})"
    return str(key) if key is None or isinstance(key, int | float | Global) else type(key).__name__


def _is_above(step: _Step) -> bool:
    """Whether we are inside the same node already: a cycle."""
    above = step.above
    while above is not None:
        if above.node is step.node:
            return True
        above = above.above
    return False


def _keep(found: Found, step: _Step, array: StoredArray | str, path: Path) -> None:
    name = _name(step, path) or "tensor"
    if isinstance(array, str):
        found.not_read.append(f"{shown(name)}: {array}")
    else:
        found.arrays[_unused(name, found.arrays)] = array


def _unused(name: str, taken: dict[str, Any]) -> str:
    """Two paths may print alike, as `a.b` under the top and `b` under `a` do; the second gets a number."""
    if name not in taken:
        return name
    number = 2
    while f"{name}~{number}" in taken:
        number += 1
    return f"{name}~{number}"


def _name(step: _Step, path: Path) -> str:
    parts, at = [], step
    while at.above is not None:
        parts.append(at.part)
        at = at.above
    name = ".".join(reversed(parts))
    if len(name) > LONGEST_NAME:
        raise hostile(path, f"the name of a tensor has {len(name)} characters, where {LONGEST_NAME} is the limit")
    return name
