"""What people save is opened, whatever lies beside the weights, with torch's own values and no false alarm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from checkpoints.save_styles import STYLES, Network
from gatescope.checkpoints.checkpoint import Checkpoint
from gatescope.checkpoints.torch_legacy import looks_like_torch_legacy, read_torch_legacy
from gatescope.checkpoints.torch_zip import looks_like_torch_zip, read_torch_zip

NOT_OURS = "not built: checkpoints.save_styles."


def read(path: Path) -> Checkpoint:
    head = path.read_bytes()[:64]
    if looks_like_torch_legacy(head, path):
        return read_torch_legacy(path)
    assert looks_like_torch_zip(head, path)
    return read_torch_zip(path)


def saved(what: Any, path: Path, *, zipped: bool = True) -> Checkpoint:
    torch.save(what, path, _use_new_zipfile_serialization=zipped)
    return read(path)


def tensors(what: Any, path: str = "") -> dict[str, Tensor | np.ndarray]:
    """Every tensor and array that torch's own loader gave, by the keys and attributes that lead to it."""
    if isinstance(what, Tensor | np.ndarray):
        return {path: what}
    if isinstance(what, nn.Module):
        what = {**what.state_dict(keep_vars=True), "state": getattr(what, "state", None)}
    elif isinstance(what, list | tuple):
        what = dict(enumerate(what))
    elif not isinstance(what, dict):
        return {}
    inside = [tensors(value, f"{path}.{key}" if path else str(key)) for key, value in what.items()]
    return {name: value for found in inside for name, value in found.items()}


def test_there_are_twenty_eight() -> None:
    assert len(STYLES) == 28


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_every_tensor_has_the_name_and_the_bits_that_torch_gives(style: str, zipped: bool, tmp_path: Path) -> None:
    found = saved(STYLES[style](nn.LSTM(3, 4)), tmp_path / "a.pt", zipped=zipped)
    expected = tensors(torch.load(tmp_path / "a.pt", weights_only=False))
    assert set(found.arrays) == set(expected)
    for name, value in expected.items():
        array = found.arrays[name]
        assert array.dtype == str(value.dtype).removeprefix("torch.")
        assert array.shape == tuple(value.shape)
        assert array.read().tobytes() == np.asarray(value.detach() if isinstance(value, Tensor) else value).tobytes()


@pytest.mark.parametrize("style", STYLES)
def test_nothing_that_people_save_is_called_dangerous_or_left_out(style: str, tmp_path: Path) -> None:
    found = saved(STYLES[style](nn.LSTM(3, 4)), tmp_path / "a.pt")
    assert found.dangers == ()
    assert found.not_read == ()
    known = {"not built: functools.partial"}
    assert all(note.startswith(NOT_OURS) or note in known for note in found.notes)


def test_the_classes_that_were_not_built_are_named(tmp_path: Path) -> None:
    found = saved({"a": STYLES["dataclass"](nn.LSTM(3, 4))}, tmp_path / "a.pt")
    assert found.notes == (NOT_OURS + "Settings",)


def test_a_whole_module_says_what_its_state_dict_does_not(tmp_path: Path) -> None:
    rnn = nn.RNN(3, 4, num_layers=2, nonlinearity="relu", batch_first=True, bidirectional=True)
    hints = saved(Network(rnn), tmp_path / "a.pt").hints  # type: ignore[arg-type]
    assert hints[""]["class"] == "checkpoints.save_styles.Network"
    assert hints[""]["note"] == "mine"
    assert hints["rnn"]["class"] == "torch.nn.modules.rnn.RNN"
    for name in ("num_layers", "nonlinearity", "batch_first", "bidirectional", "proj_size", "hidden_size"):
        assert hints["rnn"][name] == getattr(rnn, name)


def test_a_lightning_checkpoint_is_called_one(tmp_path: Path) -> None:
    found = saved(STYLES["Lightning with numbers"](nn.LSTM(3, 4)), tmp_path / "a.pt")
    assert found.format == "Lightning checkpoint, torch zip"


def test_a_module_that_is_shared_has_both_its_names(tmp_path: Path) -> None:
    lstm = nn.LSTM(3, 4)
    both = nn.ModuleDict({"a": lstm, "b": lstm})
    assert set(saved(both, tmp_path / "a.pt").arrays) == set(both.state_dict())
