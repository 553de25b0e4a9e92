"""A function of one's own: called because it was named, and what goes wrong in it is said as its own."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.data.reading import data
from gatescope.errors import InputError

MODULE = """
import numpy as np, torch
def x(): return np.ones((2, 3, 4))
def with_lengths(): return torch.ones(2, 3, 4, requires_grad=True), torch.tensor([3, 1])
def half(): return torch.ones(1, 3, 2, dtype=torch.bfloat16)
def plain(): return [[1.0, 2.0], [3.0, 4.0]]
def fails(): raise KeyError("the disk")
def leaves(): raise SystemExit(3)
def takes(path): return path
def objects(): return [{}, None]
def ragged(): return [[1.0], [1.0, 2.0]]
def long(): return np.ones((3, 4)), [3]
def too_long(): return np.ones((2, 3, 4)), [3, 4]
number = 3
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours_to_test.py").write_text(MODULE)
    (tmp_path / "fails_to_test.py").write_text("import os\n1 / 0\n")
    (tmp_path / "wrong_to_test.py").write_text("def x(:\n")
    for name in ("ours_to_test", "fails_to_test", "wrong_to_test"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("name", "shape"), [("x", (2, 3, 4)), ("with_lengths", (2, 3, 4)), ("half", (1, 3, 2)), ("plain", (1, 2, 2))]
)
def test_arrays_tensors_and_lists_are_numbers(name: str, shape: tuple[int, ...]) -> None:
    path = list(sys.path)
    found = data(f"ours_to_test:{name}")
    assert found.x.shape == shape
    assert found.what.startswith(f"ours_to_test:{name}: ")
    assert sys.path == path


def test_lengths_come_along() -> None:
    found = data("ours_to_test:with_lengths")
    assert found.lengths is not None
    assert found.lengths.tolist() == [3, 1]
    assert "; lengths from 1 to 3 steps; sha256 " in found.what


def test_the_hash_is_of_the_numbers() -> None:
    assert data("ours_to_test:x").what == data("ours_to_test:x").what
    assert data("ours_to_test:x").what.split()[-1] != data("ours_to_test:half").what.split()[-1]


@pytest.mark.parametrize(
    ("spec", "saw"),
    [
        (
            "ours_to_test:fails",
            r"could not be called \(KeyError: 'the disk' at ours_to_test.py:7\); the error is in that",
        ),
        ("ours_to_test:leaves", r"could not be called \(SystemExit: 3 at ours_to_test.py:8\)"),
        ("ours_to_test:takes", r"could not be called \(TypeError: takes\(\) missing 1 required"),
        ("ours_to_test:ragged", r"returned what makes no array \(ValueError: .*inhomogeneous"),
        ("ours_to_test:objects", "returned list of object, where real numbers are wanted"),
        (
            "ours_to_test:too_long",
            r"has 4 as the length of sequence 1 \(the first is 0\); give a whole number from 1 to 3",
        ),
        ("ours_to_test:long", r"is one sequence and comes with lengths; give x as \[sequence, time, feature\]"),
        ("ours_to_test:none", "the module ours_to_test has no none; name a function of it"),
        ("ours_to_test:number", "has no function, but a value number"),
        ("fails_to_test:x", r"could not be imported \(ZeroDivisionError: division by zero at fails_to_test.py:2\)"),
        ("wrong_to_test:x", r"could not be imported \(SyntaxError: invalid syntax"),
        ("no_such_module_to_test:x", r"could not be imported \(ModuleNotFoundError: No module named"),
    ],
)
def test_what_goes_wrong_in_it_is_said_as_its_own_in_one_line(spec: str, saw: str) -> None:
    with pytest.raises(InputError, match=saw) as caught:
        data(spec)
    assert "\n" not in str(caught.value)


def test_someone_who_interrupts_it_is_heard(tmp_path: Path) -> None:
    (tmp_path / "slow_to_test.py").write_text("def x(): raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        data("slow_to_test:x")


def test_a_module_is_imported_for_no_other_spec(tmp_path: Path) -> None:
    (tmp_path / "trap.py").write_text("open('sprung', 'w').close()")
    np.save(tmp_path / "trap:x", np.ones(3))
    (tmp_path / "trap:x.npy").rename(tmp_path / "trap:x")
    assert data("trap:x").x.tolist() == [[[1], [1], [1]]]
    (tmp_path / "trap:x").write_text("no array")
    for spec in ("trap:x", "trap:", "trap", "trap.npy:x", "./trap:x.y", "synthetic:trap"):
        with pytest.raises(InputError):
            data(spec)
    assert not (tmp_path / "sprung").exists()


def test_a_tensor_on_no_tape_is_the_same_numbers() -> None:
    assert torch.equal(torch.from_numpy(data("ours_to_test:with_lengths").x), torch.ones(2, 3, 4))
