"""ONNX graphs: LSTM, GRU and RNN nodes wherever they are, also inside the branches of an If.

A node's blocks stand in the orders i o f c and z r h (onnx.ai, operators LSTM and GRU), its directions in one array;
both become torch's here. `linear_before_reset` is 0 unless it is said: the GRU that resets before the product.
Data outside the file is read only from its own folder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingExtraError
from .block_orders import ONNX, Family
from .checkpoint import Checkpoint, StoredArray
from .derived import entry, part, reordered
from .names import parsed
from .onnx_constants import Known, Scope, known
from .protobuf_size import bound
from .raw_numbers import item_size, read_numbers
from .refusals import damaged, hostile, shown, truncated

LARGEST = 2 << 30
"""Bytes that one protobuf message may have."""
NO_CHECKSUM = "no checksum in this format: a bit that has flipped would not be noticed"

_FAMILIES: Mapping[str, Family] = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
_USUAL = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_OF_ITS_KIND = re.compile(r"(?:LSTM|GRU|RNN)(?:_\d+)?")
_DEEPEST = 32
_NONSENSE = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError)
_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip


def looks_like_onnx(head: bytes, path: Path) -> bool:
    """Whether a file begins as the protobuf of a model: its version, then a text or a graph."""
    return head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x3a", b"\x1a", b"\x22", b"\x42")


def read_onnx(path: Path) -> Checkpoint:
    """The initialisers of a graph, and the weights of its recurrent nodes under torch's names.

    Raises:
        CheckpointError: the file is damaged or looks hostile.
        MissingExtraError: onnx is not installed.
    """
    if path.stat().st_size > LARGEST:
        raise hostile(path, f"it has {path.stat().st_size} bytes, where {LARGEST} is the limit of the format")
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError(
            f"{shown(path.name)} is an ONNX file, and reading it needs onnx; pip install 'gatescope[onnx]'"
        ) from error
    data = path.read_bytes()
    bound(memoryview(data), path)
    try:
        graph = onnx.load_model_from_string(data).graph
    except (DecodeError, ValueError, RecursionError) as error:
        raise damaged(path, f"it is no ONNX ({shown(str(error))})") from error
    found = _Found(path, onnx)
    try:
        found.look_into(graph, None, 0)
    except _NONSENSE as error:  # names that are no text, attributes of another type than the operator's
        if isinstance(error, CheckpointError):
            raise
        raise damaged(path, f"its graph makes no sense ({shown(str(error))})") from error
    arrays = {**{name: array for name, array in found.arrays.items() if name not in found.used}, **found.derived}
    return Checkpoint(
        str(path), "ONNX", arrays, hints=found.hints, notes=(NO_CHECKSUM,), not_read=tuple(found.not_read)
    )


@dataclass
class _Found:
    """What has been found on the way through the graph and the graphs inside it."""

    path: Path
    onnx: Any
    arrays: dict[str, StoredArray] = field(default_factory=dict)
    derived: dict[str, StoredArray] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Initialisers that stand, in torch's order, among the derived."""
    hints: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)
    depths: dict[str, int] = field(default_factory=dict)

    def look_into(self, graph: Any, around: Scope | None, depth: int) -> None:
        if depth > _DEEPEST:
            raise hostile(self.path, f"its graphs are nested more than {_DEEPEST} deep")
        own = {tensor.name: array for tensor in graph.initializer if (array := self._array(tensor, tensor.name))}
        self.arrays.update(own)
        makers = {name: node for node in graph.node for name in node.output if name}
        constants = {}
        for node in graph.node:
            if node.op_type == "Constant" and node.output:
                value = self._attributes(node).get("value")
                if value is not None and (array := self._array(value, node.output[0])):
                    constants[node.output[0]] = array
        scope = Scope(own, makers, around, constants, attributes=self._attributes)
        for node in graph.node:
            if node.op_type in _FAMILIES:
                self._recurrent(node, scope)
            elif node.op_type == "Split":
                self._unrolled(node, graph, scope)
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    self.look_into(inner, scope, depth + 1)

    def _attributes(self, node: Any) -> dict[str, Any]:
        try:
            return {
                one.name: self.onnx.helper.get_attribute_value(one) for one in node.attribute if not one.HasField("g")
            }
        except (ValueError, AttributeError) as error:
            raise damaged(self.path, f"an attribute of {shown(node.name)} makes no sense") from error

    def _array(self, tensor: Any, name: str) -> StoredArray | None:
        shape = tuple(tensor.dims)
        dtype = _TYPES.get(tensor.data_type)
        if dtype is None or any(size < 0 for size in shape) or len(shape) > 32:
            self.not_read.append(f"{shown(name)}: numbers of ONNX's type {tensor.data_type}, shape {shown(str(shape))}")
            return None
        size = item_size(dtype) * int(np.prod(shape, dtype=object))
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            return self._outside(tensor, name, dtype, shape, size)
        if tensor.HasField("raw_data") and len(tensor.raw_data) != size:
            raise damaged(self.path, f"{shown(name)} has {len(tensor.raw_data)} bytes where its shape makes {size}")
        return StoredArray(shape, dtype, partial(_read, tensor, name, self.path, self.onnx, shape))

    def _outside(self, tensor: Any, name: str, dtype: str, shape: tuple[int, ...], size: int) -> StoredArray | None:
        said = {one.key: one.value for one in tensor.external_data}
        place = said.get("location", "")
        if place != Path(place).name or place in {"", ".", ".."} or "\\" in place or "\0" in place:
            raise hostile(self.path, f"{shown(name)} points to {shown(place)!r}, outside the file's own folder")
        beside = self.path.parent / place
        start = said.get("offset", "0")
        if beside.is_symlink() or not start.isascii() or not start.isdigit() or len(start) > 18:
            raise hostile(
                self.path, f"{shown(name)} lies at byte {shown(start)!r} of {shown(place)!r}, or behind a link"
            )
        if not beside.is_file():
            self.not_read.append(f"{shown(name)}: in {shown(place)}, which is not beside the file")
            return None
        if int(start) + size > beside.stat().st_size:
            raise truncated(beside, f"{shown(name)} ends at byte {int(start) + size} of {beside.stat().st_size}")
        return StoredArray(shape, dtype, partial(read_numbers, beside, int(start), dtype, shape))

    def _recurrent(self, node: Any, scope: Scope) -> None:
        inputs = [*node.input, "", "", "", "", "", "", "", ""]
        wanted = {"W": inputs[1], "R": inputs[2]} | ({"B": inputs[3]} if inputs[3] else {})
        values = {letter: known(name, scope) for letter, name in wanted.items()}
        module, depth = self._place(node)
        if any(value is None for value in values.values()):
            self.hints[module] = {
                "maybe": f"{shown(module)}: an {node.op_type} node whose weights are computed as it runs"
            }
            return
        held = {letter: value for letter, value in values.items() if value is not None}
        sources = [source for value in held.values() for source in value.sources if source in self.arrays]
        if sources and all((name := parsed(source)) and name.torch_style for source in sources):
            return  # the exporter kept torch's own parameters, and they are found by their names
        self._derive(node, module, depth, held, peephole=bool(inputs[7]))
        self.used.update(sources)

    def _place(self, node: Any) -> tuple[str, int]:
        """The module that a node came from, and which of its nodes it is."""
        name = node.name or (node.output[0] if node.output else "") or node.op_type
        parts = [part for part in name.replace(".", "/").split("/") if part]
        if len(parts) > 1 and _OF_ITS_KIND.fullmatch(parts[-1]):
            parts.pop()
            module = ".".join(parts)
            self.depths[module] = self.depths.get(module, -1) + 1
            return module, self.depths[module]
        module, number = ".".join(parts) or node.op_type, 2
        while module in self.depths:
            module, number = f"{'.'.join(parts)}~{number}", number + 1
        self.depths[module] = 0
        return module, 0

    def _derive(self, node: Any, module: str, depth: int, held: dict[str, Known], *, peephole: bool) -> None:
        family, said = _FAMILIES[node.op_type], self._attributes(node)
        blocks = len(ONNX[family])
        directions = said.get("direction", b"forward")
        directions = directions.decode(errors="replace") if isinstance(directions, bytes) else "forward"
        suffixes = {"forward": ["l{}"], "reverse": ["l{}_reverse"], "bidirectional": ["l{}", "l{}_reverse"]}.get(
            directions
        )
        shapes = {letter: value.array.shape for letter, value in held.items()}
        rows = shapes["R"][1] if len(shapes["R"]) == 3 else 0
        if suffixes is None or not rows or rows % blocks or not _fits(shapes, len(suffixes), rows, rows // blocks):
            self.hints[module] = {"maybe": f"{shown(module)}: an {node.op_type} node with the shapes {shapes}"}
            return
        raw = {}
        for place, suffix in enumerate(suffix.format(depth) for suffix in suffixes):
            made = {
                "weight_ih": (entry(held["W"].array, place), held["W"]),
                "weight_hh": (entry(held["R"].array, place), held["R"]),
            }
            if "B" in held:
                both = entry(held["B"].array, place)
                made["bias_ih"] = part(both, 0, 0, rows), held["B"]
                made["bias_hh"] = part(both, 0, rows, 2 * rows), held["B"]
            for parameter, (array, source) in made.items():
                name = f"{module}.{parameter}_{suffix}"
                self.derived[name] = reordered(array, ONNX[family], family)
                raw[name] = ", ".join(source.sources)
        hint = self.hints.setdefault(module, {"parameters": {}})
        hint["parameters"].update(raw)
        hint.update(_hint(node.op_type, said, len(suffixes), peephole=peephole))

    def _unrolled(self, node: Any, graph: Any, scope: Scope) -> None:
        """Four parts of one sum, three through a sigmoid and one through a tanh: an LSTM's step in single nodes."""
        users = [[one.op_type for one in graph.node if output in one.input] for output in node.output]
        if sorted(use[0] for use in users if len(use) == 1) != ["Sigmoid"] * 3 + ["Tanh"]:
            return
        names, todo = [], list(node.input[:1])
        for _ in range(16):
            if not todo:
                break
            maker = scope.nodes.get(todo.pop())
            if maker is not None and maker.op_type in {"Add", "MatMul", "Gemm"}:
                names += [name for name in maker.input if name in self.arrays]
                todo += [name for name in maker.input if name not in self.arrays]
        self.hints[node.name or node.output[0]] = {
            "arrays": tuple(names),
            "maybe": f"{shown(node.name)}: an LSTM whose step is unrolled into single nodes, its block order unknown",
        }


def _fits(shapes: dict[str, tuple[int, ...]], directions: int, rows: int, units: int) -> bool:
    w, r, b = shapes["W"], shapes["R"], shapes.get("B", (directions, 2 * rows))
    return (
        len(w) == 3 and w[:2] == (directions, rows) and r == (directions, rows, units) and b == (directions, 2 * rows)
    )


def _hint(op: str, said: dict[str, Any], directions: int, *, peephole: bool) -> dict[str, Any]:
    """What the node says of its cell, in the words that discovery reads."""
    functions = [one.decode(errors="replace").lower() for one in said.get("activations", ())]
    usual = _USUAL[op] * directions
    hint: dict[str, Any] = {"class": f"an ONNX {op} node", "batch_first": bool(said.get("layout", 0))}
    if op == "RNN":
        told = set(functions or usual)
        hint["nonlinearity"] = told.pop() if len(told) == 1 else ""
        if hint["nonlinearity"] not in ("tanh", "relu"):
            hint["doubt"] = f"its activations are {shown(str(functions))}, and gatescope's RNNs are tanh or relu"
    elif functions and functions != usual:
        hint["doubt"] = f"its activations are {shown(str(functions))} where torch's {op} has {usual}"
    if op == "GRU":
        hint["reset_after"] = bool(said.get("linear_before_reset", 0))
    if said.get("input_forget"):
        hint["doubt"] = "its input and forget gates are coupled"
    if peephole:
        hint["doubt"] = "its gates look at the cell state through peepholes, for which gatescope has no cell"
    if said.get("clip"):
        hint["clip"] = float(said["clip"])
    return hint


def _read(tensor: Any, name: str, path: Path, onnx: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        values = np.array(onnx.numpy_helper.to_array(tensor))
        values = values.astype(np.float32) if values.dtype.name == "bfloat16" else values
        return values.reshape(shape)
    except (ValueError, TypeError) as error:
        raise damaged(path, f"{shown(name)} does not hold what its shape says") from error
