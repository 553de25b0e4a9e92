"""What the names in a pickle would do if it were opened elsewhere: harmless, unknown, or running a program.

gatescope's own safety never rests on these lists, for it imports and calls nothing. They say what to tell the reader.
"""

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from .nodes import Call, Global, arguments, target
from .pickles import Pickle
from .refusals import shown

MOST_NOTES = 50
"""Of one kind, about one file."""


class Kind(Enum):
    """What importing and calling a name would mean elsewhere."""

    HARMLESS = "harmless"
    UNKNOWN = "unknown"
    DANGEROUS = "dangerous"


def kind_of(name: Global) -> Kind:
    """By the lists below; but for the harmless, a dangerous module makes each of its names dangerous."""
    whole = str(name)
    if whole in _HARMLESS:
        return Kind.HARMLESS
    if re.match(r"[a-z_]\w*\.", name.name):  # a module that another has imported, and what is in it
        return Kind.DANGEROUS
    root = whole.partition(".")[0]
    if root in _DANGEROUS_ROOTS or any(_within(whole, module) for module in _DANGEROUS_MODULES):
        return Kind.DANGEROUS
    if name.module in ("builtins", "__builtin__"):
        return Kind.HARMLESS if name.name in _HARMLESS_BUILTINS else Kind.DANGEROUS
    if whole in _DANGEROUS:
        return Kind.DANGEROUS
    of_torchscript = _within(name.module, "__torch__")
    if of_torchscript or (_is_a_class(name) and any(_within(name.module, module) for module in _HARMLESS_MODULES)):
        return Kind.HARMLESS
    if name.module in ("torch", "torch.cuda") and (name.name.endswith("Storage") or name.name in _TORCH):
        return Kind.HARMLESS
    return Kind.UNKNOWN


def notes(pickles: Iterable[Pickle]) -> tuple[str, ...]:
    """One for each class that a program of the file's would build, and we did not; of very many, the first."""
    names = [name for name in _named(pickles) if kind_of(name) is Kind.UNKNOWN]
    more = [f"not built: {len(names) - MOST_NOTES} more"] if len(names) > MOST_NOTES else []
    return (*(f"not built: {shown(str(name))}" for name in names[:MOST_NOTES]), *more)


def dangers(pickles: Iterable[Pickle]) -> tuple[str, ...]:
    """What opening the file elsewhere would run: dangerous names, and calls of what another call returned."""
    return tuple(dict.fromkeys(danger for pickle in pickles for danger in _dangers(pickle)))[:MOST_NOTES]


def _is_a_class(name: Global) -> bool:
    return re.fullmatch(r"_?[A-Z]\w*", name.name) is not None


def _named(pickles: Iterable[Pickle]) -> dict[Global, None]:
    return dict.fromkeys(name for pickle in pickles for name in pickle.globals)


def _dangers(pickle: Pickle) -> Iterator[str]:
    harmless = all(_is_a_plain_look_up(call) for call in pickle.calls if target(call) in _LOOK_UP)
    for name in pickle.globals:
        if kind_of(name) is Kind.DANGEROUS and not (harmless and str(name) in _LOOK_UP):
            yield shown(str(name))
    for call in pickle.calls:
        if isinstance(call.target, Call):
            yield f"a call of what {shown(target(call.target) or 'another call')} returns"


def _is_a_plain_look_up(call: Call) -> bool:
    """`getattr(Colour, "RED")`: how Python 3.11 pickles the member of an enumeration, or a bound method."""
    args = arguments(call)
    if len(args) != 2 or not isinstance(args[1], str) or args[1].startswith("_"):
        return False
    owner: Any = args[0]
    return not isinstance(owner, Global) or kind_of(owner) is not Kind.DANGEROUS


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def _words(text: str) -> set[str]:
    return set(text.split())


_LOOK_UP = {"builtins.getattr", "__builtin__.getattr"}

_DANGEROUS_ROOTS = _words(
    "os posix nt posixpath ntpath subprocess sys pty socket shutil ctypes importlib runpy code codeop pdb bdb profile "
    "cProfile pstats timeit trace doctest unittest pydoc webbrowser tempfile multiprocessing threading _thread "
    "asyncio signal commands popen2 imp imaplib smtplib ftplib poplib telnetlib urllib urllib2 http httplib xmlrpc "
    "requests aiohttp httpx paramiko pickle _pickle cPickle dill cloudpickle joblib shelve marshal types inspect gc "
    "pkgutil zipimport zipapp ensurepip venv pip setuptools distutils _posixsubprocess fcntl mmap resource "
    "idlelib lib2to3 site sitecustomize cgi wsgiref sqlite3 turtle tkinter IPython ipykernel"
)
_DANGEROUS_MODULES = {
    "torch.hub",
    "torch.jit",
    "torch.package",
    "torch.serialization.load",
    "torch.load",
    "torch.utils.cpp_extension",
    "torch.utils.model_zoo",
    "torch.utils.bottleneck",
    "torch.utils.collect_env",
    "torch.distributed.run",
    "torch.distributed.launch",
    "torch.distributed.rpc",
    "torch._dynamo",
    "torch._inductor",
    "torch.fx.experimental",
    "torch.testing",
    "torch.ops",
    "torch.classes",
    "numpy.f2py",
    "numpy.testing",
    "numpy.distutils",
    "numpy.ctypeslib",
    "keras.models.load_model",
    "tensorflow",
}
_DANGEROUS = {
    "operator.attrgetter",
    "operator.methodcaller",
    "operator.itemgetter",
    "operator.call",
    "_operator.attrgetter",
    "_operator.methodcaller",
    "functools.reduce",
    "itertools.starmap",
    "io.open",
    "_io.open",
    "_io.FileIO",
    "io.FileIO",
    "codecs.open",
    "fileinput.input",
    "linecache.getline",
    "numpy.load",
    "numpy.save",
    "numpy.fromfile",
    "numpy.memmap",
    "numpy.lib.npyio.load",
    "pandas.read_pickle",
    "pandas.io.pickle.read_pickle",
    "pathlib.Path.write_text",
    "pathlib.Path.unlink",
    "torch.fx._symbolic_trace.wrap",
    "torch.fx.graph_module.reduce_graph_module",
    "torch.fx.graph_module._forward_from_src",
    "torch.fx.graph_module._exec_with_source",
}

_HARMLESS_BUILTINS = _words(
    "set frozenset dict list tuple int float complex bool str bytes bytearray slice range object type Ellipsis "
    "NotImplemented unicode long"
)
_HARMLESS_MODULES = {
    "torch.nn.modules",
    "torch.nn.parameter",
    "torch.nn.parallel",
    "torch.nn.utils.parametrize",
    "torch.nn.utils.parametrizations",
    "torch.nn.backends.thnn",
    "torch.optim",
    "torch.ao.nn.quantized",
    "torch.distributed.checkpoint.metadata",
    "torch.distributed.checkpoint.filesystem",
    "numpy.dtypes",
}
_HARMLESS = _words(
    "collections.OrderedDict collections.defaultdict collections.deque collections.Counter _codecs.encode "
    "argparse.Namespace copyreg._reconstructor copy_reg._reconstructor datetime.datetime datetime.date datetime.time "
    "datetime.timedelta datetime.timezone decimal.Decimal fractions.Fraction pathlib.Path pathlib.PosixPath "
    "pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib.WindowsPath pathlib._local.PosixPath "
    "uuid.UUID random.Random "
    "torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2 torch._utils._rebuild_tensor_v3 "
    "torch._utils._rebuild_parameter torch._utils._rebuild_parameter_with_state torch._utils._rebuild_qtensor "
    "torch._utils._rebuild_sparse_tensor torch._utils._rebuild_sparse_csr_tensor torch._utils._rebuild_nested_tensor "
    "torch._utils._rebuild_meta_tensor_no_storage torch._utils._rebuild_device_tensor_from_numpy "
    "torch._utils._rebuild_wrapper_subclass torch._utils._rebuild_xla_tensor torch._tensor._rebuild_from_type "
    "torch._tensor._rebuild_from_type_v2 torch.storage._load_from_bytes torch.storage.UntypedStorage "
    "torch.storage.TypedStorage torch.storage._TypedStorage torch.storage._UntypedStorage "
    "torch.serialization._get_layout types.SimpleNamespace torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING "
    "torch.torch_version.TorchVersion torch._C.Generator torch._C._nn.gelu torch.nn.functional.relu "
    "torch.nn.functional.gelu torch.distributed._shard.sharded_tensor.metadata.TensorProperties "
    "torch.jit._pickle.build_intlist torch.jit._pickle.build_tensorlist torch.jit._pickle.build_doublelist "
    "torch.jit._pickle.build_boollist torch.jit._pickle.build_tensor_from_id torch.jit._pickle.restore_type_tag "
    "numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar numpy.core.numeric._frombuffer "
    "numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar numpy._core.numeric._frombuffer numpy.ndarray "
    "numpy.dtype numpy.core.multiarray.ndarray numpy.random.__RandomState_ctor numpy.random._pickle.__randomstate_ctor "
    "numpy.random._pickle.__generator_ctor numpy.random._pickle.__bit_generator_ctor "
    "numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64"
)
_TORCH = _words(
    "Size Tensor device dtype Generator ScriptObject strided sparse_coo sparse_csr preserve_format contiguous_format "
    "channels_last "
    "float16 float32 float64 half float double bfloat16 uint8 int8 int16 int32 int64 uint16 uint32 uint64 bool "
    "complex32 complex64 complex128 cfloat cdouble short int long float8_e4m3fn float8_e5m2 float8_e4m3fnuz "
    "float8_e5m2fnuz qint8 quint8 qint32 per_tensor_affine per_channel_affine relu tanh sigmoid"
)
