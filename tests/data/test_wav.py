"""Sound: frames of samples in units of full scale, whatever the width and the number of channels."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from gatescope.data.reading import data
from gatescope.errors import InputError, UnreadableError

SOUND = np.float32([0, 0.5, -0.5, -1, 0.25, 0.75, 0.125])
"""Seven samples that every width holds exactly."""


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_any_width_are_parts_of_full_scale(width: int, tmp_path: Path) -> None:
    _write(tmp_path, SOUND, width)
    found = data(f"{tmp_path}/x.wav:3")
    np.testing.assert_array_equal(found.x, SOUND[:6].reshape(1, 2, 3))
    assert found.what.startswith(
        "x.wav: 1 sequence of 2 steps, 3 features; frames of 3 samples at 8000 Hz; the last 1 sample left out; sha256 "
    )


def test_channels_become_their_mean(tmp_path: Path) -> None:
    _write(tmp_path, np.stack([SOUND, -SOUND / 2], 1).reshape(-1), 2, channels=2)
    found = data(f"{tmp_path}/x.wav:7")
    np.testing.assert_allclose(found.x[0, 0], SOUND / 4, atol=2**-16)  # one step of 16 bits, which rounds the halves
    assert "the mean of 2 channels" in found.what


def test_a_frame_is_what_the_layer_takes_where_the_spec_does_not_say(tmp_path: Path) -> None:
    _write(tmp_path, SOUND, 2)
    assert data(f"{tmp_path}/x.wav", features=2).x.shape == (1, 3, 2)
    with pytest.raises(InputError, match=r"given no frame; say how many samples one has, as in x\.wav:512"):
        data(f"{tmp_path}/x.wav")


@pytest.mark.parametrize("key", ["0", "-1", "1.5", "512 samples", "²", "1" * 30])
def test_a_frame_is_a_whole_number_of_samples(key: str, tmp_path: Path) -> None:
    _write(tmp_path, SOUND, 2)
    with pytest.raises(InputError, match=r"say how many samples one has"):
        data(f"{tmp_path}/x.wav:{key}")


def test_sound_shorter_than_a_frame_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, SOUND, 2)
    with pytest.raises(InputError, match="has 7 samples where one frame takes 8"):
        data(f"{tmp_path}/x.wav:8")


def test_a_file_that_ends_before_its_sound_does_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, SOUND, 2)
    whole = (tmp_path / "x.wav").read_bytes()
    for cut in (whole[:-2], whole[:20], whole[:12]):
        (tmp_path / "x.wav").write_bytes(cut)
        with pytest.raises(UnreadableError, match=r"x\.wav cannot be read"):
            data(f"{tmp_path}/x.wav:2")


def test_a_header_that_declares_gigabytes_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(wave.Wave_read, "readframes")
    _write(tmp_path, SOUND, 2)
    lying = bytearray((tmp_path / "x.wav").read_bytes())
    lying[4:8] = lying[40:44] = struct.pack("<L", 0xFFFFFFF0)
    (tmp_path / "x.wav").write_bytes(lying)
    with pytest.raises(UnreadableError, match="fewer than the 2147483640 samples that it declares"):
        data(f"{tmp_path}/x.wav:2")


def test_sound_that_is_no_pcm_is_refused_with_what_to_do(tmp_path: Path) -> None:
    _write(tmp_path, SOUND, 4)
    floats = bytearray((tmp_path / "x.wav").read_bytes())
    floats[20:22] = struct.pack("<H", 3)
    (tmp_path / "x.wav").write_bytes(floats)
    with pytest.raises(UnreadableError, match=r"unknown format: 3\); convert it to 16-bit PCM"):
        data(f"{tmp_path}/x.wav:2")


@pytest.mark.parametrize("bits", [40, 64, 128])
def test_samples_wider_than_any_are_refused(bits: int, tmp_path: Path) -> None:
    _write(tmp_path, SOUND, 4)
    wide = bytearray((tmp_path / "x.wav").read_bytes())
    wide[34:36] = struct.pack("<H", bits)
    (tmp_path / "x.wav").write_bytes(wide)
    with pytest.raises(UnreadableError, match=f"its samples have {bits} bits; convert it"):
        data(f"{tmp_path}/x.wav:2")


def _write(folder: Path, sound: np.ndarray, width: int, channels: int = 1) -> None:
    """Through struct and wave, so that the oracle is not our own arithmetic on arrays."""
    whole = [round(float(sample) * 2 ** (8 * width - 1)) for sample in sound]
    pieces = [sample.to_bytes(width, "little", signed=True) for sample in whole]
    if width == 1:
        pieces = [bytes([sample + 128]) for sample in whole]
    with wave.open(str(folder / "x.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(b"".join(pieces))
