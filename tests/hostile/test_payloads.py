"""No file makes us import, run, write or connect to anything: watched by Python's own audit hook."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostile.payloads import HARMLESS_FOR_ANYONE, PAYLOADS, REFUSED

PROGRAM = Path(__file__).with_name("watch.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each payload, all read by one program; `left` are the files that were not there before."""
    jobs, folders, before = [], [], []
    for number, payload in enumerate(PAYLOADS.values()):
        folder = tmp_path_factory.mktemp(f"payload{number}")
        (folder / "precious").mkdir()
        path, read = payload(folder, folder / "sentinel")
        jobs.append([read.__module__, read.__name__, str(path)])
        folders.append(folder)
        before.append(sorted(folder.rglob("*")))
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(jobs)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=True,
    )
    results = json.loads(ran.stdout)
    for result, folder, there in zip(results, folders, before, strict=True):
        result["changed"] = sorted(folder.rglob("*")) != there
    return dict(zip(PAYLOADS, results, strict=True))


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_payload_runs(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes[name]["seen"] == []
    assert not outcomes[name]["changed"]


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_payload_is_refused_or_called_dangerous(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    outcome = outcomes[name]
    assert bool(outcome["error"]) == (name in REFUSED), outcome
    assert outcome["error"] or outcome["dangers"] or name in HARMLESS_FOR_ANYONE


@pytest.mark.parametrize("name", ["os.system in a pickle", "builtins.exec in a pickle", "the INST opcode"])
def test_the_payloads_are_no_fakes(name: str, tmp_path: Path) -> None:
    """Python's own loader falls for them."""
    path, _ = PAYLOADS[name](tmp_path, tmp_path / "sentinel")
    pickle.loads(path.read_bytes())  # noqa: S301  (that is the point)
    assert (tmp_path / "sentinel").exists()


def test_the_watch_sees_what_is_forbidden(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    program = (
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); import watch, os; sys.addaudithook(watch.hook);"
        f"open({str(tmp_path / 'b')!r}, 'w').close(); import this_is_no_module_of_ours"
    )
    ran = subprocess.run(
        [sys.executable, "-c", f"try:\n exec({program!r})\nexcept ImportError: print(watch.seen)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "open" in ran.stdout
    assert "import" in ran.stdout
