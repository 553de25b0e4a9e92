"""`gatescope demo`: findings and the path on stdout, progress on stderr, one page."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gatescope.cli.demo import demo
from gatescope.research import demo as demo_module
from gatescope.research.demo import Demo, Settings, run_demo
from gatescope.research.findings import findings


@pytest.fixture(scope="module")
def measured() -> Demo:
    return run_demo(settings=Settings(sequences=300, hidden_size=4, epochs=2, ahead=10, shown=2))


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, measured: Demo) -> list[Settings]:
    """What the command asks of the demo, which answers at once."""
    asked = []

    def answer(progress: Any, *, settings: Settings) -> Demo:
        asked.append(settings)
        progress("training the LSTM", 1, 2)
        return measured

    monkeypatch.setattr(demo_module, "run_demo", answer)
    return asked


def test_it_prints_what_was_found_and_where_the_page_is(tmp_path: Path, measured: Demo) -> None:
    *said, path = _run("--out", str(tmp_path / "new" / "page.html")).stdout.splitlines()
    assert said == list(findings(measured))
    assert path == str(tmp_path / "new" / "page.html")
    assert Path(path).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_classic_example_is_run_with_the_seed_that_is_given(tmp_path: Path, asked: list[Settings]) -> None:
    _run("--out", str(tmp_path / "page.html"), "--seed", "3")
    _run("--out", str(tmp_path / "page.html"))
    assert asked == [Settings(seed=3), Settings()]


def test_quiet_says_nothing_on_stderr(tmp_path: Path) -> None:
    assert _run("--out", str(tmp_path / "page.html"), "--quiet").stderr == ""


def test_a_folder_that_cannot_be_made_is_learnt_of_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_module, "run_demo", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / "file").write_text("")
    ran = CliRunner().invoke(demo, ["--out", str(tmp_path / "file" / "page.html"), "--quiet"])
    assert isinstance(ran.exception, OSError)


def _run(*args: str) -> Result:
    ran = CliRunner().invoke(demo, args, catch_exceptions=False)
    assert ran.exit_code == 0
    return ran
