"""What is known of a value in an ONNX graph before anything runs: an initialiser, or what simple nodes make of some."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .checkpoint import StoredArray

MOST_STEPS = 64
"""Nodes on the way from an initialiser to the node that uses it."""

_PASSED_THROUGH = ("Identity", "Unsqueeze", "Squeeze", "Transpose", "Concat", "Slice", "Cast", "Reshape")


@dataclass(frozen=True, eq=False)
class Scope:
    """The values that a graph sees: its own, and those of the graphs around it."""

    initialisers: Mapping[str, StoredArray]
    nodes: Mapping[str, Any]
    """By the name of each output, the node that makes it."""
    around: "Scope | None"
    constants: Mapping[str, StoredArray]
    """What nodes of the kind Constant hold."""
    attributes: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Known:
    """A value made of initialisers alone."""

    array: StoredArray
    sources: tuple[str, ...]
    """The initialisers; a constant inside the graph has no name of its own and is named by its output."""
    sizes: Mapping[str, int]
    """How many numbers each of them has."""


def known(
    name: str, scope: Scope | None, seen: dict[str, "Known | None"] | None = None, steps: int = 0
) -> Known | None:
    """The value of that name, if nothing that it depends on comes from outside."""
    seen = {} if seen is None else seen
    if scope is None or steps > MOST_STEPS:
        return None
    for held in (scope.initialisers, scope.constants):
        if name in held:
            return Known(held[name], (name,), {name: math.prod(held[name].shape)})
    node = scope.nodes.get(name)
    if node is None:
        return known(name, scope.around, steps=steps)
    if name not in seen:
        seen[name] = None  # for whoever comes here again on the way, which no sound graph does
        seen[name] = _made_by(node, scope, seen, steps)
    return seen[name]


def _made_by(node: Any, scope: Scope, seen: dict[str, Known | None], steps: int) -> Known | None:
    if node.op_type not in _PASSED_THROUGH:
        return None
    inputs = [known(one, scope, seen, steps + 1) for one in node.input if one]
    values = [one for one in inputs if one is not None]
    if not values or len(values) < len(inputs):
        return None
    main = values if node.op_type == "Concat" else values[:1]
    sources = {source: size for value in main for source, size in value.sizes.items()}
    attributes = scope.attributes(node)
    shape = _shape(node.op_type, attributes, [value.array for value in values])
    if shape is None or math.prod(shape) > sum(sources.values()):  # putting weights in order makes no more of them
        return None
    read = partial(_computed, node.op_type, attributes, tuple(value.array for value in values))
    return Known(StoredArray(shape, values[0].array.dtype, read), tuple(sources), sources)


def _shape(op: str, attributes: dict[str, Any], arrays: list[StoredArray]) -> tuple[int, ...] | None:
    """The shape of what an operator gives, without giving it."""
    first = arrays[0].shape
    try:
        if op == "Concat":
            axis = range(len(first))[int(attributes["axis"])]
            alike = all(one.shape[:axis] + one.shape[axis + 1 :] == first[:axis] + first[axis + 1 :] for one in arrays)
            return (*first[:axis], sum(one.shape[axis] for one in arrays), *first[axis + 1 :]) if alike else None
        given = [array.read() for array in arrays[1:]]
        if op == "Reshape":
            sizes = [first[place] if size == 0 else int(size) for place, size in enumerate(np.ravel(given[0]))]
            rest = math.prod(size for size in sizes if size != -1)
            sizes = [math.prod(first) // rest if size == -1 else size for size in sizes]
            return tuple(sizes) if math.prod(sizes) == math.prod(first) else None
        return _done(op, attributes, [np.broadcast_to(np.float32(0), first), *given]).shape
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError):
        return None


def _computed(op: str, attributes: dict[str, Any], arrays: tuple[StoredArray, ...]) -> np.ndarray:
    return np.ascontiguousarray(_done(op, attributes, [array.read() for array in arrays]))


def _done(op: str, attributes: dict[str, Any], values: list[np.ndarray]) -> np.ndarray:
    first = values[0]
    match op:
        case "Unsqueeze":
            return np.expand_dims(first, _axes(attributes, values))
        case "Squeeze":
            return np.squeeze(first, _axes(attributes, values) or None)
        case "Transpose":
            return np.transpose(first, attributes.get("perm"))
        case "Concat":
            return np.concatenate(values, int(attributes["axis"]))
        case "Reshape":
            target = [first.shape[place] if size == 0 else int(size) for place, size in enumerate(values[1])]
            return np.reshape(first, target)
        case "Slice":
            return _sliced(first, attributes, values)
    return first  # Identity, and Cast between floating-point types


def _axes(attributes: dict[str, Any], values: list[np.ndarray]) -> tuple[int, ...]:
    axes = values[1] if len(values) > 1 else attributes.get("axes", ())
    return tuple(int(axis) for axis in np.ravel(axes))


def _sliced(first: np.ndarray, attributes: dict[str, Any], values: list[np.ndarray]) -> np.ndarray:
    given = [np.ravel(value).tolist() for value in values[1:]]
    starts, ends = (given[0], given[1]) if given else (attributes["starts"], attributes["ends"])
    axes = given[2] if len(given) > 2 else attributes.get("axes", list(range(len(starts))))
    steps = given[3] if len(given) > 3 else [1] * len(starts)
    cut = [slice(None)] * first.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[int(axis)] = slice(int(start), int(end), int(step))
    return first[tuple(cut)]
