"""How many messages an ONNX file would become in memory, counted in its bytes before anything parses them.

An empty message takes two bytes in a file and a hundred times that in memory, so a small file can ask for gigabytes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from .refusals import damaged, hostile

MOST_FIELDS = 1_000_000
"""Nodes, attributes, inputs and the like; a large network has some ten thousand."""
MOST_DESCRIBED = 8 << 20
"""Bytes of types, shapes and properties, which are not looked into."""
DEEPEST = 32

_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function", 8: "described", 14: "described"},
    "training": {1: "graph", 2: "graph", 3: "described", 4: "described"},
    "graph": {1: "node", 5: "tensor", 11: "described", 12: "described", 13: "described", 14: "described", 15: "sparse"},
    "function": {7: "node", 11: "attribute", 9: "described"},
    "node": {5: "attribute", 9: "described"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 14: "described", 15: "described", 22: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "described"},
}
"""By the numbers of their fields, the messages inside each message, as onnx.proto3 defines them."""


def bound(data: memoryview, path: Path) -> None:
    """Returns if the file may be parsed; raises CheckpointError where it is too much, or no protobuf."""
    fields = described = 0
    todo = [("model", 0, len(data), 0)]
    while todo:
        kind, start, end, depth = todo.pop()
        if depth > DEEPEST:
            raise hostile(path, f"its graphs are nested more than {DEEPEST} deep")
        for number, at, stop in _fields(data, start, end, path):
            fields += 1
            inside = _INSIDE[kind].get(number)
            if inside == "described":
                described += stop - at
            elif inside is not None and stop > at:
                todo.append((inside, at, stop, depth + 1))
            if fields > MOST_FIELDS or described > MOST_DESCRIBED:
                raise hostile(path, f"it has more than {MOST_FIELDS} fields, or {MOST_DESCRIBED} bytes of types")


def _fields(data: memoryview, at: int, end: int, path: Path) -> Iterator[tuple[int, int, int]]:
    """The number of each field of a message, and where its bytes are."""
    while at < end:
        tag, at = _varint(data, at, end, path)
        match tag & 7:
            case 0:
                stop = _varint(data, at, end, path)[1]
            case 1:
                stop = at + 8
            case 2:
                size, at = _varint(data, at, end, path)
                stop = at + size
            case 5:
                stop = at + 4
            case _:
                raise damaged(path, f"it is no ONNX at byte {at}")
        if stop > end:
            raise damaged(path, f"a field at byte {at} runs past the end of its message")
        yield tag >> 3, at, stop
        at = stop


def _varint(data: memoryview, at: int, end: int, path: Path) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise damaged(path, f"it is no ONNX at byte {at}")
