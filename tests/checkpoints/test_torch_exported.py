"""Exported programs: their weights are read from JSON and raw bytes, and a weight that is a pickle is left alone."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.checkpoints.torch_exported import looks_like_torch_exported, read_torch_exported
from gatescope.checkpoints.torch_zip import looks_like_torch_zip
from gatescope.errors import CheckpointError


def exported(path: Path, **changed: Any) -> Path:
    """One weight of two rows and three columns, described by hand."""
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": 2}, {"as_int": 3}],
        "strides": [{"as_int": 3}, {"as_int": 1}],
        "storage_offset": {"as_int": 0},
    }
    about = {
        "path_name": "weight_0",
        "use_pickle": False,
        "tensor_meta": {**meta, **changed.pop("meta", {})},
        **changed,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/archive_format", "pt2")
        archive.writestr("a/data/weights/model_weights_config.json", json.dumps({"config": {"w": about}}))
        archive.writestr("a/data/weights/weight_0", np.arange(6, dtype="<f4").tobytes())
    return path


@pytest.mark.filterwarnings("ignore")
def test_what_torch_exports_is_read(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    torch.export.save(torch.export.export(module, (torch.ones(2, 3),)), tmp_path / "a.pt2")
    assert looks_like_torch_exported(b"PK\x03\x04", tmp_path / "a.pt2")
    assert not looks_like_torch_zip(b"PK\x03\x04", tmp_path / "a.pt2")
    found = read_torch_exported(tmp_path / "a.pt2")
    assert found.format == "torch.export"
    assert [line.rpartition(": ")[2] for line in found.not_read] == ["example inputs, which are no weights"]
    assert set(found.arrays) == set(module.state_dict())
    for name, value in module.state_dict().items():
        assert np.array_equal(found.arrays[name].read(), value.numpy())


def test_an_archive_of_older_torch_within_the_archive_is_read(tmp_path: Path) -> None:
    lstm, inner = nn.LSTM(3, 4), io.BytesIO()
    torch.save(lstm.state_dict(), inner)
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", inner.getvalue())
        archive.writestr("serialized_constants.pt", inner.getvalue())
    found = read_torch_exported(tmp_path / "a.pt2")
    assert np.array_equal(found.arrays["weight_hh_l0"].read(), lstm.weight_hh_l0.detach().numpy())
    assert found.not_read == ("serialized_constants.pt: constants or example inputs",)


def test_a_weight_described_by_hand_is_read(tmp_path: Path) -> None:
    assert read_torch_exported(exported(tmp_path / "a.pt2")).arrays["w"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("use_pickle", [True, None, "no", 0])
def test_a_weight_that_may_be_a_pickle_is_named_as_not_read(use_pickle: object, tmp_path: Path) -> None:
    found = read_torch_exported(exported(tmp_path / "a.pt2", use_pickle=use_pickle))
    assert found.arrays == {}
    assert found.not_read[0].startswith("w: it is a pickle")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"path_name": "../../x"}, "no member"),
        ({"path_name": None}, "does not say where"),
        ({"tensor_meta": None}, "no description"),
        ({"meta": {"sizes": [{"as_int": 9}, {"as_int": 3}]}}, "reaches number"),
        ({"meta": {"sizes": [{"as_expr": "s0"}]}}, "no numbers"),
        ({"meta": {"strides": 3}}, "no numbers"),
    ],
)
def test_a_weight_that_is_described_wrongly_is_refused(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=says):
        read_torch_exported(exported(tmp_path / "a.pt2", **changed))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", '{"config": 3}', "\xff"])
def test_a_list_of_weights_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/archive_format", "pt2")
        archive.writestr("a/data/weights/model_weights_config.json", text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"is no JSON|lists no weights"):
        read_torch_exported(tmp_path / "a.pt2")
