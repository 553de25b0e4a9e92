"""Reading any file: its content decides, and what it is not is said in the words of whoever gave it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import gatescope as gs
from gatescope.errors import CheckpointError, InputError


def test_the_content_decides_and_never_the_name(tmp_path: Path) -> None:
    state = {f"rnn.{name}": value for name, value in nn.GRU(5, 7).state_dict().items()}
    torch.save(state, tmp_path / "a.npz")
    torch.save(state, tmp_path / "b.json", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "c.pt")
    np.savez(tmp_path / "d.npz", **{name: value.numpy() for name, value in state.items()})
    (tmp_path / "d.npz").rename(tmp_path / "d.safetensors")
    (tmp_path / "e.h5").write_text(json.dumps({name: value.tolist() for name, value in state.items()}))
    found = {path.name: gs.read(path) for path in sorted(tmp_path.iterdir())}
    assert [one.format for one in found.values()] == ["torch zip", "torch legacy", "safetensors", "npz", "JSON"]
    for checkpoint in found.values():
        assert [(layer.name, layer.cell) for layer in checkpoint.layers] == [("rnn.l0", "gru")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"is empty \(0 bytes\); copy or download it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            r"is a Git LFS pointer \(\d+ bytes\), not the file itself; run `git lfs pull`",
        ),
        (b"\n<!DOCTYPE html><html>", r"is a web page \(22 bytes\), not the file itself; download it again"),
        (b"<html lang='en'>", "is a web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "is a web page"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"\0\0\0\0TFL3", "a TensorFlow Lite model"),
        (bytes(5000), "are all zero, as an interrupted download leaves them"),
        ("Wörter\n".encode(), "a text file"),
        (b"\xde\xad\xbe\xef" * 9, r"its first bytes \(de ad be ef de ad be ef\) begin no format"),
        (b"\x7fELF\x02", "it is a program"),
    ],
)
def test_what_is_no_checkpoint_is_named_as_what_it_is(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"^model\.pt .*" + said):
        gs.read(tmp_path / "model.pt")


def test_a_folder_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a folder, without the \.metadata"):
        gs.read(tmp_path)
    with pytest.raises(CheckpointError, match=r"none\.pt could not be read \(No such file or directory\)"):
        gs.read(tmp_path / "none.pt")


def test_a_file_that_never_ends_or_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="is no ordinary file"):
            gs.read(path)


def test_a_name_of_a_file_is_cleaned_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\nb").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"^a\\x1b\[31m\\nb is empty"):
        gs.read(tmp_path / "a\x1b[31m\nb")


def test_a_key_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    torch.save({"state_dict": nn.GRU(5, 7).state_dict(), "ema": nn.GRU(5, 7).state_dict()}, tmp_path / "a")
    assert gs.read(tmp_path / "a", key="ema").layers[0].parameters[0] == "ema.weight_ih_l0"
    with pytest.raises(InputError, match="nothing under the key 'em'; its names begin with state_dict, ema"):
        gs.read(tmp_path / "a", key="em")


def test_a_nonlinearity_that_no_rnn_has_is_refused(tmp_path: Path) -> None:
    torch.save(nn.RNN(5, 7).state_dict(), tmp_path / "a")
    assert gs.read(tmp_path / "a", nonlinearity="relu").layers[0].cell == "rnn-relu"
    with pytest.raises(InputError, match="nonlinearity is 'gelu' where 'tanh' or 'relu' is wanted"):
        gs.read(tmp_path / "a", nonlinearity="gelu")


def test_a_whole_module_settles_what_a_state_dict_leaves_open(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.RNN(5, 7, nonlinearity="relu", batch_first=True)), tmp_path / "a")
    (layer,) = gs.read(tmp_path / "a").layers
    assert (layer.name, layer.cell, layer.batch_first) == ("0.l0", "rnn-relu", True)
