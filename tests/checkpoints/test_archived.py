"""Checkpoints inside archives: the one that is there is read; bombs, links and what leads outside are refused."""

import bz2
import gc
import gzip
import io
import lzma
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs
from checkpoints.made import stack_outputs, torchs_outputs
from gatescope.errors import CheckpointError

PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("pack", PACK)
def test_a_network_gives_what_it_gave_before_it_was_packed(pack: str, tmp_path: Path) -> None:
    lstm, stream = nn.LSTM(5, 7), io.BytesIO()
    torch.save(lstm.state_dict(), stream)
    (tmp_path / f"model.pt.{pack}").write_bytes(PACK[pack](stream.getvalue()))
    found = gs.read(tmp_path / f"model.pt.{pack}")
    assert found.format == "torch zip, in an archive"
    assert found.path.endswith(f"model.pt.{pack}")
    assert found.warnings[-1] == "unpacked: model.pt"
    x = torch.randn(10, 3, 5)
    torch.testing.assert_close(stack_outputs(found.layers, x), torchs_outputs(lstm, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pack", [*PACK, ""])
def test_the_one_checkpoint_among_other_files_is_found(pack: str, tmp_path: Path) -> None:
    data = PACK.get(pack, bytes)(_tar({"a/readme.txt": b"hello", "a/model.npz": _npz(), "a/empty": b""}))
    (tmp_path / "model").write_bytes(data)
    found = gs.read(tmp_path / "model")
    np.testing.assert_array_equal(found.arrays["a"].read(), np.arange(3.0))
    assert "unpacked: a/model.npz" in found.warnings


def test_what_was_unpacked_goes_when_nobody_can_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "a.gz").write_bytes(gzip.compress(_npz()))
    array = gs.read(tmp_path / "a.gz").arrays["a"]
    gc.collect()
    assert list(tmp_path.glob("gatescope-*"))
    np.testing.assert_array_equal(array.read(), np.arange(3.0))
    del array
    gc.collect()
    assert not list(tmp_path.glob("gatescope-*"))


def test_two_checkpoints_or_none_are_for_you_to_choose(tmp_path: Path) -> None:
    (tmp_path / "two.tar").write_bytes(_tar({"a.npz": _npz(), "b.npz": _npz()}))
    with pytest.raises(CheckpointError, match=r"an archive of 2 checkpoints, a\.npz, b\.npz; unpack it"):
        gs.read(tmp_path / "two.tar")
    (tmp_path / "none.tar").write_bytes(_tar({"a.txt": b"hello"}))
    with pytest.raises(CheckpointError, match="an archive without a checkpoint; unpack it"):
        gs.read(tmp_path / "none.tar")


@pytest.mark.parametrize("name", ["../a.npz", "/tmp/a.npz", "a/../../b.npz", "..\\a.npz"])
def test_a_member_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(_tar({name: _npz()}))
    with pytest.raises(CheckpointError, match="would lie outside"):
        gs.read(tmp_path / "a.tar")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        member = tarfile.TarInfo("a.npz")
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    with pytest.raises(CheckpointError, match="a link or a device"):
        gs.read(tmp_path / "a.tar")


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for _ in range(2):
            _add(file, "a.npz", _npz())
    with pytest.raises(CheckpointError, match=r"two members a\.npz"):
        gs.read(tmp_path / "a.tar")


@pytest.mark.parametrize("pack", PACK)
def test_a_bomb_is_refused_before_it_fills_the_disk(pack: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PACK[pack](bytes(50 << 20)))
    with pytest.raises(CheckpointError, match="swells to more than 100 times its size"):
        gs.read(tmp_path / "a")


def test_an_archive_in_an_archive_is_not_unpacked_for_ever(tmp_path: Path) -> None:
    twice = gzip.compress(gzip.compress(_npz()))
    for data in (twice, gzip.compress(_tar({"a.gz": gzip.compress(_npz())})), _tar({"a.tar": _tar({"a": _npz()})})):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(CheckpointError, match="it is an archive inside an archive; unpack it once"):
            gs.read(tmp_path / "a")


@pytest.mark.parametrize("pack", PACK)
def test_a_damaged_archive_is_refused(pack: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0).bytes(2000)
    data = bytearray(PACK[pack](random))
    (tmp_path / "a").write_bytes(data[:-30])
    with pytest.raises(CheckpointError, match="does not unpack"):
        gs.read(tmp_path / "a")
    data[len(data) // 2] ^= 4
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CheckpointError, match="does not unpack"):
        gs.read(tmp_path / "a")


@pytest.mark.parametrize("size", range(0, 4096, 97))
def test_a_tar_that_ends_too_early_is_refused_or_holds_nothing(size: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_tar({"a.npz": _npz() + bytes(3000)})[:size])
    with pytest.raises(CheckpointError):
        gs.read(tmp_path / "a")


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(3.0))
    return stream.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, data in members.items():
            _add(file, name, data)
    return stream.getvalue()


def _add(file: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.addfile(member, io.BytesIO(data))
