"""Data made by others: speech, a text, a table; the oracle is the standard library, counting with its own hands."""

import hashlib
import struct
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gatescope.data.reading import data, target
from gatescope.errors import InputError, UnreadableError


@pytest.mark.parametrize("name", ["de", "test"])
def test_a_minute_of_speech_in_frames_of_512_samples(name: str, real: Path) -> None:
    file = real / "data" / "speech_silero" / f"{name}.wav"
    found = data(f"{file}:512")
    assert found.x.shape == (1, 1875, 512)
    with wave.open(str(file)) as sound:
        sound.setpos(512 * 700)
        frame = struct.unpack("<512h", sound.readframes(512))
    np.testing.assert_array_equal(found.x[0, 700], np.float32(frame) / 32768)
    assert "frames of 512 samples at 16000 Hz" in found.what
    assert hashlib.sha256(file.read_bytes()).hexdigest() in found.what
    assert data(str(file), features=512, window=25).x.shape == (75, 25, 512)


def test_a_text_of_a_million_characters_in_windows(real: Path) -> None:
    file = real / "data" / "tinyshakespeare" / "input.txt"
    text = file.read_text(encoding="utf-8")
    found = data(str(file), window=100)
    assert found.tokens == tuple(sorted(set(text)))
    assert found.x.shape == (11153, 100, 65)
    assert "".join(found.tokens[at] for at in found.x[5000].argmax(-1)) == text[500_000:500_100]
    counted = Counter(text[: 11153 * 100])
    assert found.x.sum((0, 1), dtype=np.float64).tolist() == [counted[sign] for sign in found.tokens]
    assert "one sequence of 1115394 steps cut into 11153 windows, the last 94 steps left out" in found.what
    shifted = target(str(file), data(str(file), window=100, one_hot=False))
    assert shifted.y.shape == (11153, 100)


def test_a_table_of_months_is_read_by_the_column_that_holds_numbers(real: Path) -> None:
    file = real / "data" / "aeon_ts" / "Airline.csv"
    found = data(f"{file}:Passengers")
    assert found.x.shape == (1, 144, 1)
    assert found.x[0, [0, 1, -1], 0].tolist() == [112, 118, 432]
    assert data(f"{file}:2", window=12).x.shape == (12, 12, 1)
    with pytest.raises(InputError, match=r"Airline\.csv: line 2 has '1949-01' in column 'Date', where a number"):
        data(str(file))


def test_a_pickled_vocabulary_is_refused_and_not_opened(real: Path) -> None:
    folder = real / "data" / "warandpeace"
    with pytest.raises(UnreadableError, match=r"vocab\.pkl cannot be read: .*; save the vocabulary as JSON"):
        data(str(folder / "input.txt"), vocab=folder / "vocab.pkl", most=1)


def test_the_vocabulary_of_a_trained_network_is_read(real: Path, tmp_path: Path) -> None:
    file = real / "checkpoints" / "textgenrnn" / "textgenrnn_vocab.json"
    (tmp_path / "x.txt").write_text("A robot's song")
    found = data(str(tmp_path / "x.txt"), vocab=file)
    assert len(found.tokens) == 465  # 464 characters, and 0, which stands for none
    assert found.tokens[0] == ""
    assert "".join(found.tokens[at] for at in found.x[0].argmax(-1)) == "A robot's song"
