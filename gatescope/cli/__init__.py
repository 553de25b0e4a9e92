"""The command line: one verb, one short file; every error becomes one line on stderr and a stable exit code."""

import difflib
import importlib
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import FrameType
from typing import NamedTuple, NoReturn

import rich_click as click
from click.exceptions import Exit

from gatescope import __version__
from gatescope.cleaning import clean
from gatescope.errors import GatescopeError, InputError, MissingExtraError


class ExitCode(IntEnum):
    """What a shell learns; a verb that has found something leaves with `context.exit(ExitCode.FINDING)`."""

    FINE = 0
    FINDING = 1
    USAGE = 2
    REFUSED = 3
    """Something could not be read, or written, or was refused as unsafe."""
    EXTRA_MISSING = 4
    INTERNAL = 101
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


class Verb(NamedTuple):
    """Where a verb's command lives, as `module:command`, and the line that the list of verbs shows."""

    home: str
    says: str


VERBS: Mapping[str, Verb] = {
    "analyze": Verb("gatescope.cli.analyze:analyze", "Measure how far back the gradient reaches in a file's layers."),
    "demo": Verb("gatescope.cli.demo:demo", "Train five small networks, look inside them, write reports/demo.html."),
    "inspect": Verb("gatescope.cli.inspect:inspect", "List the recurrent layers in checkpoint files of any format."),
    "selftest": Verb("gatescope.cli.selftest:selftest", "See whether gatescope's numbers are right on this machine."),
}


class VerbGroup(click.RichGroup):
    """A group that lists its verbs without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What the list of verbs needs: a name and a line."""
        return click.RichCommand(name=cmd_name, short_help=VERBS[cmd_name].says) if cmd_name in VERBS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb itself, imported now that it is to run."""
        name = args[0]
        if name not in VERBS:
            near = difflib.get_close_matches(name, VERBS, n=1)
            raise click.UsageError(f"no verb {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""), ctx)
        module, _, command = VERBS[name].home.partition(":")
        return name, getattr(importlib.import_module(module), command), args[1:]


@click.group(cls=VerbGroup, name="gatescope", invoke_without_command=True)
@click.version_option(__version__, prog_name="gatescope", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.pass_context
def gatescope(ctx: click.Context, *, debug: bool) -> None:
    """Look inside LSTMs, GRUs and RNNs: every gate at every timestep, and how far back the gradient reaches."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Runs the verb that the command line names, and leaves the process with its exit code."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == default:  # else the caller has decided, as nohup does
            signal.signal(number, _stop)
    sys.exit(_run(sys.argv[1:]))


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that what is half done is cleaned up."""


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # the second one ends the process at once
    raise KeyboardInterrupt if number == signal.SIGINT else _Terminated


def _run(args: Sequence[str]) -> int:
    context = None
    try:
        try:
            context = gatescope.make_context("gatescope", list(args))
            with context:
                gatescope.invoke(context)
            code = int(ExitCode.FINE)
        except Exit as leaving:
            code = leaving.exit_code
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own last flush complains
        return ExitCode.PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", ExitCode.INTERRUPTED)
    except _Terminated:
        return _say("terminated", ExitCode.TERMINATED)
    except Exception as error:  # noqa: BLE001  (the last floor: whatever it is, it becomes one line and a code)
        if context is not None and context.params["debug"]:
            _show_traceback(error)
        return _say(*_line_and_code(error, args))


def _line_and_code(error: Exception, args: Sequence[str]) -> tuple[str, ExitCode]:
    match error:
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "gatescope"
            return f"{error.format_message().rstrip('.')}; see `{path} --help`", ExitCode.USAGE
        case click.ClickException():
            return error.format_message(), ExitCode.REFUSED
        case MissingExtraError():
            return str(error), ExitCode.EXTRA_MISSING
        case InputError():
            return str(error), ExitCode.USAGE
        case GatescopeError():
            return str(error), ExitCode.REFUSED
        case OSError(strerror=str(reason)):
            return (reason if error.filename is None else f"{error.filename}: {reason}"), ExitCode.REFUSED
    first_line = next(iter(str(error).splitlines()), "")
    again = shlex.join(["gatescope", "--debug", *(arg for arg in args if arg != "--debug")])
    report = f"this is a bug in gatescope {__version__}: please report it with what `{again}` prints"
    return f"{type(error).__name__}: {first_line}; {report}", ExitCode.INTERNAL


def _show_traceback(error: Exception) -> None:
    for line in "".join(traceback.format_exception(error)).splitlines():
        click.echo(clean(line), err=True)


def _say(line: str, code: ExitCode) -> ExitCode:
    click.echo(f"gatescope: {clean(line)}", err=True)
    return code
