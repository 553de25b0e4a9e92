"""Tables as text: plain numbers only, and whatever is wrong is named by its line."""

from pathlib import Path

import numpy as np
import pytest

from gatescope.data import csv_file
from gatescope.data.reading import data
from gatescope.errors import InputError, UnreadableError


def test_a_table_is_one_long_sequence(tmp_path: Path) -> None:
    found = _read("1,2\n3,-4.5e-1\n.5, +6. \n", tmp_path)
    np.testing.assert_array_equal(found.x, np.float32([[[1, 2], [3, -0.45], [0.5, 6]]]))
    assert found.what.startswith("x.csv: 1 sequence of 3 steps, 2 features; 2 columns; sha256 ")


@pytest.mark.parametrize(
    ("key", "chosen"),
    [("", [0, 1, 2]), (":b", [1]), (":c,a", [2, 0]), (":3", [2]), (":1,b", [0, 1]), (":a,a", [0, 0])],
)
def test_columns_are_chosen_by_name_or_by_number_from_one(key: str, chosen: list[int], tmp_path: Path) -> None:
    found = _read("a,b,c\n1,2,3\n4,5,6\n", tmp_path, key)
    np.testing.assert_array_equal(found.x, np.float32([[[1, 2, 3], [4, 5, 6]]])[..., chosen])
    assert f"column{'s' if len(chosen) > 1 else ''}: {', '.join('abc'[at] for at in chosen)};" in found.what


def test_a_name_may_be_a_number_or_have_a_comma(tmp_path: Path) -> None:
    text = '2,"x, y",t\n1,2,3\n'
    assert _read(text.replace("2,", "no,", 1), tmp_path, ":2").x.tolist() == [[[2]]]
    assert _read(text, tmp_path, ":2").x.tolist() == [[[1]]]
    assert _read(text, tmp_path, ":x, y").x.tolist() == [[[2]]]


def test_columns_that_nobody_asked_for_may_hold_anything(tmp_path: Path) -> None:
    assert _read("day,n\nMonday,1\nTuesday,2\n", tmp_path, ":n").x.tolist() == [[[1], [2]]]


def test_a_byte_order_mark_quotes_empty_lines_and_windows_line_ends_are_no_numbers(tmp_path: Path) -> None:
    assert _read('\ufeff"1","2"\r\n\r\n3,4\r\n', tmp_path).x.tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize(
    "cell", ["nan", "NaN", "inf", "-Infinity", "1_000", "0x1f", "1,5e", "٣", "NA", "1 2", "1e", "--1", "."]
)
def test_a_cell_that_is_no_plain_number_is_refused_by_its_line(cell: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.csv: line 3 has .* in column 'b', where a number is wanted"):
        _read(f'a,b\n1,2\n3,"{cell}"\n', tmp_path)


@pytest.mark.parametrize(
    ("text", "saw"),
    [
        ("a,b\n1,2\n3,\n", "line 3 has nothing in column 'b'"),
        ("1,2\n\n3,x\n", "line 3 has 'x' in column 2"),
        ('a,b\n"1",2\n"\n1",\x1b[31m\n', r"line 4 has '\\x1b\[31m' in column 'b'"),
        ("a\n1e39\n", "line 2 has 1e39 in column 'a', beyond float32"),
        ("a\n1e999\n", "line 2 has 1e999 in column 'a', beyond float32"),
    ],
)
def test_what_is_wrong_is_shown_with_where_it_stands(text: str, saw: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=saw):
        _read(text, tmp_path)


@pytest.mark.parametrize(
    ("key", "saw"),
    [
        (":z", "no column 'z', it has a, b, a; give names, or numbers from 1 to 3"),
        (":0", "no column '0'"),
        (":4", "no column '4'"),
        (":a", "several columns 'a'; give the number of one"),
        (":b,", "no column ''"),
    ],
)
def test_a_column_that_is_not_there_or_there_twice_is_refused(key: str, saw: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=saw):
        _read("a,b,a\n1,2,3\n", tmp_path, key)


@pytest.mark.parametrize(
    ("text", "saw"),
    [
        (b"", "x.csv cannot be read: it has no line"),
        (b"1,2\n3\n", "line 2 has 1 field where the first has 2"),
        (b"1,2\n3,\xff\n", "line 2 is no UTF-8"),
        (b'1,2\n3,"4\n', "line 2 is no line of a table"),
        (b"1,2\n" + b"1" * (csv_file.LONGEST_LINE + 1), "line 2 has more than 1048576 bytes"),
        (b"1," * csv_file.MOST_FIELDS + b"1\n", "line 1 has 10001 fields, above 10000"),
    ],
)
def test_what_is_no_table_is_refused_by_its_line(text: bytes, saw: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(text)
    with pytest.raises(UnreadableError, match=saw):
        data(str(tmp_path / "x.csv"))


def test_rows_and_numbers_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MOST_ROWS", 10)
    with pytest.raises(UnreadableError, match=r"more than 10 rows; save it as x\.npy"):
        _read("1\n" * 11, tmp_path)
    monkeypatch.setattr(csv_file, "MOST_NUMBERS", 5)
    with pytest.raises(UnreadableError, match="more than 5 numbers"):
        _read("1\n" * 6, tmp_path)
    assert _read("1\n" * 5, tmp_path).x.shape == (1, 5, 1)


def test_a_header_alone_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.csv is empty"):
        _read("a,b\n", tmp_path)


def test_numbers_written_by_numpy_are_read_alike(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    np.savetxt(tmp_path / "x.csv", numbers, delimiter=",", fmt="%.9g")
    np.testing.assert_array_equal(data(str(tmp_path / "x.csv")).x[0], numbers)


def _read(text: str, folder: Path, key: str = ""):  # type: ignore[no-untyped-def]
    (folder / "x.csv").write_text(text, encoding="utf-8", newline="")
    return data(f"{folder}/x.csv{key}")
