"""What holds for every kind: nothing heavy is loaded, nothing but the named file is opened, one error family leaves."""

import random
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gatescope.data.reading import SPECS, data
from gatescope.errors import InputError, UnreadableError

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "pandas", "pyarrow", "matplotlib", "safetensors", "scipy", "xarray"}
FILES = {
    "x.npy": "x.npy",
    "x.npz": "x.npz:a",
    "x.safetensors": "x.safetensors:a",
    "x.wav": "x.wav:2",
    "x.csv": "x.csv:b",
    "x.txt": "x.txt",
}
WATCH = """
import sys
from gatescope.data import reading
seen = []
def watch(event, args):
    if event in ("open", "import", "exec", "compile", "os.system", "subprocess.Popen") or event.startswith("socket."):
        seen.append((event, args))
import numpy.random, wave, zipfile, csv, tokenize, safetensors.numpy, encodings.cp437, encodings.utf_32_le
sys.addaudithook(watch)
for spec in {specs!r}:
    del seen[:]
    reading.data(spec)
    print(spec.split(":")[0], *sorted(set(str(args[0]) for event, args in list(seen) if event == "open")), sep="|")
    other = [(event, args[0]) for event, args in list(seen) if event not in ("open", "compile", "import")]
    assert not other, other
"""


def test_importing_the_room_loads_nothing_heavy() -> None:
    loaded = _python("import gatescope.data.reading, sys; print(*sys.modules)", ROOT).split()
    assert "gatescope.data.csv_file" in loaded
    assert not HEAVY & {name.partition(".")[0] for name in loaded}
    assert not {name for name in loaded if name.startswith(("gatescope.recording", "gatescope.checkpoints"))}


def test_no_file_is_opened_but_the_one_that_was_named(tmp_path: Path) -> None:
    _make(tmp_path)
    lines = _python(WATCH.format(specs=list(FILES.values())), tmp_path).splitlines()
    assert [set(line.split("|")) for line in lines] == [{name} for name in FILES]


@pytest.mark.parametrize("name", FILES)
def test_a_mutated_file_is_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    _make(tmp_path)
    whole = (tmp_path / name).read_bytes()
    chance = random.Random(0)
    refused = []
    for _ in range(300):
        (tmp_path / name).write_bytes(_mutated(whole, chance))
        try:
            data(f"{tmp_path}/{FILES[name]}")
        except (InputError, UnreadableError) as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(said.startswith(name) and "\n" not in said and str(tmp_path) not in said for said in refused)


def test_every_kind_says_how_it_is_written_and_no_two_alike() -> None:
    forms = [kind.form for kind in SPECS]
    assert len(set(forms)) == len(forms) == 10
    assert {kind.suffix for kind in SPECS} == {".npy", ".npz", ".safetensors", ".wav", ".parquet", ".csv", ".txt", ""}


def _mutated(whole: bytes, chance: random.Random) -> bytes:
    """Cut, with bits flipped, with a stretch repeated, or with numbers as large as they get."""
    at = chance.randrange(len(whole))
    data = bytearray(whole)
    match chance.randrange(4):
        case 0:
            return bytes(data[:at])
        case 1:
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(min(len(data), 200))] ^= 1 << chance.randrange(8)
        case 2:
            data[at:at] = data[at : at + chance.randint(1, 40)]
        case _:
            at = chance.randrange(min(len(data), 200))
            data[at : at + 4] = chance.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"9999", b"((((", b"\n,\"'"]
            )
    return bytes(data)


def _make(folder: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    np.save(folder / "x.npy", x)
    np.savez_compressed(folder / "x.npz", a=x, b=x)
    save_file({"a": x, "b": x}, folder / "x.safetensors")
    with wave.open(str(folder / "x.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(range(64)))
    (folder / "x.csv").write_text("a,b\n" + "".join(f"{t},{t / 8}\n" for t in range(20)))
    (folder / "x.txt").write_text("Wer reitet so spät durch Nacht und Wind?\n" * 3, encoding="utf-8")


def _python(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
