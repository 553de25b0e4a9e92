"""An archive that lies about itself anywhere is refused, and so is one of which a single bit has changed."""

import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gatescope.checkpoints.zip_audit import audited
from gatescope.errors import CheckpointError

CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def written(path: Path, members: dict[str, bytes], *, packed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def changed(path: Path, change: Callable[[zipfile.ZipInfo], None], name: str = "b") -> Path:
    """An archive of `a` and one more member whose entry is changed before it is written."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"first")
        info = zipfile.ZipInfo(name)
        change(info)
        archive.writestr(info, b"second")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An archive of torch's own, of some 30 kB."""
    torch.save(torch.nn.LSTM(20, 30, num_layers=1).state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.mark.parametrize("packed", [True, False])
def test_members_come_back_as_they_were_written(packed: bool, tmp_path: Path) -> None:
    members = {"a/one": bytes(range(256)) * 50, "a/empty": b"", "a/two": b"x" * 99}
    archive = audited(written(tmp_path / "a.zip", members, packed=packed))
    archive.verify()
    assert archive.names == tuple(members)
    assert {name: bytes(archive.read(name)) for name in archive.names} == members
    assert bytes(archive.open_range("a/one", 250, 12)) == members["a/one"][250:262]
    assert archive.checksums


def test_an_archive_that_numpy_or_a_stream_wrote_is_sound(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.random.default_rng(0).random(1000), b=np.ones(3))
    audited(tmp_path / "a.npz").verify()

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    stream = Stream()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"data")
    (tmp_path / "b.zip").write_bytes(stream.getvalue())
    assert audited(tmp_path / "b.zip").read("a") == b"data"


def test_a_member_over_the_callers_limit_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="declares 100 bytes, where 99 is the limit"):
        audited(written(tmp_path / "a.zip", {"a": b"x" * 100})).read("a", most=99)


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../../b", "../b", "C:/b", "a\\b", "a//b", "./b", "a/./b"])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="outside the archive's folder"):
        audited(written(tmp_path / "a.zip", {name: b"x"}))


def test_links_folders_and_devices_are_refused(tmp_path: Path) -> None:
    def mode(bits: int) -> Callable[[zipfile.ZipInfo], None]:
        return lambda info: setattr(info, "external_attr", bits << 16)

    for bits, says in (
        (0o120777, "symbolic link"),
        (0o040755, "folder"),
        (0o010644, "ordinary"),
        (0o104755, "ordinary"),
    ):
        with pytest.raises(CheckpointError, match=says):
            audited(changed(tmp_path / "a.zip", mode(bits)))
    with pytest.raises(CheckpointError, match="is a folder"):
        audited(changed(tmp_path / "a.zip", lambda info: setattr(info, "external_attr", 0x10)))
    with pytest.raises(CheckpointError, match="is a folder"):
        audited(changed(tmp_path / "a.zip", lambda info: None, name="b/"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b", b"1")
        archive.writestr("b", b"2")
    with pytest.raises(CheckpointError, match="two members b"):
        audited(tmp_path / "a.zip")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", {"a": b"data"})
    data = bytearray(path.read_bytes())
    data[data.index(LOCAL) + 6] |= 1
    data[data.index(CENTRAL) + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="encrypted"):
        audited(path)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", {"a": b"data", "b": b"data"})
    data = bytearray(path.read_bytes())
    second = data.index(CENTRAL, data.index(CENTRAL) + 1)
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="overlap"):
        audited(path)


def test_bytes_that_belong_to_no_member_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", {"a": b"data"})
    data = path.read_bytes()
    at = data.index(CENTRAL)
    shifted = bytearray(data[:at] + b"hidden" + data[at:])
    shifted[-6:-2] = struct.pack("<I", at + 6)
    path.write_bytes(shifted)
    with pytest.raises(CheckpointError, match="6 bytes before the directory belong to no member"):
        audited(path)


def test_a_member_that_swells_more_than_a_hundredfold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="swells from"):
        audited(written(tmp_path / "a.zip", {"a": bytes(10_000_000)}, packed=True))


def test_a_member_that_swells_beyond_what_it_declares_stops_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", {"a": bytes(50_000_000)}, packed=True)
    data = path.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 1_000_000))
    path.write_bytes(data)
    archive = audited(path)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="unpacks to more than the 1000000 bytes declared"):
        archive.read("a")
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


def test_an_archive_of_too_many_members_is_refused_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", {f"{number}": b"" for number in range(100_001)})
    with pytest.raises(CheckpointError, match="100001 members, where 100000 is the limit"):
        audited(path)


def test_every_change_of_one_bit_is_noticed(model: Path) -> None:
    data = model.read_bytes()
    draw = random.Random(0)
    for _ in range(1000):
        bit = draw.randrange(len(data) * 8)
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        model.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            audited(model).verify()


def test_every_change_of_one_bit_in_the_headers_is_noticed(model: Path) -> None:
    """But for one field that is like nothing else: the program that wrote the zip64 end record, 14 bits of it."""
    data = model.read_bytes()
    unseen = data.index(b"PK\x06\x06") + 12
    draw = random.Random(0)
    for _ in range(500):
        at = draw.randrange(data.index(CENTRAL), len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << draw.randrange(8)
        model.write_bytes(flipped)
        if at not in (unseen, unseen + 1):
            with pytest.raises(CheckpointError):
                audited(model)


def test_every_truncation_is_called_one(model: Path) -> None:
    data = model.read_bytes()
    draw = random.Random(0)
    for _ in range(1000):
        model.write_bytes(data[: draw.randrange(4, len(data))])
        with pytest.raises(CheckpointError, match="is truncated"):
            audited(model)


def test_an_archive_within_a_file_is_audited_alone(tmp_path: Path) -> None:
    inner = written(tmp_path / "inner", {"a": b"data"}).read_bytes()
    (tmp_path / "shard").write_bytes(b"before" + inner + b"after")
    assert audited(tmp_path / "shard", start=6, size=len(inner)).read("a") == b"data"
    with pytest.raises(CheckpointError, match="said to lie at bytes"):
        audited(tmp_path / "shard", start=6, size=len(inner) + 100)
