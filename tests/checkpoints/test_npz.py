"""Numpy's files: what numpy wrote is read alike; what no array is, or lies about its size, is refused or named."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs
from checkpoints.made import stack_outputs, torchs_outputs
from gatescope.errors import CheckpointError


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_is_read_number_for_number(save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    arrays = {
        "f8": random.standard_normal((3, 4)),
        "f4": random.standard_normal(5).astype("f4"),
        "big": np.arange(3.0, dtype=">f8"),
        "columns": np.asfortranarray(random.standard_normal((3, 4))),
        "scalar": np.float32(2.5),
        "b": np.array([True, False]),
        "sub/name.with.dots": np.zeros((2, 0)),
        "half": np.ones(3, "f2"),
        "u1": np.arange(3, dtype="u1"),
    }
    save(tmp_path / "a.npz", **arrays)
    found = gs.read(tmp_path / "a.npz")
    assert found.format == "npz"
    assert list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        read = found.arrays[name].read()
        np.testing.assert_array_equal(read, array)
        assert found.arrays[name].shape == read.shape == array.shape
        assert read.dtype.isnative
        assert read.flags.c_contiguous
        assert found.arrays[name].dtype == array.dtype.name
    assert not found.warnings


def test_a_single_array_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    found = gs.read(tmp_path / "a.npy")
    np.testing.assert_array_equal(found.arrays["array"].read(), np.arange(6.0).reshape(2, 3))


def test_a_network_gives_what_it_gave_before_it_was_saved(tmp_path: Path) -> None:
    gru = nn.GRU(5, 7, 2)
    np.savez(tmp_path / "a.npz", **{f"rnn/{name}": value.numpy() for name, value in gru.state_dict().items()})
    found = gs.read(tmp_path / "a.npz")
    x = torch.randn(10, 3, 5)
    torch.testing.assert_close(stack_outputs(found.layers, x), torchs_outputs(gru, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("array", [np.array([{}, None]), np.zeros(2, [("a", "f4"), ("b", "i4")]), np.array(["text"])])
def test_python_objects_are_never_made_and_named_as_not_read(array: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", objects=array, numbers=np.zeros(2))
    found = gs.read(tmp_path / "a.npz")
    assert list(found.arrays) == ["numbers"]
    assert found.not_read == ("objects: holds Python objects or records, which are not read",)
    np.save(tmp_path / "a.npy", array)
    assert not gs.read(tmp_path / "a.npy").arrays


@pytest.mark.parametrize(
    ("header", "numbers", "wrong"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4, "truncated"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 12, "has .* bytes where its header makes"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (137438953472,), }", 8, "truncated"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", 8, "makes no sense"),
        ("{'descr': '<f9', 'fortran_order': False, 'shape': (1,), }", 9, "makes no sense"),
        ("{'descr': '<f4', 'fortran_order': __import__('os'), 'shape': (1,), }", 4, "makes no sense"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 64 + "), }", 4, "has .* bytes"),
        ("(" * 5000, 4, "makes no sense"),
        ("\x1b[31m", 4, r"makes no sense: \\x1b\[31m"),
    ],
)
def test_a_header_that_says_what_cannot_be_is_refused(header: str, numbers: int, wrong: str, tmp_path: Path) -> None:
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(numbers)
    (tmp_path / "a.npy").write_bytes(member)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", member)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(CheckpointError, match=wrong):
            gs.read(tmp_path / name)


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(100.0))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[400] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    array = gs.read(tmp_path / "a.npz").arrays["a"]
    with pytest.raises(CheckpointError, match=r"the checksum of a\.npy is wrong"):
        array.read()


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        stream = io.BytesIO()
        np.save(stream, np.zeros(1 << 20))
        file.writestr("a.npy", stream.getvalue())
    with pytest.raises(CheckpointError, match="more than 100 times"):
        gs.read(tmp_path / "a.npz")


def test_what_lies_beside_the_arrays_is_named_as_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("notes.txt", "hello")
    assert gs.read(tmp_path / "a.npz").not_read == ("notes.txt: no array of numpy's",)
