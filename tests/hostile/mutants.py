"""Damages files at random and reads them; run as a program: folder of sound files, damaged files of each, seed.

It prints JSON: how many were refused and how many read, the slowest, the largest memory that one took as tracemalloc
sees it, and whatever was raised that is no CheckpointError. Archives are damaged as they are, and in a member whose
checksum is then made right again.
"""

import collections
import io
import json
import random
import shutil
import sys
import time
import traceback
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.checkpoints.pickled_arrays import read_pickled_arrays
from gatescope.checkpoints.torch_distributed import read_torch_distributed
from gatescope.checkpoints.torch_exported import read_torch_exported
from gatescope.checkpoints.torch_legacy import read_torch_legacy
from gatescope.checkpoints.torch_zip import read_torch_zip
from gatescope.errors import CheckpointError

READERS = {
    ".pt": read_torch_zip,
    ".old": read_torch_legacy,
    ".pkl": read_pickled_arrays,
    ".pt2": read_torch_exported,
    ".dcp": read_torch_distributed,
}
TELLING = [b".", b"(", b"0", b"]", b"}", b")", b"t", b"R", b"b", b"Q", b"a", b"e", b"s", b"u", b"q\x00", b"h\x00", b"2"]
NUMBERS = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x00" * 8, b"\xff" * 8, b"\x8a\xff", b"\x8e" + b"\xff" * 8]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Between one and eight changes: bits, bytes, stretches cut, doubled or moved, operations of pickles put in."""
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(8):
            case 0:
                out[at : at + 1] = bytes([draw.randrange(256)])
            case 1 if at < len(out):
                out[at] ^= 1 << draw.randrange(8)
            case 2:
                del out[at : at + draw.randrange(1, 20)]
            case 3:
                out[at:at] = out[at : at + draw.randrange(1, 50)]
            case 4:
                out[at:at] = draw.choice(TELLING) * draw.choice([1, 1, 2, 50])
            case 5:
                out[at : at + 4] = draw.choice(NUMBERS)
            case 6:
                start = draw.randrange(len(out) + 1)
                out[at : at + 10] = out[start : start + 10]
            case 7:
                del out[at:]
                out = out or bytearray(b"\x80")
    return bytes(out)


def mutant(data: bytes, draw: random.Random) -> bytes:
    if data[:4] != b"PK\x03\x04" or draw.random() < 0.2:
        return damaged(data, draw)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    telling = [name for name in members if name.endswith((".pkl", ".json", "byteorder", ".pt"))]
    chosen = draw.choice(telling)
    members[chosen] = damaged(members[chosen], draw)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return out.getvalue()


def main(folder: Path, count: int, seed: int) -> dict[str, Any]:
    draw, outcome, strange = random.Random(seed), collections.Counter[str](), []
    slowest, largest = 0.0, 0
    np.lib.stride_tricks.as_strided(np.zeros(2), (2,), (8,))
    for sound in sorted(folder.iterdir()):
        if sound.suffix not in READERS:
            continue
        bad = folder / f"bad_{sound.name}.tmp"
        if sound.is_dir():
            shutil.copytree(sound, bad)
        target, original = (bad / ".metadata", sound / ".metadata") if sound.is_dir() else (bad, sound)
        data = original.read_bytes()
        for number in range(count):
            target.write_bytes(mutant(data, draw))
            measured = number % 10 == 0  # tracemalloc is slow
            if measured:
                tracemalloc.start()
            begin = time.perf_counter()
            try:
                found = READERS[sound.suffix](bad)
                for array in found.arrays.values():
                    array.read()
                outcome["read"] += 1
            except CheckpointError:
                outcome["refused"] += 1
            except BaseException:  # noqa: BLE001  (that is what is looked for)
                strange.append(f"{sound.name}, mutant {number}: {traceback.format_exc(limit=-3)}")
            slowest = max(slowest, time.perf_counter() - begin)
            if measured:
                largest = max(largest, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
    return {**outcome, "slowest": slowest, "largest": largest, "strange": strange[:5]}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201
