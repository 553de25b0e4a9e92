"""An analysis goes into one file and comes back as it was; what is no analysis is refused and nothing of it runs."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs
from gatescope.analysis.archive import KINDS
from gatescope.errors import InputError, UnreadableError


@pytest.fixture(scope="module")
def found() -> gs.Analysis:
    torch.manual_seed(0)
    return gs.analyze(
        nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), torch.randn(9, 20, 3), extra=["fixed_points"]
    )


def assert_same(a: object, b: object, where: str = "") -> None:
    assert type(a) is type(b) or (isinstance(a, Mapping) and isinstance(b, Mapping)), where
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b, equal_nan=True), where
        assert not b.flags.writeable
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    elif isinstance(a, Mapping):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, tuple):
        assert len(a) == len(b), where
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{where}[{place}]")
    else:
        assert a == b or (a != a and b != b), where


def test_what_is_loaded_is_what_was_saved(found: gs.Analysis, tmp_path: Path) -> None:
    loaded = gs.load(found.save(tmp_path / "run.gatescope"))
    assert_same(found, loaded)
    assert str(loaded) == str(found)
    assert loaded.to_frame().equals(found.to_frame())


def test_a_round_trip_gives_the_same_bytes(found: gs.Analysis, tmp_path: Path) -> None:
    first = found.save(tmp_path / "a")
    assert gs.load(first).save(tmp_path / "b").read_bytes() == first.read_bytes()


def test_every_measure_can_be_saved() -> None:
    from gatescope.measures import MEASURES

    assert set(MEASURES) <= set(KINDS.values())


def changed(path: Path, change: Callable[[dict[str, bytes]], None], stored: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    other = path.with_name("changed")
    with zipfile.ZipFile(other, "w", stored) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return other


def relisted(edit: Callable[[dict[str, object]], None]) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        listing = json.loads(members["analysis.json"])
        edit(listing)
        members["analysis.json"] = json.dumps(listing).encode()

    return change


SUNNY = b'{"schema": "gatescope.analysis/1", "analysis": {"level": "sunny"}}'


def pickled(members: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([print], dtype=object), allow_pickle=True)
    members["arrays/0.npy"] = stream.getvalue()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.pop("analysis.json"), "no single analysis.json"),
        (lambda m: m.pop("arrays/3.npy"), "arrays/3.npy"),
        (relisted(lambda it: it.update(schema="gatescope.analysis/9")), "gatescope.analysis/9.*a later gatescope"),
        (relisted(lambda it: it["analysis"].update({"is": "Popen"})), "'Popen', which this gatescope does not know"),
        (relisted(lambda it: it["analysis"].update({".new": 1})), "has new, which"),
        (relisted(lambda it: it["analysis"].pop(".layers")), "layers"),
        (relisted(lambda it: it.update(analysis={"is": "Verdict", ".level": "x"})), "missing"),
        (relisted(lambda it: it.update(analysis=[1])), "a bare list"),
        (relisted(lambda it: it["analysis"].update({".layers": {"array": "../../etc/passwd"}})), "named '../../etc"),
        (relisted(lambda it: it["analysis"].update({".layers": {"array": -1}})), "named -1"),
        (pickled, "allow_pickle"),
        (lambda m: m.update({"analysis.json": b"{" * 100_000}), "no analysis"),
        (lambda m: m.update({"analysis.json": SUNNY}), "sunny"),
    ],
)  # fmt: skip
def test_what_is_no_analysis_is_refused_in_a_sentence(
    found: gs.Analysis, tmp_path: Path, change: Callable[[dict[str, bytes]], None], says: str
) -> None:
    with pytest.raises(UnreadableError, match=says) as refused:
        gs.load(changed(found.save(tmp_path / "run"), change))
    assert "\n" not in str(refused.value)


def test_compressed_members_are_refused_since_they_may_be_larger_than_the_file(
    found: gs.Analysis, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableError, match="compressed or encrypted"):
        gs.load(changed(found.save(tmp_path / "run"), lambda members: None, zipfile.ZIP_DEFLATED))


def test_a_flipped_bit_or_a_missing_end_is_noticed(found: gs.Analysis, tmp_path: Path) -> None:
    whole = found.save(tmp_path / "run").read_bytes()
    random = np.random.default_rng(0)
    broken = tmp_path / "broken"
    refused = 0
    for place in random.integers(0, len(whole), 200):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        broken.write_bytes(flipped)
        try:
            assert_same(found, gs.load(broken))  # a bit of a date, or of a name that stands twice
        except UnreadableError:
            refused += 1
        broken.write_bytes(whole[: int(place)])
        with pytest.raises(UnreadableError):
            gs.load(broken)
    assert refused > 180


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a zip", b"\x80\x04."])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="is no analysis, or is damaged"):
        gs.load(path)


def test_a_file_that_is_not_there_is_said_to_be() -> None:
    with pytest.raises(UnreadableError, match="No such file"):
        gs.load("nowhere.gatescope")


def test_what_has_no_name_in_the_file_is_refused_before_anything_is_written(found: gs.Analysis, tmp_path: Path) -> None:
    strange = dataclasses.replace(found, measurements=(*found.measurements, Path()))
    with pytest.raises(InputError, match="cannot be saved with an analysis"):
        strange.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
