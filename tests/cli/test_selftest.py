"""`gatescope selftest`: a line a check on stdout, or one JSON object, and an exit code that says whether all passed."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from gatescope import __version__
from gatescope import selftest as room
from gatescope.cli.selftest import selftest
from gatescope.selftest import CHECKS, Check, Place

ROOT = Path(__file__).parents[2]


def right(place: Place) -> Check:
    return Check("a half is a half", 0.5, 0.5, 1e-10, passed=True)


def wrong(place: Place) -> Check:
    return Check("nothing is nothing", 0.0, math.nan, 1e-10, passed=False)


def impossible(place: Place) -> Check:
    raise RuntimeError("this kernel\x1b[31m is missing\nand more")


def test_every_check_passes_here_and_has_a_line_with_the_numbers() -> None:
    ran = _run()
    assert ran.exit_code == 0
    assert ran.stderr == ""
    versions, machine, *lines = ran.stdout.splitlines()
    assert versions.startswith(f"gatescope {__version__}, torch {torch.__version__}, numpy {np.__version__}, python 3.")
    assert "on cpu (" in machine
    assert machine.endswith("in float64")
    assert sum(line.startswith("ok ") for line in lines) == len(CHECKS)
    assert lines[1].split() == ["expected", "seen", "tolerance"]
    assert lines[-1].startswith(f"{len(CHECKS)} of {len(CHECKS)} checks passed, in ")


def test_the_numbers_stand_below_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHECKS", (right, wrong))
    heading, first, second = _run().stdout.splitlines()[3:6]
    ends = [heading.index(word) + len(word) for word in ("expected", "seen", "tolerance")]
    assert [first[:end].split()[-1] for end in ends] == ["0.5", "0.5", "1e-10"]
    assert [second[:end].split()[-1] for end in ends] == ["0", "nan", "1e-10"]
    assert first.startswith("ok ")
    assert second.startswith("FAIL ")
    assert first.endswith("   a half is a half")


def test_a_check_that_fails_is_an_exit_code_and_a_sentence_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "CHECKS", (right, wrong, impossible))
    ran = _run()
    assert ran.exit_code == 1
    assert ran.stderr.startswith("gatescope: 2 of 3 checks failed; do not believe gatescope's numbers on this device")
    assert ran.stderr.count("\n") == 1
    assert "1 of 3 checks passed" in ran.stdout
    assert r"impossible (RuntimeError: this kernel\x1b[31m is missing)" in ran.stdout


def test_json_stands_alone_on_stdout_and_has_every_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHECKS", (right,))
    ran = _run("--json")
    assert ran.exit_code == 0
    assert ran.stderr == ""
    report = json.loads(ran.stdout)
    assert list(report) == [
        *("schema", "gatescope", "torch", "numpy", "python", "platform", "device", "device_name", "dtype"),
        *("passed", "checks"),
    ]
    assert report["schema"] == "gatescope.selftest/1"
    assert (report["device"], report["dtype"], report["passed"]) == ("cpu", "float64", True)
    assert report["checks"] == [
        {"name": "a half is a half", "expected": 0.5, "seen": 0.5, "tolerance": 1e-10, "passed": True, "problem": ""}
    ]


def test_json_has_null_for_what_is_no_number_and_fails_with_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHECKS", (wrong, right))
    ran = _run("--json")
    assert ran.exit_code == 1
    report = json.loads(ran.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert report["passed"] is False
    assert [check["seen"] for check in report["checks"]] == [None, 0.5]
    assert ran.stderr.startswith("gatescope: 1 of 2 checks failed; ")


def test_a_device_without_float64_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHECKS", (right,))
    monkeypatch.setattr(room, "place_on", lambda name: Place(torch.device(name), torch.float32))
    assert "This device has no float64, so all is in float32, with wider tolerances." in _run().stdout
    assert json.loads(_run("--json").stdout)["dtype"] == "float32"


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_a_usage_error_of_one_line(device: str) -> None:
    program = "from gatescope.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "selftest", "--device", device],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"gatescope: no device {device!r} can be used here; choose cpu")
    assert ran.stderr.endswith("; see `gatescope selftest --help`\n")
    assert ran.stderr.count("\n") == 1
    assert ran.stdout == ""


def test_no_color_means_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHECKS", (right, wrong))
    plain = {name: None for name in os.environ if name in {"FORCE_COLOR", "NO_COLOR"}}
    assert "\x1b[32mok" in _run(env={**plain, "FORCE_COLOR": "1", "TERM": "xterm"}).stdout
    assert "\x1b[32m" not in _run(env={**plain, "FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": "1"}).stdout
    assert "\x1b" not in _run(env=plain).stdout


@pytest.mark.cuda
def test_it_passes_on_a_cuda_device() -> None:
    ran = _run("--device", "cuda", "--json")
    assert ran.exit_code == 0, ran.stdout
    report = json.loads(ran.stdout)
    assert report["device_name"] == torch.cuda.get_device_name()


def _run(*args: str, env: dict[str, str | None] | None = None) -> Result:
    ran = CliRunner().invoke(selftest, args, env=env)
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran
