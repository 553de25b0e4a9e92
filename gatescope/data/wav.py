"""`x.wav:512`: sound, one step a frame of 512 samples that follow each other, in units of full scale, -1 to 1.

PCM of 8 to 32 bits, read by the standard library; of several channels the mean.
"""

import wave

import numpy as np

from ..errors import InputError
from .found import Found, Options, count, damaged, digest
from .place import Place, quoted, shown

MOST_SAMPLES = 1_000_000
"""In one frame."""
WIDEST = 4
"""Bytes in a sample."""


def is_wav(place: Place) -> bool:
    return place.head[:4] == b"RIFF" and place.head[8:12] == b"WAVE"


def read_wav(place: Place, options: Options) -> Found:
    """The frames, float32 [time, sample]; of as many samples as the key says, or as the layer takes.

    Raises:
        InputError: nobody says how long a frame is, or there is less sound than one.
        UnreadableError: the file is damaged, or no PCM.
    """
    samples = _samples(place, options)
    with place.file.open("rb") as file:
        sha256 = digest(file)
        try:
            with wave.open(file) as sound:
                channels, width, rate, frames, _, _ = sound.getparams()
                if width > WIDEST:
                    raise damaged(place.name, f"its samples have {8 * width} bits", do="convert it to 16-bit PCM")
                if frames * channels * width > place.file.stat().st_size:
                    raise damaged(place.name, f"it has fewer than the {frames} samples that it declares")
                data = sound.readframes(frames)
        except (wave.Error, EOFError, RuntimeError) as error:
            saw = shown(str(error)) or "it ends too early"
            raise damaged(place.name, f"as a file of PCM sound ({saw})", do="convert it to 16-bit PCM") from error
    if len(data) != frames * channels * width:
        raise damaged(place.name, f"it has fewer than the {frames} samples that it declares")
    if frames < samples:
        raise InputError(
            f"{place.name} has {count(frames, 'sample')} where one frame takes {samples}; give shorter frames."
        )
    mono = _full_scale(data, width).reshape(-1, channels).mean(axis=1, dtype=np.float32)
    steps = frames // samples
    left = frames - steps * samples
    remarks = (
        f"frames of {samples} samples at {rate} Hz",
        *([f"the mean of {channels} channels"] if channels > 1 else []),
        *([f"the last {count(left, 'sample')} left out"] if left else []),
    )
    return Found(mono[: steps * samples].reshape(steps, samples), place.name, sha256, remarks=remarks)


def _samples(place: Place, options: Options) -> int:
    """In a frame."""
    if not place.key and options.features:
        return options.features
    if not (place.key.isascii() and place.key.isdigit() and 1 <= int(place.key[:9]) <= MOST_SAMPLES):
        said = f"a frame of {quoted(place.key)}" if place.key else "no frame"
        raise InputError(f"{place.name} was given {said}; say how many samples one has, as in {place.name}:512.")
    return int(place.key[:9])


def _full_scale(data: bytes, width: int) -> np.ndarray:
    """Little-endian integers of `width` bytes, as parts of the largest; those of one byte have no sign."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    samples: np.ndarray = np.frombuffer(data, np.dtype(f"<i{width}")).astype(np.float32)
    samples /= 2 ** (8 * width - 1)
    return samples
