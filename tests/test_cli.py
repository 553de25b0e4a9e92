"""The command line: one line for every error, on stderr, and exit codes that a script can rely on."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points
from pathlib import Path

import pytest

from gatescope import __version__
from gatescope.cli import VERBS, main

ROOT = Path(__file__).parents[1]

VERB = """
import sys
import rich_click as click
from gatescope import cli, errors

@click.command()
@click.option("--size", type=int)
@click.pass_context
def command(context, size):
    {body}

sys.modules["strange"] = sys.modules["__main__"]
cli.VERBS["strange"] = cli.Verb("strange:command", "Does what the test asks for.")
cli.main()
"""
"""A program whose command line has one verb more, with the body that a test gives it."""


def test_the_help_page_names_every_verb_and_what_it_does() -> None:
    ran = _gatescope("--help")
    assert ran.returncode == 0
    assert not ran.stderr
    page = re.sub(r"[│\s]+", " ", ran.stdout)
    for name, verb in VERBS.items():
        assert f"{name} {verb.says}" in page


def test_no_verb_at_all_shows_the_help_page() -> None:
    assert _gatescope().stdout == _gatescope("--help").stdout


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_help_page_of_its_own(name: str) -> None:
    ran = _gatescope(name, "--help")
    assert ran.returncode == 0, ran.stderr
    assert f"gatescope {name}" in ran.stdout


def test_the_version_is_the_packages_own() -> None:
    assert _gatescope("--version").stdout == f"gatescope {__version__}\n"


def test_the_installed_command_is_this_one() -> None:
    try:
        (installed,) = entry_points(group="console_scripts", name="gatescope")
    except (ValueError, PackageNotFoundError):
        pytest.skip("gatescope is not installed here, only on the path")
    assert installed.load() is main


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["dmeo"], "no verb 'dmeo' (did you mean 'demo'?); see `gatescope --help`"),
        (["xyz"], "no verb 'xyz'; see `gatescope --help`"),
        (["a\x1b[31m"], r"no verb 'a\x1b[31m'; see `gatescope --help`"),
    ],
)
def test_a_usage_error_is_one_line_that_says_where_to_look(args: Sequence[str], says: str) -> None:
    ran = _gatescope(*args)
    assert ran.returncode == 2
    assert ran.stderr == f"gatescope: {says}\n"
    assert not ran.stdout


def test_an_option_that_is_not_there_is_one_line_in_clicks_own_words() -> None:
    ran = _gatescope("--nope")
    assert ran.returncode == 2
    assert re.fullmatch(r"gatescope: No such option\b.*--nope.*; see `gatescope --help`\n", ran.stderr)


def test_a_usage_error_of_a_verb_points_at_the_verbs_own_help() -> None:
    ran = _strange("pass", "--size", "big")
    assert ran.returncode == 2
    assert ran.stderr.endswith("see `gatescope strange --help`\n")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("pass", 0, ""),
        ("context.exit(cli.ExitCode.FINDING)", 1, ""),
        ("raise errors.InputError('l0: saw 12')", 2, "gatescope: l0: saw 12\n"),
        ("raise errors.UnreadableError('x: torn')", 3, "gatescope: x: torn\n"),
        ("raise errors.ReplayError('two\\nlines')", 3, "gatescope: two\\nlines\n"),
        ("raise errors.NotRecordedError('l\\x1b[2J0')", 3, "gatescope: l\\x1b[2J0\n"),
        ("raise errors.MissingExtraError('pip install x')", 4, "gatescope: pip install x\n"),
        ("open('/nowhere/page.html', 'w')", 3, "gatescope: /nowhere/page.html: No such file or directory\n"),
        ("raise OSError(28, 'No space left on device')", 3, "gatescope: No space left on device\n"),
        ("raise click.FileError('a.pt', 'too short')", 3, "gatescope: Could not open file 'a.pt': too short\n"),
        ("raise KeyboardInterrupt", 130, "gatescope: interrupted\n"),
        ("raise click.Abort", 130, "gatescope: interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(body: str, code: int, says: str) -> None:
    ran = _strange(body)
    assert (ran.returncode, ran.stderr, ran.stdout) == (code, says, "")


def test_an_error_that_nobody_foresaw_is_called_a_bug_and_says_what_to_report() -> None:
    ran = _strange("1 / 0", "--size", "3")
    assert ran.returncode == 101
    assert ran.stderr.startswith("gatescope: ZeroDivisionError: division by zero; this is a bug in gatescope")
    assert "`gatescope --debug strange --size 3`" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_debug_shows_the_traceback_before_the_line() -> None:
    ran = _strange("raise errors.InputError('l\\x1b0')", debug=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("Traceback")
    assert ran.stderr.endswith("\ngatescope: l\\x1b0\n")
    assert "\x1b" not in ran.stderr


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_the_work_in_order(number: signal.Signals, code: int, says: str) -> None:
    body = "import time\n    try: print('ready', flush=True); time.sleep(60)\n    finally: print('cleaned up')"
    ran = _signalled(body, number)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "cleaned up\n", f"gatescope: {says}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    body = (
        "import time\n    try: print('ready', flush=True); time.sleep(60)\n"
        "    finally: print('ready', flush=True); time.sleep(60); print('cleaned up')"
    )
    ran = _signalled(body, number, number)
    assert (ran.returncode, ran.stdout) == (-number, "")


@pytest.mark.parametrize(
    "body", ["print('an answer')", "print('an answer', flush=True)", "print('a'); context.exit(1)"]
)
def test_a_reader_that_went_away_is_no_error(body: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = _strange(body, stdout=writing)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_no_color_means_no_color() -> None:
    color = re.compile(r"\x1b\[[\d;]*3\d")
    assert color.search(_gatescope("--help", FORCE_COLOR="1").stdout)
    assert not color.search(_gatescope("--help", FORCE_COLOR="1", NO_COLOR="1").stdout)


def _gatescope(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run("from gatescope.cli import main; main()", *args, **environment)


def _strange(
    body: str, *args: str, debug: bool = False, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return _run(VERB.format(body=body), *(["--debug"] if debug else []), "strange", *args, stdout=stdout)


def _run(
    program: str, *args: str, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """With what a person's own settings could change taken out of the environment."""
    settings = {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "PYTHONUNBUFFERED"}
    plain = {name: value for name, value in os.environ.items() if name not in settings}
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=ROOT, env=plain | environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip


def _signalled(body: str, *numbers: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Runs the verb, sends each signal when the verb has said that it is ready, and keeps what it says after that."""
    process = subprocess.Popen(
        [sys.executable, "-c", VERB.format(body=body), "strange"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    for number in numbers:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
    out, err = process.communicate(timeout=10)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
