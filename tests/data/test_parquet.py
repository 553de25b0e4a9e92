"""Tables in parquet: the same rules as for text, and without pyarrow the command that installs it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatescope.data import parquet
from gatescope.data.reading import data
from gatescope.errors import InputError, MissingExtraError, UnreadableError

with_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed; pip install 'gatescope[parquet]'"
)


def test_without_pyarrow_the_message_is_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'gatescope\[parquet\]'$"):
        data(str(tmp_path / "x.parquet"))


def test_a_text_that_begins_with_the_same_letters_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("PAR1: enter Hamlet")
    assert data(str(tmp_path / "x.txt")).tokens


@with_pyarrow
def test_columns_are_chosen_as_in_a_table_of_text(tmp_path: Path) -> None:
    _write(tmp_path, a=[1, 2, 3], b=[0.5, 1.5, 2.5], c=[True, False, True], d=["x", "y", "z"])
    found = data(f"{tmp_path}/x.parquet:b,1,c")
    np.testing.assert_array_equal(found.x, np.float32([[[0.5, 1, 1], [1.5, 2, 0], [2.5, 3, 1]]]))
    assert found.what.startswith("x.parquet: 1 sequence of 3 steps, 3 features; 3 columns: b, a, c; sha256 ")


@with_pyarrow
@pytest.mark.parametrize(
    ("key", "saw"),
    [
        (":d", "string in column 'd', where numbers are wanted"),
        (":b", "row 2 has no number in column 'b'"),
        (":e", "row 3 has no number in column 'e'"),
        (":z", "no column 'z'"),
    ],
)
def test_a_column_that_is_no_numbers_or_has_gaps_is_refused(key: str, saw: str, tmp_path: Path) -> None:
    _write(tmp_path, a=[1, 2, 3], b=[1, None, 3], d=["x", "y", "z"], e=[1.0, 2.0, float("nan")])
    with pytest.raises(InputError, match=saw):
        data(f"{tmp_path}/x.parquet{key}")


@with_pyarrow
def test_a_file_that_would_fill_the_memory_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, a=[0] * 1000)
    monkeypatch.setattr(parquet, "MOST_NUMBERS", 999)
    with pytest.raises(UnreadableError, match="unpacks to 1000 rows"):
        data(f"{tmp_path}/x.parquet")


@with_pyarrow
def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, a=[1, 2, 3])
    whole = (tmp_path / "x.parquet").read_bytes()
    for part in (whole[:-20], whole[:40] + whole[60:]):
        (tmp_path / "x.parquet").write_bytes(part)
        with pytest.raises(UnreadableError, match="as a parquet file it is damaged"):
            data(f"{tmp_path}/x.parquet")


def _write(folder: Path, **columns: list[Any]) -> None:
    import pyarrow
    from pyarrow import parquet as written

    written.write_table(pyarrow.table(columns), folder / "x.parquet")
