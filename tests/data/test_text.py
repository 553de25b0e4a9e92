"""Text: one character a step, in a vocabulary's order or in the text's own; a character that is unknown is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from gatescope.data import sequences
from gatescope.data.reading import data
from gatescope.errors import InputError, UnreadableError


def test_characters_are_one_hot_in_the_order_of_the_texts_own(tmp_path: Path) -> None:
    found = _read("banana\n", tmp_path, window=3)
    assert found.tokens == ("\n", "a", "b", "n")
    assert found.x.argmax(-1).tolist() == [[2, 1, 3], [1, 3, 1]]
    np.testing.assert_array_equal(found.x.sum(-1), 1)
    assert found.what.startswith(
        "x.txt: 2 sequences of 3 steps, 4 features; one-hot over its own 4 characters; "
        "one sequence of 7 steps cut into 2 windows, the last 1 step left out; sha256 "
    )


def test_characters_can_stay_ids(tmp_path: Path) -> None:
    found = _read("banana", tmp_path, one_hot=False)
    assert found.x.tolist() == [[2 - 1, 0, 2, 0, 2, 0]]
    assert found.x.dtype == np.int64
    assert found.tokens == ("a", "b", "n")


def test_a_text_is_cut_into_windows_of_two_hundred_characters_if_nobody_says_otherwise(tmp_path: Path) -> None:
    assert _read("ab" * 250, tmp_path).x.shape == (2, 200, 2)
    assert _read("ab" * 50, tmp_path).x.shape == (1, 100, 2)
    assert _read("ab" * 250, tmp_path, most=1).x.shape == (1, 200, 2)


def test_every_character_counts_as_it_stands_in_the_file(tmp_path: Path) -> None:
    assert _read("\ufeffa\r\né😀", tmp_path).tokens == ("\n", "\r", "a", "é", "\ufeff", "😀")


@pytest.mark.parametrize(
    ("file", "content", "tokens"),
    [
        ("v.json", json.dumps(["n", "b", "a", "\n"]), ("n", "b", "a", "\n")),
        ("v.json", json.dumps({"n": 1, "b": 2, "a": 4, "\n": 3}), ("", "n", "b", "\n", "a")),
        ("v.json", json.dumps({"n": 0, "b": 1, "a": 2, "<unknown>": 3}), ("n", "b", "a", "<unknown>")),
        ("v.txt", "n\nb\na\n\\n\n \n\\\\\n{\n", ("n", "b", "a", "\n", " ", "\\", "{")),
        ("v", "n\nb\na", ("n", "b", "a")),
    ],
)
def test_a_vocabulary_gives_each_character_its_id(
    file: str, content: str, tokens: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    found = _read("banana", tmp_path, vocab=tmp_path / file)
    assert found.tokens == tokens
    assert [tokens[at] for at in found.x[0].argmax(-1)] == list("banana")
    assert f"one-hot over the {len(tokens)} characters of {file};" in found.what


def test_a_character_that_the_vocabulary_has_not_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps(["a", "\n"]))
    with pytest.raises(InputError, match=r"x\.txt: line 3 has '\\xe9', which v\.json has not; add it there"):
        _read("a\na\naé\n", tmp_path, vocab=tmp_path / "v.json")


@pytest.mark.parametrize(
    ("file", "content", "saw"),
    [
        ("v.json", b"{", "it is no JSON"),
        ("v.json", b"[" * 100_000, "it is no JSON"),
        ("v.json", b"3", "neither a list of characters nor"),
        ("v.json", b"{}", "neither a list of characters nor"),
        ("v.json", b'{"a": -1}', "neither a list of characters nor"),
        ("v.json", b'{"a": true}', "neither a list of characters nor"),
        ("v.json", b'{"a": 9999999999999}', "neither a list of characters nor"),
        ("v.json", b'{"a": 1, "b": 1}', "gives 'b' and 'a' the id 1"),
        ("v.json", b'["a", "a"]', "lists 'a' twice"),
        ("v.txt", b"", "lists no character"),
        ("v.pkl", b"\x80\x03}q\x00.", "neither JSON nor text in UTF-8; save the vocabulary as JSON"),
    ],
)
def test_what_is_no_vocabulary_is_refused(file: str, content: bytes, saw: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises((InputError, UnreadableError), match=saw):
        _read("a", tmp_path, vocab=tmp_path / file)


def test_a_vocabulary_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the vocabulary v\.json could not be read \(No such file"):
        _read("a", tmp_path, vocab=tmp_path / "v.json")


def test_a_text_that_is_empty_or_no_utf_8_or_asked_for_a_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.txt is empty; give a text"):
        _read("", tmp_path)
    (tmp_path / "x.txt").write_bytes(b"a\nb\xff")
    with pytest.raises(UnreadableError, match="line 2 is no UTF-8"):
        data(str(tmp_path / "x.txt"))
    with pytest.raises(InputError, match="is a text, which has no parts; leave 'a' out"):
        data(f"{tmp_path}/x.txt:a")


def test_a_text_that_would_fill_the_memory_as_one_hot_is_refused_unless_less_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "MOST_NUMBERS", 400)
    with pytest.raises(InputError, match="makes 800 numbers as one-hot characters, above 400; choose fewer sequences"):
        _read("ab" * 200, tmp_path)
    assert _read("ab" * 200, tmp_path, most=1).x.shape == (1, 200, 2)


def test_characters_that_are_not_as_many_as_the_layer_takes_want_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 3 features where the layer takes 65; give the vocabulary"):
        _read("banana", tmp_path, features=65)


def _read(text: str, folder: Path, **options):  # type: ignore[no-untyped-def]
    (folder / "x.txt").write_text(text, encoding="utf-8", newline="")
    return data(f"{folder}/x.txt", **options)
