"""`gatescope analyze`: a file alone, in words, as JSON and as a page; exit codes that a script can rely on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import gatescope as gs
from gatescope.cli import ExitCode
from gatescope.cli.analyze import analyze
from gatescope.errors import CheckpointError, InputError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": nn.ModuleDict({"rnn": nn.LSTM(3, 8, 2, batch_first=True)}).state_dict()}, path)
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(analyze, ["--quiet", *map(str, args)])


def test_a_file_alone_is_driven_by_noise_and_says_synthetic(file: Path) -> None:
    shown = run(file)
    assert shown.exit_code == 0
    assert "synthetic: independent N(0, 1), 32 sequences of 200 steps" in shown.output
    assert "rnn.l0" in shown.output
    assert "rnn.l1" in shown.output


def test_json_stands_alone_and_has_its_schema(file: Path) -> None:
    shown = run(file, "--json", "--lag", 20)
    plain = json.loads(shown.output)
    assert plain["schema"] == "gatescope.analyze/1"
    assert [layer["name"] for layer in plain["layers"]] == ["rnn.l0", "rnn.l1"]
    assert {verdict["level"] for verdict in plain["verdicts"]} <= {"vanishing", "dead", "not-exploding"}
    assert plain["horizons"]["rnn.l1"][0]["fraction"] == 0.5
    assert len(plain["provenance"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--fail-on", "vanishing", "--lag", 50), ExitCode.FINDING),
        (("--fail-on", "exploding"), ExitCode.FINE),
        (("--fail-on", "vanishing"), ExitCode.USAGE),
        (("--fail-on", "sunny"), ExitCode.USAGE),
        (("--lag", 0), ExitCode.USAGE),
        (("--windows", "8,x"), ExitCode.USAGE),
        (("--loss", "torch.nn.functional:mse_loss"), ExitCode.USAGE),
        (("--model", "a:b"), ExitCode.USAGE),
        (("--lengths", "3,4"), ExitCode.USAGE),
    ],
)
def test_the_exit_code_says_what_came_of_it(file: Path, args: tuple[object, ...], code: ExitCode) -> None:
    assert run(file, *args).exit_code == code


def test_data_lengths_page_and_analysis_go_where_they_should(file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(9, 30, 3)).astype(np.float32))
    page, saved = tmp_path / "run.html", tmp_path / "run.gatescope"
    lengths = "30,29,28,27,26,25,24,23,22"
    shown = run(
        file, "--data", tmp_path / "x.npy", "--lengths", lengths, "--report", page, "--save", saved, "--windows", "2,4"
    )
    assert shown.exit_code == 0, shown.output
    found = gs.load(saved)
    assert found.curves["rnn.l0"].lengths.tolist() == [30, 29, 28, 27, 26, 25, 24, 23, 22]
    assert found.measured("fresh_window")["rnn.l0"].windows.tolist() == [2, 4]
    assert "<html" in page.read_text(encoding="utf-8")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.rnn(x)[0][:, -1]
        return out


def test_a_model_of_ones_own_is_filled_from_the_file_and_read_by_a_loss(file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((9, 30, 3), np.float32))
    np.save(tmp_path / "y.npy", np.zeros((9, 8), np.float32))
    shown = run(
        *(file, "--data", tmp_path / "x.npy", "--target", tmp_path / "y.npy", "--lag", 5, "--json"),
        *("--model", f"{__name__}:Model", "--loss", "torch.nn.functional:mse_loss"),
    )
    plain = json.loads(shown.output)
    assert plain["provenance"]["loss"] == "mse_loss"
    assert plain["provenance"]["mode"] == "evaluation"
    model = Model()
    model.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    loss = nn.functional.mse_loss(model(torch.ones(9, 30, 3)), torch.zeros(9, 8))
    assert float(plain["provenance"]["value of the loss"]) == pytest.approx(float(loss), rel=1e-5)


def test_a_model_that_is_another_is_refused(file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((9, 30, 3), np.float32))
    for factory, says in (("torch.nn:Identity", "no recurrent|holds no"), ("os:getcwd", "returned a str")):
        shown = run(file, "--data", tmp_path / "x.npy", "--model", factory)
        assert isinstance(shown.exception, InputError)
        assert any(part in str(shown.exception) for part in says.split("|"))


def broken() -> object:
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--model", f"{__name__}:broken"), "broken failed with KeyError: 'mine'; mend it"),
        (("--model", "torch.nn:LSTM"), "torch.nn:LSTM failed with TypeError"),
        (("--device", "foo"), "There is no device 'foo' here"),
    ],
)
def test_the_users_own_failure_is_said_to_be_theirs(
    file: Path, tmp_path: Path, args: tuple[str, str], says: str
) -> None:
    np.save(tmp_path / "x.npy", np.ones((9, 30, 3), np.float32))
    shown = run(file, "--data", tmp_path / "x.npy", *args)
    assert isinstance(shown.exception, InputError)
    assert says in str(shown.exception)


@pytest.mark.parametrize("flag", ["--report", "--save"])
def test_nothing_that_is_read_is_written_over(file: Path, flag: str) -> None:
    before = file.read_bytes()
    assert run(file, flag, file).exit_code == ExitCode.USAGE
    assert file.read_bytes() == before


def test_a_web_page_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text("<!doctype html><html><body>404</body></html>")
    assert isinstance(run(path).exception, CheckpointError)


def test_as_a_process_it_leaves_one_line_and_code_three_for_what_it_cannot_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from gatescope.cli import main; main()", "analyze", "nothing.pt"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("gatescope: nothing.pt could not be read")
    assert ran.stderr.count("\n") == 1


def test_names_from_a_file_are_shown_harmless(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    state = nn.LSTM(3, 4).state_dict()
    torch.save({f"\x1b[31m<script>.{name}": value for name, value in state.items()}, path)
    shown = run(path)
    assert shown.exit_code == 0, shown.exception
    assert "\x1b" not in shown.output
    assert "\\x1b[31m<script>" in shown.output
