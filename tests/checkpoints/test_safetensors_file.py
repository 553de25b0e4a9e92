"""Safetensors: what its own library wrote is read alike; what it would never write is refused by name."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import gatescope as gs
from checkpoints.made import stack_outputs, torchs_outputs
from gatescope.errors import CheckpointError


def test_what_safetensors_wrote_is_read_number_for_number(tmp_path: Path) -> None:
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool]
    tensors = {str(dtype): (torch.randn(3, 4) * 9).to(dtype) for dtype in types} | {"scalar": torch.tensor(2.5)}
    save_file(tensors, tmp_path / "a.bin", {"format": "pt"})
    found = gs.read(tmp_path / "a.bin")
    assert found.format == "safetensors"
    assert set(found.arrays) == set(tensors)
    for name, tensor in tensors.items():
        array = found.arrays[name]
        assert array.shape == tuple(tensor.shape)
        assert f"torch.{array.dtype}" == str(tensor.dtype)
        assert torch.equal(torch.from_numpy(array.read()).to(tensor.dtype), tensor)


def test_a_network_gives_what_it_gave_before_it_was_saved(tmp_path: Path) -> None:
    lstm = nn.LSTM(5, 7, 2, bidirectional=True)
    save_file({f"rnn.{name}": value for name, value in lstm.state_dict().items()}, tmp_path / "a.safetensors")
    x = torch.randn(10, 3, 5)
    layers = gs.read(tmp_path / "a.safetensors").layers
    torch.testing.assert_close(stack_outputs(layers, x), torchs_outputs(lstm, x), rtol=1e-6, atol=1e-6)


def test_types_that_numpy_lacks_are_named_as_not_read(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3).to(torch.float8_e4m3fn), "b": torch.zeros(2)}, tmp_path / "a")
    found = gs.read(tmp_path / "a")
    assert list(found.arrays) == ["b"]
    assert found.not_read == ("a: numbers of type F8_E4M3, which numpy does not have",)
    assert any("no checksum" in warning for warning in found.warnings)


def test_a_large_file_is_listed_from_its_header_alone(tmp_path: Path) -> None:
    """Ten gigabytes that are a hole: listing them reads none."""
    size = 10 << 30
    header = json.dumps({"rnn.weight_ih_l0": _entry([size // 4], [0, size])}).encode()
    with (tmp_path / "a").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    assert gs.read(tmp_path / "a").arrays["rnn.weight_ih_l0"].shape == (size // 4,)


@pytest.mark.parametrize(
    ("header", "numbers", "wrong"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, 4, "which its shape and type do not make"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, 4, "nothing sensible of a"),
        ({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, 4, "nothing sensible of a"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, 4, "nothing sensible of a"),
        ({"a": 3}, 0, "nothing sensible of a"),
        ({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, 4, "truncated"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, 8, "4 bytes at its end belong to no array"),
        ({"a": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}, 4, "65 dimensions"),
        (
            {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, 4, "overlap or leave a gap",
        ),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, 8, "overlap or leave a gap"),
        ({"\x1b[31m": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, 4, r"\\x1b\[31m has 4 bytes"),
    ],
)  # fmt: skip
def test_a_header_that_says_what_cannot_be_is_refused(
    header: dict[str, Any], numbers: int, wrong: str, tmp_path: Path
) -> None:
    _write(tmp_path / "a", json.dumps(header).encode(), numbers)
    with pytest.raises(CheckpointError, match=wrong):
        gs.read(tmp_path / "a")


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        (b'{"a": ' + b"[" * 100_000, "no JSON"),
        (b'{"a": 1, "a": 1}', "a name twice"),
        (b"{\xff}", "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)
def test_a_header_that_is_no_header_is_refused(header: bytes, wrong: str, tmp_path: Path) -> None:
    _write(tmp_path / "a", header, 0)
    with pytest.raises(CheckpointError, match=wrong):
        gs.read(tmp_path / "a")


def test_a_header_that_declares_more_than_there_is_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(CheckpointError, match="its header declares 1099511627776 bytes, where 8388608 is the limit"):
        gs.read(tmp_path / "a")
    (tmp_path / "a").write_bytes(struct.pack("<Q", 100) + b"{}")
    with pytest.raises(CheckpointError, match="truncated: its header is 100 bytes long and the file 10"):
        gs.read(tmp_path / "a")


def test_a_file_that_shrinks_before_its_numbers_are_read_is_said_to_be_truncated(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1000)}, tmp_path / "a")
    array = gs.read(tmp_path / "a").arrays["a"]
    os.truncate(tmp_path / "a", 200)
    with pytest.raises(CheckpointError, match="truncated"):
        array.read()


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    lstm = nn.LSTM(5, 7)
    state = {f"rnn.{name}": value for name, value in lstm.state_dict().items()}
    places = _shard(tmp_path, state)
    found = gs.read(tmp_path / "model.safetensors.index.json")
    assert found.format == "safetensors, sharded"
    assert list(found.arrays) == list(places)
    x = torch.randn(10, 3, 5)
    torch.testing.assert_close(stack_outputs(found.layers, x), torchs_outputs(lstm, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "shard", ["../b.safetensors", "/etc/passwd", "sub/b", "..", "", ".", "a\\b", "a\0b", "./model-1"]
)
def test_an_index_points_to_no_other_folder(shard: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(CheckpointError, match="outside its own folder"):
        gs.read(tmp_path / "index.json")


@pytest.mark.parametrize(
    ("places", "wrong"),
    [
        ({"a": "none.safetensors"}, "none.safetensors, which it names, is not beside it"),
        ({"b": "model-1"}, "b is not in model-1, where the index says"),
        ({"a": 3}, "its weight_map is no list"),
        ([], "its weight_map is no list"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(places: Any, wrong: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model-1")
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match=wrong):
        gs.read(tmp_path / "index.json")


def test_what_a_shard_holds_beside_the_index_is_named_as_not_read(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "model-1")
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": {"a": "model-1"}}))
    assert gs.read(tmp_path / "index.json").not_read == ("b: in model-1, but not in the index",)


def _entry(shape: list[int], offsets: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": offsets}


def _write(path: Path, header: bytes, numbers: int) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(numbers))


def _shard(folder: Path, state: dict[str, torch.Tensor]) -> dict[str, str]:
    places = {name: f"model-{place % 2}.safetensors" for place, name in enumerate(state)}
    for shard in set(places.values()):
        save_file({name: value for name, value in state.items() if places[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def test_numbers_of_every_byte_pattern_survive(tmp_path: Path) -> None:
    every = torch.from_numpy(np.arange(65536, dtype=np.uint16).view(np.int16)).view(torch.bfloat16)
    save_file({"a": every}, tmp_path / "a")
    np.testing.assert_array_equal(gs.read(tmp_path / "a").arrays["a"].read(), every.float().numpy())
