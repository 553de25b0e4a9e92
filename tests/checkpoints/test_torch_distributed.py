"""A distributed checkpoint: its tensors are put together from their pieces, and nothing outside its folder is read."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from checkpoints.written import Made, Named, pickled
from gatescope.checkpoints.torch_distributed import looks_like_torch_distributed, read_torch_distributed
from gatescope.errors import CheckpointError

METADATA = "torch.distributed.checkpoint.metadata"


def size(*counts: int) -> Made:
    return Made(Named("torch", "Size"), (tuple(counts),))


class Sharded:
    """A checkpoint of one tensor in pieces, written by hand as several processes would write it."""

    def __init__(self, folder: Path, whole: tuple[int, ...]) -> None:
        self.folder, self.whole = folder, whole
        self.pieces: list[tuple[Any, Any]] = []
        folder.mkdir()

    def add(self, offsets: tuple[int, ...], value: Tensor, shard: str, **changed: Any) -> None:
        out = io.BytesIO()
        torch.save(value, out)
        data = (self.folder / "x").parent / shard
        start = data.stat().st_size if data.exists() else 0
        with data.open("ab") as file:
            file.write(out.getvalue())
        index = {"fqn": "w", "offset": size(*offsets), "index": len(self.pieces)}
        place = {"relative_path": shard, "offset": start, "length": len(out.getvalue()), **changed}
        self.pieces.append(
            (
                Made(Named(METADATA, "MetadataIndex"), (), index),
                Made(Named("torch.distributed.checkpoint.filesystem", "_StorageInfo"), (), place),
            )
        )

    def close(self) -> Path:
        about = {"size": size(*self.whole), "chunks": []}
        described = {"w": Made(Named(METADATA, "TensorStorageMetadata"), (), about)}
        stored = dict(self.pieces)
        made = Made(Named(METADATA, "Metadata"), (), {"state_dict_metadata": described, "storage_data": stored})
        (self.folder / ".metadata").write_bytes(pickled(made))
        return self.folder


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    lstm = nn.LSTM(3, 4)
    dcp.save({"model": lstm.state_dict(), "step": 3, "nested": {"x": torch.arange(3)}}, checkpoint_id=tmp_path / "c")
    assert looks_like_torch_distributed(b"", tmp_path / "c")
    found = read_torch_distributed(tmp_path / "c")
    assert found.format == "torch distributed"
    assert found.dangers == found.notes == found.not_read == ()
    expected = {f"model.{name}": value for name, value in lstm.state_dict().items()}
    assert set(found.arrays) == {*expected, "nested.x"}
    for name, value in expected.items():
        assert np.array_equal(found.arrays[name].read(), value.numpy())


def test_pieces_are_put_where_they_belong(tmp_path: Path) -> None:
    whole = torch.randn(5, 6)
    made = Sharded(tmp_path / "c", (5, 6))
    made.add((0, 0), whole[:2], "__0_0.distcp")
    made.add((2, 0), whole[2:, :4].contiguous(), "__0_0.distcp")
    made.add((2, 4), whole[2:, 4:].contiguous(), "__1_0.distcp")
    found = read_torch_distributed(made.close()).arrays["w"]
    assert found.shape == (5, 6)
    assert np.array_equal(found.read(), whole.numpy())


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ([((0, 0), (2, 4))], "do not fill it"),
        ([((0, 0), (4, 4)), ((0, 0), (4, 4))], ""),
        ([((0, 0), (3, 4)), ((2, 0), (1, 4))], "overlap"),
        ([((2, 0), (4, 4))], "outside it"),
        ([((0,), (4, 4))], "outside it"),
        ([], "do not fill it"),
    ],
)
def test_pieces_that_are_no_tensor_are_refused(
    pieces: list[tuple[tuple[int, ...], tuple[int, ...]]], says: str, tmp_path: Path
) -> None:
    made = Sharded(tmp_path / "c", (4, 4))
    for offsets, shape in pieces:
        made.add(offsets, torch.ones(shape), "a.distcp")
    made.close()
    if not says:  # the same piece, stored twice, is one
        assert read_torch_distributed(made.folder).arrays["w"].read().sum() == 16
        return
    with pytest.raises(CheckpointError, match=says):
        read_torch_distributed(made.folder)


SHARDS = ["../outside", "/etc/hostname", "a/../../outside", "link", "loop", "missing", ".", "a\0b", "x" * 5_000]


@pytest.mark.parametrize("shard", SHARDS)
def test_nothing_outside_the_folder_is_opened(shard: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    made = Sharded(tmp_path / "c", (4,))
    (made.folder / "link").symlink_to(tmp_path / "outside")
    (made.folder / "loop").symlink_to("loop")
    made.add((0,), torch.ones(4), "a.distcp", relative_path=shard)
    with pytest.raises(CheckpointError, match=r"outside its folder|has no file"):
        read_torch_distributed(made.close())


def test_a_piece_past_the_end_of_its_shard_is_refused(tmp_path: Path) -> None:
    made = Sharded(tmp_path / "c", (4,))
    made.add((0,), torch.ones(4), "a.distcp", length=1 << 40)
    with pytest.raises(CheckpointError, match="said to lie at bytes"):
        read_torch_distributed(made.close())
