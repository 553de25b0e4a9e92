"""What a spec points to: colons in names, drives, keys; and what is said of what is not there."""

from pathlib import Path

import numpy as np
import pytest

from gatescope.data.place import place
from gatescope.data.reading import SPECS, data
from gatescope.errors import InputError, UnreadableError


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_whose_name_has_a_colon_is_found_under_its_whole_name() -> None:
    _save("run:3.npy", 1)
    _save("run", 2)
    assert data("run:3.npy").x[0, 0, 0] == 1


def test_of_several_colons_the_last_counts_before_which_there_is_a_file() -> None:
    for name in ("a", "a:b"):
        with Path(name).open("wb") as file:
            np.savez(file, **{"c": np.full(2, len(name)), "b:c": np.full(2, 9)})
    assert data("a:b:c", features=1).x[0, 0, 0] == 3
    Path("a:b").unlink()
    assert data("a:b:c", features=1).x[0, 0, 0] == 9


@pytest.mark.parametrize("spec", [r"C:\x.npy", "C:/x.npy", r"C:\a\x.npz:key"])
def test_the_drive_of_windows_is_no_file_before_a_key(spec: str) -> None:
    _save("C", 1)
    with pytest.raises(InputError, match=r"there is no file x\.np[yz]; give one that is there"):
        data(spec)


def test_a_key_behind_a_drive_is_split_off() -> None:
    Path("C:").mkdir()
    np.savez("C:/x.npz", a=np.ones(3), b=np.zeros(3))
    assert data("C:/x.npz:a").x.tolist() == [[[1], [1], [1]]]
    assert place("C:/x.npz:a").key == "a"


@pytest.mark.parametrize(
    "spec", ["x.npy", "x.npy:key", "nowhere/x.npy", "x.csv:a,b", "x.PARQUET:a", "x.txt", "x.wav:512"]
)
def test_a_file_that_is_not_there_is_said_to_be_missing_and_never_imported(spec: str) -> None:
    with pytest.raises(InputError, match=r"there is no file x\.\w+; give one that is there"):
        data(spec)


def test_what_is_no_spec_is_answered_with_the_kinds_there_are() -> None:
    for spec in ("nothing", "a b:c", "x.mat", "1:2"):
        with pytest.raises(
            InputError, match=r"names no file and no known kind of data; give one of x\.npy, x\.npz:key"
        ):
            data(spec)
    for kind in SPECS:
        with pytest.raises(InputError) as caught:
            data("nothing")
        assert kind.form in str(caught.value)


@pytest.mark.parametrize("spec", ["", "a\0b"])
def test_nothing_and_a_zero_name_nothing(spec: str) -> None:
    with pytest.raises(InputError, match="names nothing"):
        data(spec)


def test_a_folder_is_no_file() -> None:
    Path("x.npy").mkdir()
    with pytest.raises(InputError, match=r"x\.npy is a folder or a device and no file"):
        data("x.npy")


def test_a_file_that_is_not_of_its_kind_is_refused() -> None:
    for name, content, saw in (
        ("x.npy", b"hello", r"it does not begin as a \.npy file does"),
        ("x.wav", b"", "it is empty"),
        ("x.npz", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer .*; run `git lfs pull`"),
    ):
        Path(name).write_bytes(content)
        with pytest.raises(UnreadableError, match=rf"{name} cannot be read: {saw}"):
            data(name)
    Path("x.mat").write_bytes(b"MATLAB")
    with pytest.raises(InputError, match=r"x\.mat is of no kind that is known; give one of"):
        data("x.mat")


def test_a_name_from_a_stranger_is_shown_escaped_and_cut() -> None:
    name = "\x1b[31m" + "n" * 150 + ".npy"
    _save(name, 1)
    what = data(name).what
    assert what.startswith(r"\x1b[31mnnnn")
    assert "…: 1 sequence of 2 steps" in what
    with pytest.raises(InputError, match=r"File name too long"):
        data("x" * 5000)


def test_an_error_shows_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    for spec in ("x.npy", "x.npy:a", "y.npy", "x.npy:a:b"):
        with pytest.raises((InputError, UnreadableError)) as caught:
            data(f"{tmp_path}/{spec}")
        assert str(tmp_path) not in str(caught.value)


def _save(name: str, value: float) -> None:
    with Path(name).open("wb") as file:
        np.save(file, np.full((2, 1), value, np.float32))
