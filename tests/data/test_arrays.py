"""Arrays of numpy's and of safetensors, from files and from a pipe: read alike, or refused in one sentence."""

import hashlib
import io
import struct
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from gatescope.data import npz
from gatescope.data.reading import data
from gatescope.errors import InputError, UnreadableError

X = np.random.default_rng(0).standard_normal((3, 5, 2))


@pytest.mark.parametrize(
    "stored", [X, X.astype("f4"), X.astype("f2"), X.astype(">f8"), np.asfortranarray(X), X > 0, (9 * X).astype("i2")]
)
def test_an_array_of_any_real_type_and_order_becomes_the_same_numbers(stored: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", stored)
    found = data(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(found.x, stored.astype(np.float32))
    assert found.x.dtype == np.float32
    assert found.x.dtype.isnative
    assert found.x.flags.c_contiguous
    assert found.lengths is None
    assert not found.tokens


def test_what_is_said_of_it_names_the_file_without_its_folder_and_its_hash(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    sha256 = hashlib.sha256((tmp_path / "x.npy").read_bytes()).hexdigest()
    assert data(str(tmp_path / "x.npy")).what == f"x.npy: 3 sequences of 5 steps, 2 features; sha256 {sha256}"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_of_an_archive_is_chosen_by_its_name(save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    save(tmp_path / "x.npz", **{"a": X, "b/c:d": 2 * X})
    np.testing.assert_array_equal(data(f"{tmp_path}/x.npz:a").x, X.astype("f4"))
    found = data(f"{tmp_path}/x.npz:b/c:d")
    np.testing.assert_array_equal(found.x, (2 * X).astype("f4"))
    assert found.what.startswith("x.npz:b/c:d: 3 sequences")


def test_an_array_of_a_safetensors_file_is_chosen_by_its_name(tmp_path: Path) -> None:
    save_file({"a": X, "b": 2 * X}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(data(f"{tmp_path}/x.safetensors:b").x, (2 * X).astype("f4"))


def test_the_only_array_needs_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X)
    save_file({"a": X}, tmp_path / "x.safetensors")
    for file in ("x.npz", "x.safetensors"):
        found = data(str(tmp_path / file))
        np.testing.assert_array_equal(found.x, X.astype("f4"))
        assert found.what.startswith(f"{file}:a: ")


@pytest.mark.parametrize("file", ["x.npz", "x.safetensors"])
@pytest.mark.parametrize(
    ("key", "saw"), [("", "holds 2 arrays, it holds a, b; choose one"), (":z", "has no array 'z', it holds a, b")]
)
def test_one_of_several_arrays_has_to_be_named_as_it_is_called(file: str, key: str, saw: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X, b=X)
    save_file({"a": X, "b": X}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=saw):
        data(f"{tmp_path}/{file}{key}")


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X)
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    assert data(f"{tmp_path}/x.npy:a").x.shape == X.shape


def test_an_array_comes_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _piped(X, monkeypatch)
    found = data("-")
    np.testing.assert_array_equal(found.x, X.astype("f4"))
    assert found.what.startswith("standard input: 3 sequences of 5 steps")
    assert found.what.endswith(hashlib.sha256(stream).hexdigest())


@pytest.mark.parametrize(("change", "saw"), [(lambda b: b[:-1], "only 239"), (lambda b: b + b"!", "there are more")])
def test_a_pipe_that_ends_too_early_or_too_late_is_refused(change, saw: str, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    _piped(X, monkeypatch, change)
    with pytest.raises(UnreadableError, match=rf"standard input cannot be read: its header makes 240 bytes.*{saw}"):
        data("-")


def test_a_pipe_that_declares_a_terabyte_takes_no_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    member = _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (137438953472,), }", bytes(8))
    asked = []

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return super().read(size)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Pipe(member), isatty=lambda: False))
    with pytest.raises(UnreadableError, match="makes 1099511627776 bytes of numbers, and there are only 8"):
        data("-")
    assert all(size is not None and 0 <= size <= 1 << 20 for size in asked)


def test_a_terminal_is_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(InputError, match=r"is a terminal; pipe an array\.npy into it"):
        data("-")


@pytest.mark.parametrize(
    ("stored", "saw"),
    [
        (np.array([{}, None]), "Python objects, which are not read"),
        (np.zeros(2, [("a", "f4"), ("b", "O")]), "Python objects, which are not read"),
        (np.zeros(2, [("a", "f4")]), "no real numbers"),
        (np.array(["text"]), "no real numbers"),
        (np.zeros(2, complex), "complex128, which are no real numbers"),
        (np.zeros(2, "M8[s]"), "no real numbers"),
    ],
)
def test_what_is_no_real_number_is_refused(stored: np.ndarray, saw: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", stored)
    np.savez(tmp_path / "x.npz", a=stored)
    for file in ("x.npy", "x.npz"):
        with pytest.raises(InputError, match=saw):
            data(str(tmp_path / file))


@pytest.mark.parametrize(
    ("header", "numbers", "saw"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4, "has 71 bytes where its header makes 75"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 12, "has 79 bytes where its header makes 75"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (137438953472,), }", 8, "its header makes 1099511627854"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", 8, "cannot be"),
        ("{'descr': '<f9', 'fortran_order': False, 'shape': (1,), }", 9, "does not begin as an array"),
        ("{'descr': '<f4', 'fortran_order': __import__('os'), 'shape': (1,), }", 4, "does not begin as an array"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 64 + "), }", 4, "cannot be"),
        ("(" * 5000, 4, "does not begin as an array"),
        ("\x1b[31m", 4, "does not begin as an array"),
    ],
)
def test_a_header_that_says_what_cannot_be_is_refused(header: str, numbers: int, saw: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(_npy(header, bytes(numbers)))
    with pytest.raises(UnreadableError, match=saw):
        data(str(tmp_path / "x.npy"))


def test_a_name_for_the_only_array_of_a_file_is_one_too_many(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match=r"x\.npy holds one array, which has no name; leave 'a' out"):
        data(f"{tmp_path}/x.npy:a")


def test_an_archive_that_would_fill_the_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros((1, 1000, 100)))
    assert data(str(tmp_path / "x.npz")).x.shape == (1, 1000, 100)
    monkeypatch.setattr(npz, "_ALWAYS_FINE", 1000)
    with pytest.raises(UnreadableError, match=r"a\.npy would swell from \d+ bytes to 800128; save it without compr"):
        data(str(tmp_path / "x.npz"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_one_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for value in (1.0, 2.0):
            buffer = io.BytesIO()
            np.save(buffer, np.full(3, value))
            archive.writestr("a.npy", buffer.getvalue())
    with pytest.raises(UnreadableError, match="one name twice"):
        data(f"{tmp_path}/x.npz:a")


def test_an_archive_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X)
    flipped = bytearray((tmp_path / "x.npz").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "x.npz").write_bytes(flipped)
    with pytest.raises(UnreadableError, match="as a zip archive it is damaged"):
        data(str(tmp_path / "x.npz"))


def test_numbers_that_numpy_has_not_are_refused(tmp_path: Path) -> None:
    save_torch({"a": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="holds BF16, which numpy has not; save it as F32"):
        data(str(tmp_path / "x.safetensors"))


def _npy(header: str, numbers: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + numbers


def _piped(x: np.ndarray, monkeypatch: pytest.MonkeyPatch, change=lambda data: data) -> bytes:  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    np.save(buffer, x)
    stream = change(buffer.getvalue())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stream), isatty=lambda: False))
    return stream
