"""What a name would do elsewhere: said rather too often than not at all, but never of what torch writes."""

import inspect
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from checkpoints.written import Made, Named, pickled
from gatescope.checkpoints.globals import MOST_NOTES, Kind, dangers, kind_of, notes
from gatescope.checkpoints.nodes import Global
from gatescope.checkpoints.pickles import interpret

HERE = Path("a.pkl")
DANGEROUS = """
os.system posix.system nt.system subprocess.Popen builtins.eval __builtin__.exec builtins.compile
builtins.open builtins.__import__ builtins.globals importlib.import_module runpy.run_module pty.spawn
socket.socket shutil.rmtree ctypes.CDLL torch.hub.load torch.load torch.jit.load numpy.load pickle.loads
_pickle.loads dill._dill.loads cloudpickle.loads marshal.loads sys.exit code.InteractiveInterpreter
types.FunctionType types.CodeType functools.reduce operator.attrgetter pandas.read_pickle joblib.load
asyncio.create_subprocess_shell torch.utils.cpp_extension.load numpy.f2py.crackfortran.myeval
numpy.testing._private.utils.runstring multiprocessing.Process webbrowser.open io.open _io.FileIO os.path.join
"""


@pytest.mark.parametrize("name", DANGEROUS.split())
def test_what_runs_programs_is_called_dangerous(name: str) -> None:
    module, _, last = name.rpartition(".")
    assert kind_of(Global(module, last)) is Kind.DANGEROUS


def test_every_module_and_optimiser_of_torch_is_harmless() -> None:
    for package in (nn, torch.optim):
        for _, kind in inspect.getmembers(package, inspect.isclass):
            if kind.__module__.startswith(package.__name__ + "."):
                assert kind_of(Global(kind.__module__, kind.__qualname__)) is Kind.HARMLESS, kind


@pytest.mark.parametrize(
    ("module", "name"),
    [("torch.nn.modules.module", "torch.hub.load"), ("mine", "os.system"), ("torch.optim.adam", "_x.y"), ("os", "a.b")],
)
def test_a_name_that_reaches_through_a_module_into_another_is_dangerous(module: str, name: str) -> None:
    assert kind_of(Global(module, name)) is Kind.DANGEROUS


def test_a_class_within_a_class_is_unknown() -> None:
    assert kind_of(Global("mine", "Net.Config")) is Kind.UNKNOWN


@pytest.mark.parametrize("name", ["mypkg.Config", "os_of_mine.System", "builtinsx.eval", "torchtext.vocab.Vocab"])
def test_what_is_of_others_is_unknown(name: str) -> None:
    module, _, last = name.rpartition(".")
    assert kind_of(Global(module, last)) is Kind.UNKNOWN


def test_a_member_of_an_enumeration_is_looked_up_without_alarm_and_a_function_is_not() -> None:
    look_up = Named("builtins", "getattr")
    harmless = interpret(pickled(Made(look_up, (Named("mine", "Colour"), "RED"))), HERE)
    assert dangers([harmless]) == ()
    for args in ((Named("os", "x"), "system"), (Named("mine", "Colour"), "__init__"), (Named("mine", "Colour"),)):
        assert "builtins.getattr" in dangers([interpret(pickled(Made(look_up, args)), HERE)])


def test_calling_what_a_call_returned_is_dangerous() -> None:
    found = interpret(pickled(Made(Made(Named("mine", "maker"), ()), ())), HERE)
    assert dangers([found]) == ("a call of what mine.maker returns",)


def test_of_very_many_unknown_names_the_first_are_said() -> None:
    found = interpret(pickled([Named("mine", f"N{random.random()}") for _ in range(200)]), HERE)
    assert len(notes([found])) == MOST_NOTES + 1
    assert notes([found])[-1] == "not built: 150 more"
