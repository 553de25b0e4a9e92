"""From numbers to sequences: what each dimension is, windows, tokens, what is no number; targets and lengths alike."""

from pathlib import Path

import numpy as np
import pytest

from gatescope.data.reading import data, target, with_lengths
from gatescope.errors import InputError


@pytest.mark.parametrize(
    ("stored", "shape"), [((6,), (1, 6, 1)), ((6, 2), (1, 6, 2)), ((3, 6, 2), (3, 6, 2)), ((1, 1, 1), (1, 1, 1))]
)
def test_what_each_dimension_is(stored: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(stored)
    np.testing.assert_array_equal(_data(x, tmp_path).x, x.reshape(shape).astype("f4"))


@pytest.mark.parametrize("shape", [(), (2, 2, 2, 2), (0,), (3, 0, 2), (0, 4)])
def test_other_dimensions_and_nothing_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.npy (is empty|has \d dimensions? where one to three are wanted)"):
        _data(np.zeros(shape), tmp_path)


def test_windows_follow_each_other_without_overlap_and_what_fills_none_is_left_out_and_said(tmp_path: Path) -> None:
    found = _data(np.arange(20.0).reshape(10, 2), tmp_path, window=4)
    np.testing.assert_array_equal(found.x, np.arange(16).reshape(2, 4, 2))
    assert "; one sequence of 10 steps cut into 2 windows, the last 2 steps left out; " in found.what
    assert found.cut == (10, 2)


def test_a_window_longer_than_the_sequence_is_the_sequence(tmp_path: Path) -> None:
    found = _data(np.arange(10.0), tmp_path, window=40)
    assert found.x.shape == (1, 10, 1)
    assert "cut" not in found.what


def test_sequences_are_not_cut_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is 3 sequences of 6 steps and not one long one; leave the window out"):
        _data(np.zeros((3, 6, 2)), tmp_path, window=2)


@pytest.mark.parametrize("option", ["window", "most"])
def test_a_number_below_one_cuts_nothing(option: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be cut; give a number from 1"):
        _data(np.zeros(6), tmp_path, **{option: 0})


def test_no_more_sequences_than_asked_for(tmp_path: Path) -> None:
    found = _data(np.arange(12.0).reshape(4, 3, 1), tmp_path, most=2)
    assert found.x[:, 0, 0].tolist() == [0, 3]
    assert "; the first 2 of 4 sequences; " in found.what
    assert "first" not in _data(np.zeros((4, 3, 1)), tmp_path, most=4).what


def test_integers_are_tokens_where_nobody_says_how_many_features_are_wanted(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.int32)
    one = _data(ids, tmp_path, window=4)
    assert one.x.dtype == np.int64
    assert one.x.tolist() == ids.reshape(3, 4).tolist()
    assert "3 sequences of 4 steps, ids of tokens;" in one.what
    assert _data(ids.reshape(2, 6), tmp_path).x.tolist() == ids.reshape(2, 6).tolist()
    assert _data(ids.reshape(2, 6), tmp_path, features=6).x.shape == (1, 2, 6)
    assert _data(ids.reshape(2, 3, 2), tmp_path).x.dtype == np.float32
    with pytest.raises(InputError, match="has -1 as a token"):
        _data(-np.arange(2), tmp_path)


def test_numbers_that_are_not_finite_are_kept_and_counted(tmp_path: Path) -> None:
    x = np.zeros((2, 5, 3))
    x[0, 1, 2], x[1, 4] = np.nan, [np.inf, -np.inf, 0]
    found = _data(x, tmp_path)
    np.testing.assert_array_equal(found.x, x.astype("f4"))
    assert "; 3 of 30 numbers not finite; " in found.what


def test_what_stands_after_the_end_of_a_sequence_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "padded_to_test.py").write_text(
        "import numpy as np\ndef x():\n"
        "    x = np.zeros((2, 3, 1))\n    x[1, 1:] = x[0, 0] = np.nan\n    return x, [3, 1]"
    )
    assert "; 1 of 6 numbers not finite; " in data("padded_to_test:x").what


def test_a_signalling_nan_is_one_that_is_not_finite(tmp_path: Path) -> None:
    found = _data(np.array([0x7FF0000000000001, 0], np.uint64).view(np.float64), tmp_path)
    assert "; 1 of 2 numbers not finite; " in found.what


def test_a_number_beyond_float32_is_refused_and_not_made_infinite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has numbers beyond float32, 3\.4e38"):
        _data(np.array([1.0, 1e300]), tmp_path)
    with pytest.raises(InputError, match=r"y\.npy has numbers beyond float32"):
        _target(np.array([1e300]), _data(np.zeros(3), tmp_path), tmp_path)


def test_another_number_of_features_than_the_layer_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.npy has 2 features where the layer takes 8; give data with 8"):
        _data(np.zeros((3, 6, 2)), tmp_path, features=8)


def test_a_target_has_an_entry_for_each_sequence(tmp_path: Path) -> None:
    of = _data(np.zeros((4, 3, 2)), tmp_path, most=3)
    classes = _target(np.array([2, 0, 1, 1], np.int8), of, tmp_path)
    assert classes.y.tolist() == [2, 0, 1]
    assert classes.y.dtype == np.int64
    assert classes.what.startswith("y.npy: 3 int64; sha256 ")
    numbers = _target(np.arange(24.0).reshape(4, 3, 2), of, tmp_path)
    assert numbers.y.dtype == np.float32
    assert numbers.y.shape == (3, 3, 2)
    assert numbers.what.startswith("y.npy: 3 x 3 x 2 float32; sha256 ")


def test_a_target_for_each_step_is_cut_as_the_data_was(tmp_path: Path) -> None:
    of = _data(np.arange(10.0), tmp_path, window=4)
    np.testing.assert_array_equal(_target(np.arange(10), of, tmp_path).y, of.x[..., 0])
    assert _target(np.zeros((10, 2)), of, tmp_path).y.shape == (2, 4, 2)
    few = _data(np.arange(10.0), tmp_path, window=3, most=2)
    np.testing.assert_array_equal(_target(np.arange(10), few, tmp_path).y, few.x[..., 0])
    assert _target(np.arange(3), few, tmp_path).y.tolist() == [0, 1]


@pytest.mark.parametrize("entries", [(3,), (9, 2), (), (0,)])
def test_a_target_with_another_number_of_entries_is_refused(entries: tuple[int, ...], tmp_path: Path) -> None:
    of = _data(np.arange(10.0), tmp_path, window=4)
    with pytest.raises(
        InputError, match=r"y\.npy has \d entries where the data has 10 steps, in 2 sequences; give one"
    ):
        _target(np.zeros(entries), of, tmp_path)


def test_the_target_of_a_text_is_the_ids_of_its_characters(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("banana")
    (tmp_path / "y.txt").write_text("ananab")
    of = data(f"{tmp_path}/x.txt", window=3)
    assert target(f"{tmp_path}/y.txt", of).y.tolist() == [[0, 2, 0], [2, 0, 1]]


@pytest.mark.parametrize("spec", ["3,1,2", "l.npy", "l.csv", "l.npz:a"])
def test_lengths_are_numbers_or_a_spec_that_names_them(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("l.npy", np.array([3, 1, 2], np.uint8))
    np.savez("l.npz", a=np.array([3.0, 1.0, 2.0]))
    Path("l.csv").write_text("length\n3\n1\n2\n")
    of = _data(np.zeros((3, 4, 2)), tmp_path)
    found = with_lengths(spec, of)
    assert found.lengths is not None
    assert found.lengths.tolist() == [3, 1, 2]
    assert found.lengths.dtype == np.int64
    assert found.what == f"{of.what}; lengths from 1 to 3 steps"
    assert with_lengths(spec, _data(np.zeros((3, 4, 2)), tmp_path, most=2)).lengths.tolist() == [3, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("spec", "saw"),
    [
        ("3,5,2", "has 5 as the length of sequence 1 .*; give a whole number from 1 to 4"),
        ("0,1,2", "has 0 as the length of sequence 0"),
        ("3,1", r"lengths of shape \[2\] where x has 3 sequences; give 3 numbers"),
        ("l.npy", "has 1.5 as the length of sequence 2"),
        ("n.npy", "has nan as the length of sequence 0"),
        ("s.npy", r"lengths of shape \[\] where"),
        ("3,1,2,", "names no file"),
    ],
)
def test_lengths_that_cannot_be_are_refused(
    spec: str, saw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("l.npy", np.array([3, 1, 1.5]))
    np.save("n.npy", np.array([np.nan, 1, 1]))
    np.save("s.npy", np.array(3))
    with pytest.raises(InputError, match=saw):
        with_lengths(spec, _data(np.zeros((3, 4, 2)), tmp_path))


def _data(x: np.ndarray, folder: Path, **options):  # type: ignore[no-untyped-def]
    np.save(folder / "x.npy", x)
    return data(f"{folder}/x.npy", **options)


def _target(y: np.ndarray, of, folder: Path):  # type: ignore[no-untyped-def]
    np.save(folder / "y.npy", y)
    return target(f"{folder}/y.npy", of)
