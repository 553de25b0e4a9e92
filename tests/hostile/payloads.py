"""Files made to run a program when they are opened: each would leave a file named `sentinel` behind."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checkpoints.written import Made, Named, Outside, Raw, pickled, storage, tensor, torch_legacy, torch_zip
from gatescope.checkpoints.checkpoint import Checkpoint
from gatescope.checkpoints.pickled_arrays import read_pickled_arrays
from gatescope.checkpoints.torch_distributed import read_torch_distributed
from gatescope.checkpoints.torch_exported import read_torch_exported
from gatescope.checkpoints.torch_legacy import read_torch_legacy
from gatescope.checkpoints.torch_zip import read_torch_zip

Reader = Callable[[Path], Checkpoint]
Payload = Callable[[Path, Path], tuple[Path, Reader]]
"""Given a folder and the sentinel, the file and the reader that would take it."""

NUMBERS = {"0": struct.pack("<4f", 1, 2, 3, 4)}


def _touch(sentinel: Path) -> str:
    return f"touch {sentinel}"


def _python(sentinel: Path) -> str:
    return f"open({str(sentinel)!r}, 'w').close()"


def _calls(sentinel: Path) -> dict[str, Any]:
    """One call each, as a value that any of the formats can hold."""
    touch, python = _touch(sentinel), _python(sentinel)
    module = Made(Named("importlib", "import_module"), ("os",))
    system = Made(Named("builtins", "getattr"), (module, "system"))
    return {
        "os.system": Made(Named("os", "system"), (touch,)),
        "posix.system": Made(Named("posix", "system"), (touch,)),
        "subprocess.Popen": Made(Named("subprocess", "Popen"), (["touch", str(sentinel)],)),
        "builtins.eval": Made(Named("builtins", "eval"), (python,)),
        "builtins.exec": Made(Named("builtins", "exec"), (python,)),
        "__builtin__.eval": Made(Named("__builtin__", "eval"), (python,)),
        "builtins.open": Made(Named("builtins", "open"), (str(sentinel), "w")),
        "importlib.import_module": Made(system, (touch,)),
        "runpy.run_path": Made(Named("runpy", "run_path"), (str(sentinel),)),
        "pty.spawn": Made(Named("pty", "spawn"), (["touch", str(sentinel)],)),
        "shutil.rmtree": Made(Named("shutil", "rmtree"), (str(sentinel.parent / "precious"),)),
        "socket.create_connection": Made(Named("socket", "create_connection"), (("127.0.0.1", 9),)),
        "ctypes.CDLL": Made(Named("ctypes", "CDLL"), ("libc.so.6",)),
        "torch.hub.load": Made(Named("torch.hub", "load"), ("someone/something", "model")),
        "numpy.load": Made(Named("numpy", "load"), (str(sentinel), None, True)),
        "operator.methodcaller": Made(Made(Named("operator", "methodcaller"), ("system", touch)), (module,)),
        "webbrowser.open": Made(Named("webbrowser", "open"), ("http://127.0.0.1:9/",)),
    }


def _stored(name: str) -> dict[str, Payload]:
    """One dangerous call in each of four formats."""

    def in_zip(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
        what = {"a": tensor(), "b": _calls(sentinel)[name]}
        return torch_zip(folder / "a.pt", what, NUMBERS), read_torch_zip

    def in_legacy(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
        what = {"a": tensor(), "b": _calls(sentinel)[name]}
        return torch_legacy(folder / "a.pt", what, NUMBERS), read_torch_legacy

    def in_plain(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
        (folder / "a.pkl").write_bytes(pickled([_calls(sentinel)[name]]))
        return folder / "a.pkl", read_pickled_arrays

    return {f"{name} in a torch zip": in_zip, f"{name} in torch legacy": in_legacy, f"{name} in a pickle": in_plain}


def _inst(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    (folder / "a.pkl").write_bytes(f"(S'{_touch(sentinel)}'\nios\nsystem\n.".encode())
    return folder / "a.pkl", read_pickled_arrays


def _obj(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    (folder / "a.pkl").write_bytes(f"(cos\nsystem\nS'{_touch(sentinel)}'\no.".encode())
    return folder / "a.pkl", read_pickled_arrays


def _stack_global(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    code = Raw(b"\x8c\x08builtins\x8c\x0dexec.__call__\x93" + pickled((_python(sentinel),))[2:-1] + b"R")
    return torch_zip(folder / "a.pt", {"a": code}, {}), read_torch_zip


def _state_of_a_class(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    """A state that would replace the attribute of a harmless class by a dangerous function, to be called later."""
    what = Made(Named("argparse", "Namespace"), (), {"__reduce__": Named("os", "system"), "x": _touch(sentinel)})
    return torch_zip(folder / "a.pt", what, {}), read_torch_zip


def _partial(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    partial = Made(Named("functools", "partial"), (Named("os", "system"), _touch(sentinel)))
    return torch_zip(folder / "a.pt", Made(partial, ()), {}), read_torch_zip


def _nested_storage(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    inner = torch_legacy(folder / "inner", _calls(sentinel)["os.system"], {}).read_bytes()
    what = {"a": tensor(storage=Made(Named("torch.storage", "_load_from_bytes"), (inner,)))}
    (folder / "a.pkl").write_bytes(pickled(what))
    return folder / "a.pkl", read_pickled_arrays


def _beside_a_nested_storage(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    """The file within the file holds a sound storage, and the call among the facts of the machine."""
    inner = torch_legacy(folder / "inner", storage("0", 4), NUMBERS).read_bytes()
    inner = inner.replace(pickled({"little_endian": True}), pickled(_calls(sentinel)["os.system"]))
    what = {"a": tensor(storage=Made(Named("torch.storage", "_load_from_bytes"), (inner,)))}
    (folder / "a.pkl").write_bytes(pickled(what))
    return folder / "a.pkl", read_pickled_arrays


def _in_the_first_pickle(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    call = _calls(sentinel)["os.system"]
    (folder / "a.pt").write_bytes(pickled(call) + torch_legacy(folder / "b", {}, {}).read_bytes())
    return folder / "a.pt", read_torch_legacy


def _in_the_facts_of_the_machine(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    data = torch_legacy(folder / "b", {}, {}).read_bytes()
    facts = pickled({"little_endian": True})
    (folder / "a.pt").write_bytes(data.replace(facts, pickled(_calls(sentinel)["os.system"])))
    return folder / "a.pt", read_torch_legacy


def _in_a_second_pickle(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    (folder / "a.pkl").write_bytes(pickled({}) + pickled(_calls(sentinel)["os.system"]))
    return folder / "a.pkl", read_pickled_arrays


def _as_a_persistent_id(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    hostile = Outside(("storage", Named("os", "system"), _touch(sentinel), "cpu", 4))
    return torch_zip(folder / "a.pt", {"a": hostile}, NUMBERS), read_torch_zip


def _as_a_module_with_source(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    kind = Outside(("module", Named("os", "system"), "a.py", _python(sentinel)))
    return torch_legacy(folder / "a.pt", Made(kind, (_touch(sentinel),)), {}), read_torch_legacy


def _object_array(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    dtype = Made(Named("numpy", "dtype"), ("O8", False, True), (3, "|", None, None, None, -1, -1, 63))
    made = Made(Named("numpy.core.multiarray", "_reconstruct"), (Named("numpy", "ndarray"), (0,), b"b"))
    state = (1, (1,), dtype, False, [_calls(sentinel)["os.system"]])
    (folder / "a.pkl").write_bytes(pickled(Made(made.target, made.args, state)))
    return folder / "a.pkl", read_pickled_arrays


def _torchscript(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    module = Made(Named("__torch__.mine", "Net"), (), {"w": tensor(), "x": _calls(sentinel)["os.system"]})
    code = _python(sentinel).encode()
    extra = {"constants.pkl": pickled(()), "code/__torch__/mine.py": code, "code/__torch__/mine.py.debug_pkl": code}
    return torch_zip(folder / "a.pt", module, NUMBERS, **extra), read_torch_zip


def _torchscript_constants(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    constants = pickled((_calls(sentinel)["os.system"],))
    return torch_zip(folder / "a.pt", {}, {}, **{"constants.pkl": constants}), read_torch_zip


def _distributed(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    path = folder / "checkpoint"
    path.mkdir()
    state = {"state_dict_metadata": {}, "storage_data": {}, "planner_data": _calls(sentinel)["os.system"]}
    made = Made(Named("torch.distributed.checkpoint.metadata", "Metadata"), (), state)
    (path / ".metadata").write_bytes(pickled(made))
    return path, read_torch_distributed


def _exported(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    about = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}
    with zipfile.ZipFile(folder / "a.pt2", "w") as archive:
        archive.writestr("a/archive_format", "pt2")
        archive.writestr("a/data/weights/model_weights_config.json", json.dumps({"config": {"w": about}}))
        archive.writestr("a/data/weights/weight_0", pickled(_calls(sentinel)["os.system"]))
    return folder / "a.pt2", read_torch_exported


def _two_members(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    """The first is innocent; a loader that takes the last runs the other."""
    path = torch_zip(folder / "a.pt", {}, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist[0].filename = "kept apart from zipfile's warning"
        archive.NameToInfo.clear()
        archive.writestr("archive/data.pkl", pickled(_calls(sentinel)["os.system"]))
        archive.filelist[0].filename = "archive/data.pkl"
    return path, read_torch_zip


def _wrong_checksum(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    path = torch_zip(folder / "a.pt", {"a": _calls(sentinel)["os.system"]}, {})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"touch", b"toucj", 1))
    return path, read_torch_zip


def _two_headers(folder: Path, sentinel: Path) -> tuple[Path, Reader]:
    """The header before the member names another file than the directory does."""
    path = torch_zip(folder / "a.pt", {"a": _calls(sentinel)["os.system"]}, {})
    path.write_bytes(path.read_bytes().replace(b"archive/data.pkl", b"archive/safe.pkl", 1))
    return path, read_torch_zip


PAYLOADS: dict[str, Payload] = {
    "the INST opcode": _inst,
    "the OBJ opcode": _obj,
    "a dotted name": _stack_global,
    "a state": _state_of_a_class,
    "a partial": _partial,
    "a file within the file": _nested_storage,
    "beside a storage within the file": _beside_a_nested_storage,
    "the first of five pickles": _in_the_first_pickle,
    "the facts of the machine": _in_the_facts_of_the_machine,
    "a second pickle": _in_a_second_pickle,
    "a persistent id": _as_a_persistent_id,
    "a module with its source": _as_a_module_with_source,
    "an array of objects": _object_array,
    "TorchScript": _torchscript,
    "the constants of TorchScript": _torchscript_constants,
    "distributed metadata": _distributed,
    "an exported weight": _exported,
    "duplicate members": _two_members,
    "a wrong checksum": _wrong_checksum,
    "two headers": _two_headers,
    **{title: payload for name in _calls(Path("x")) for title, payload in _stored(name).items()},
}
REFUSED = {
    "a file within the file",
    "a persistent id",
    "a wrong checksum",
    "beside a storage within the file",
    "duplicate members",
    "the first of five pickles",
    "two headers",
}
"""Those that are no sound file at all."""
HARMLESS_FOR_ANYONE = {"an exported weight"}
"""Those whose program only a loader would run that follows `use_pickle`."""
