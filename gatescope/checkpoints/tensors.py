"""torch's tensors as pickles describe them: a storage, an offset, sizes and strides, none of them built."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoint import StoredArray
from .nodes import Call, Global, Persistent, arguments, entry, target
from .numpy_arrays import numpy_array
from .refusals import damaged
from .storages import SIZES, Storage, contiguous, view

FindStorage = Callable[[Any], Storage | str | None]
"""What a persistent id or a call stands for: a storage, why it is not read, or None where it is no storage."""

STORAGE_CLASSES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
"""torch's storage classes, by the type of number that they hold."""

OTHER_SIZES = {"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1, "QUInt2x4Storage": 1}
"""Bytes of one number in the classes that are not read."""

_STRIDED = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
_WRAPPERS = {
    "torch._utils._rebuild_parameter": 0,
    "torch._utils._rebuild_parameter_with_state": 0,
    "torch.nn.parameter.Parameter": 0,
    "torch.nn.parameter.Buffer": 0,
    "torch.autograd.variable.Variable": 0,
    "torch._utils._rebuild_device_tensor_from_numpy": 0,
}
"""Calls whose first argument is the tensor itself."""
_FROM_TYPE = {"torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2"}
_NOT_READ = {
    "torch._utils._rebuild_qtensor": "a quantised tensor; save the network before it is quantised",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor; save it with .to_dense()",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor; save it with .to_dense()",
    "torch._utils._rebuild_nested_tensor": "a nested tensor; save it padded",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no numbers",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own; save its plain tensor",
    "torch._utils._rebuild_xla_tensor": "a tensor of an XLA device; save it with .cpu()",
    "torch.ScriptObject": "packed parameters of a quantised layer; save the network before it is quantised",
}


def array(node: Any, find: FindStorage, path: Path) -> StoredArray | str | None:
    """The array that a node stands for, why it is not read, or None where it stands for none."""
    if not isinstance(node, Call | Persistent):
        return None
    node = unwrapped(node)
    if isinstance(node, Persistent):
        return _whole(find(node), path)
    called, args = target(node), arguments(node)
    if not called:
        return None
    if called in _NOT_READ:
        return _NOT_READ[called]
    if called == "torch.storage._load_from_bytes":
        return _whole(find(node), path)
    if called in ("torch.storage.TypedStorage", "torch.storage._TypedStorage"):
        return _typed(node, find, path)
    if called not in _STRIDED:
        return numpy_array(node, path)
    if len(args) < 4:
        raise damaged(path, f"a tensor is made of {len(args)} arguments where at least 4 are wanted")
    storage = _of(args[0], find)
    if storage is None:
        raise damaged(path, "a tensor has no storage")
    if isinstance(storage, str):
        return storage
    if called.endswith("_v3"):
        storage = _typed_anew(storage, args[6] if len(args) > 6 else None)
        if isinstance(storage, str):
            return storage
    offset, shape, strides = args[1], _counts(args[2]), _counts(args[3])
    if not _is_count(offset) or shape is None or strides is None:
        raise damaged(path, "a tensor's offset, sizes or strides are no numbers")
    return view(storage, offset=offset, shape=shape, strides=strides, path=path)


def unwrapped(node: Any) -> Any:
    """The tensor inside a parameter; the node itself where it is none."""
    for _ in range(8):
        called, args = target(node), arguments(node)
        if called in _WRAPPERS and args:
            node = args[_WRAPPERS[called]]
        elif called in _FROM_TYPE and len(args) == 4 and isinstance(args[2], tuple) and isinstance(args[0], Global):
            node = Call(args[0], args[2])
        else:
            break
    return node


def storage_type(named: Any) -> tuple[str, int] | None:
    """What a storage class holds, as ("float32", 4); the type is empty where it is not read; None for other classes."""
    if not isinstance(named, Global) or named.module not in ("torch", "torch.cuda", "torch.storage"):
        return None
    dtype = STORAGE_CLASSES.get(named.name)
    if dtype is not None:
        return dtype, SIZES[dtype]
    return ("", OTHER_SIZES[named.name]) if named.name in OTHER_SIZES else None


def storage_id(node: Any) -> tuple[Any, ...] | None:
    """The parts of a persistent id that names a storage: ("storage", class, key, device, count), and perhaps a view."""
    named = node.id if isinstance(node, Persistent) else None
    if not isinstance(named, tuple) or len(named) < 5 or named[0] != "storage" or not isinstance(named[2], str):
        return None
    return named


def _of(node: Any, find: FindStorage) -> Storage | str | None:
    if target(node) in ("torch.storage.TypedStorage", "torch.storage._TypedStorage"):
        kwargs = node.kwargs
        untyped = find(entry(kwargs, "wrap_storage"))
        return untyped if untyped is None or isinstance(untyped, str) else _typed_anew(untyped, entry(kwargs, "dtype"))
    return find(node)


def _typed(node: Any, find: FindStorage, path: Path) -> StoredArray | str | None:
    return _whole(_of(node, find), path)


def _whole(storage: Storage | str | None, path: Path) -> StoredArray | str | None:
    """A storage that is saved for itself: all of its numbers, in a row."""
    if storage is None or isinstance(storage, str):
        return storage
    shape = (storage.count,)
    return view(storage, offset=0, shape=shape, strides=contiguous(shape), path=path)


def _typed_anew(storage: Storage, dtype: Any) -> Storage | str:
    """Untyped bytes as numbers of a type that the tensor names."""
    name = dtype.name if isinstance(dtype, Global) and dtype.module == "torch" else "?"
    if name not in SIZES:
        return f"a tensor of type {name[:20]}, which numpy does not have; save it as float32"
    count = storage.count * SIZES[storage.dtype] // SIZES[name]
    return Storage(name, count, storage.read, storage.big_endian)


def _counts(node: Any) -> tuple[int, ...] | None:
    if target(node) == "torch.Size" and arguments(node):
        node = arguments(node)[0]
    if not isinstance(node, tuple | list) or not all(_is_count(n) for n in node):
        return None
    return tuple(node)


def _is_count(node: Any) -> bool:
    return isinstance(node, int) and not isinstance(node, bool)
