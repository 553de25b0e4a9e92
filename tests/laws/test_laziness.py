"""Asking gatescope for help, or importing it, costs nothing: what is heavy is loaded when it is used."""

import ast
import importlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import gatescope

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "numpy", "pandas", "matplotlib", "seaborn", "xarray", "jinja2", "safetensors", "jaxtyping", "scipy"}
HELP = "import sys; sys.argv = ['gatescope', '--help']; from gatescope.cli import main; main()"

PUBLIC = {
    "Recorder": "gatescope.recording.recorder",
    "RecordingLSTMCell": "gatescope.recording.modules",
    "RecordingGRUCell": "gatescope.recording.modules",
    "RecordingRNNCell": "gatescope.recording.modules",
    "RecordingLSTM": "gatescope.recording.modules",
    "RecordingGRU": "gatescope.recording.modules",
    "RecordingRNN": "gatescope.recording.modules",
    "RecurrentLayer": "gatescope.layers",
    "Trace": "gatescope.trace",
    "Adjoint": "gatescope.trace",
    "Cell": "gatescope.cells",
    "CELLS": "gatescope.cells",
    "read": "gatescope.checkpoints.reading",
    "Checkpoint": "gatescope.checkpoints.checkpoint",
    "analyze": "gatescope.analysis.analyze",
    "load": "gatescope.analysis.archive",
    "Analysis": "gatescope.analysis.analysis",
    "Excerpt": "gatescope.analysis.excerpt",
    "Verdict": "gatescope.verdicts",
    "Level": "gatescope.verdicts",
    "GatescopeError": "gatescope.errors",
}
"""The public names, written out: to change this list is a decision."""


def test_importing_gatescope_loads_nothing_else_of_gatescope_and_nothing_heavy() -> None:
    loaded = _modules_after("import gatescope")
    assert {name for name in loaded if name.split(".")[0] == "gatescope"} == {"gatescope"}
    assert not loaded & HEAVY


def test_the_help_page_loads_nothing_heavy() -> None:
    loaded = _modules_after(f"try:\n    exec({HELP!r})\nexcept SystemExit: pass")
    assert "gatescope.cli" in loaded
    assert not loaded & HEAVY


def test_importing_gatescope_opens_no_socket_and_no_file_but_its_own() -> None:
    watch = (
        "import sys, importlib; seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append((event, args[0])) if event == 'open' else\n"
        "                 seen.append((event, '')) if event.startswith('socket.') else None)\n"
        "import gatescope\n"
        "print(*(f'{event} {name}' for event, name in list(seen)), sep='\\n')"
    )
    seen = _python(watch).splitlines()
    assert seen
    assert all(line.startswith(f"open {ROOT / 'gatescope'}") for line in seen), seen


def test_the_public_names_are_these_and_live_there() -> None:
    assert gatescope.__all__ == list(PUBLIC)
    assert _homes_in_the_stub() == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_what_its_home_holds(name: str) -> None:
    assert getattr(gatescope, name) is getattr(importlib.import_module(PUBLIC[name]), name)


def test_the_public_names_can_be_listed_before_they_are_loaded() -> None:
    assert set(PUBLIC) <= set(_python("import gatescope; print(*dir(gatescope))").split())


def test_a_name_that_is_not_there_is_an_attribute_error_that_lists_what_is() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Recoder'.*Recorder"):
        gatescope.__getattr__("Recoder")


def test_importing_gatescope_takes_less_than_a_tenth_of_a_second() -> None:
    clock = "import time; start = time.process_time(); import gatescope; print(time.process_time() - start)"
    assert min(float(_python(clock)) for _ in range(5)) < 0.1


def test_the_help_page_takes_less_than_three_tenths_of_a_second() -> None:
    """Processor time, the best of five, so that a busy neighbour does not decide; idle, it is the time on the clock."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _python(HELP)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.3


def _modules_after(code: str) -> set[str]:
    return set(_python(f"{code}\nimport sys; print('\\n\\n', *sys.modules)").split("\n\n")[-1].split())


def _python(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _homes_in_the_stub() -> dict[str, str | None]:
    tree = ast.parse((ROOT / "gatescope" / "__init__.pyi").read_text(encoding="utf-8"))
    found = {name.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    return {name: found[name] for name in sorted(found, key=lambda name: list(PUBLIC).index(name))}
