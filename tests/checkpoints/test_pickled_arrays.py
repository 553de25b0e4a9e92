"""numpy's arrays and torch's tensors in plain pickles, of each protocol, and what cannot be read there."""

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from checkpoints.written import Made, Named, pickled
from gatescope.checkpoints.checkpoint import Checkpoint
from gatescope.checkpoints.pickled_arrays import looks_like_pickled_arrays, read_pickled_arrays
from gatescope.errors import CheckpointError

DTYPES = ["f2", "f4", "f8", ">f4", "<i8", ">i2", "i1", "u1", "u2", "u4", "u8", "?", "c8", "c16", ">c16"]


def dumped(what: Any, path: Path, protocol: int = 4) -> Checkpoint:
    path.write_bytes(pickle.dumps(what, protocol))
    assert looks_like_pickled_arrays(path.read_bytes()[:4096], path)
    return read_pickled_arrays(path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", DTYPES)
def test_every_type_and_protocol_is_read(code: str, protocol: int, tmp_path: Path) -> None:
    value = (np.random.default_rng(0).random((3, 4)) * 100).astype(code)
    found = dumped({"a": value}, tmp_path / "a.pkl", protocol).arrays["a"]
    assert found.dtype == value.dtype.newbyteorder("=").name
    assert np.array_equal(found.read(), value)
    assert found.read().dtype.isnative


@pytest.mark.parametrize("protocol", range(6))
def test_order_and_shape_are_kept(protocol: int, tmp_path: Path) -> None:
    value = np.arange(24.0).reshape(2, 3, 4)
    arrays = {"by columns": np.asfortranarray(value), "none": value[:0], "one": np.array(3.0), "part": value[:, ::2]}
    found = dumped(arrays, tmp_path / "a.pkl", protocol).arrays
    for name, array in arrays.items():
        assert np.array_equal(found[name].read(), array), name


def test_what_holds_no_numbers_is_named(tmp_path: Path) -> None:
    arrays = {
        "objects": np.array([{}, None], dtype=object),
        "text": np.array(["a", "bc"]),
        "dates": np.array(["2024-01-01"], dtype="M8[D]"),
        "fields": np.zeros(2, [("x", "f4")]),
        "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
        "fine": np.ones(1),
    }
    found = dumped(arrays, tmp_path / "a.pkl")
    assert list(found.arrays) == ["fine"]
    assert [line.partition(":")[0] for line in found.not_read] == ["objects", "text", "dates", "fields", "masked"]


def test_torchs_tensors_in_a_plain_pickle_are_read(tmp_path: Path) -> None:
    lstm = nn.LSTM(3, 4)
    found = dumped({"state": lstm.state_dict(), "module": lstm}, tmp_path / "a.pkl", 2)
    for name, value in lstm.state_dict().items():
        assert np.array_equal(found.arrays[f"state.{name}"].read(), value.numpy())
        assert np.array_equal(found.arrays[f"module.{name}"].read(), value.numpy())
    assert found.hints["module"]["num_layers"] == 1
    assert found.dangers == ()


def test_pickles_one_after_another_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.ones(1)) + pickle.dumps({"b": np.zeros(2)}))
    assert list(read_pickled_arrays(tmp_path / "a.pkl").arrays) == ["0", "1.b"]


def test_an_array_of_another_size_than_its_bytes_is_refused(tmp_path: Path) -> None:
    dtype = Made(Named("numpy", "dtype"), ("f4", False, True), (3, "<", None, None, None, -1, -1, 0))
    made = (Named("numpy.core.multiarray", "_reconstruct"), (Named("numpy", "ndarray"), (0,), b"b"))
    for shape in ((1 << 40,), (3,), (-1,), ("a",)):
        (tmp_path / "a.pkl").write_bytes(pickled({"a": Made(*made, (1, shape, dtype, False, b"12345678"))}))
        with pytest.raises(CheckpointError, match="numpy array"):
            read_pickled_arrays(tmp_path / "a.pkl")


def test_a_large_array_is_not_copied_to_be_named(tmp_path: Path) -> None:
    value = np.zeros(5_000_000)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": value}, 5))
    tracemalloc.start()
    found = read_pickled_arrays(tmp_path / "a.pkl")
    assert tracemalloc.get_traced_memory()[1] < 1.1 * value.nbytes
    tracemalloc.stop()
    assert found.arrays["a"].shape == (5_000_000,)
