"""`gatescope selftest`: whether gatescope's numbers are right on this machine, with this torch, on this device."""

import json
import math
import platform
import time
from typing import TYPE_CHECKING

import rich_click as click

from .. import __version__
from ..errors import InputError
from . import ExitCode

if TYPE_CHECKING:
    from rich.text import Text

    from ..selftest import Check, Place

SCHEMA = "gatescope.selftest/1"
WHAT_TO_DO = (
    "do not believe gatescope's numbers on this device until they pass: try --device cpu and another build of torch, "
    "and please report what `gatescope selftest --json` prints"
)


@click.command()
@click.option("--device", default="cpu", show_default=True, help="Where, by torch's name: cpu, cuda, cuda:1, …")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
@click.pass_context
def selftest(context: click.Context, *, device: str, as_json: bool) -> None:
    """Compare gatescope's numbers with closed forms, and with autograd in a plain loop, on this machine and device.

    It takes a few seconds, and leaves with exit code 1 if a number is wrong.
    """
    from rich.console import Console

    from ..selftest import place_on
    from ..selftest import selftest as checked

    try:
        place = place_on(device)
    except InputError as error:
        raise click.UsageError(str(error), context) from None
    facts, start, found = _facts(place), time.perf_counter(), []
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=as_json)
    for line in _heading(facts):
        console.print(line)
    for check in checked(place):
        found.append(check)
        console.print(_line(check))
    failed = sum(not check.passed for check in found)
    if as_json:
        report = {"schema": SCHEMA, **facts, "passed": not failed, "checks": [_plain(check) for check in found]}
        click.echo(json.dumps(report, indent=2, allow_nan=False))
    seconds = time.perf_counter() - start
    console.print(f"\n{len(found) - failed} of {len(found)} checks passed, in {seconds:.1f} s.")
    if failed:
        click.echo(f"gatescope: {failed} of {len(found)} checks failed; {WHAT_TO_DO}", err=True)
        context.exit(ExitCode.FINDING)


def _facts(place: "Place") -> dict[str, str]:
    import numpy as np
    import torch

    from ..cleaning import clean

    cuda = place.device.type == "cuda"
    return {
        "gatescope": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(place.device),
        "device_name": clean(torch.cuda.get_device_name(place.device) if cuda else platform.machine()),
        "dtype": str(place.dtype).removeprefix("torch."),
    }


def _heading(facts: dict[str, str]) -> list[str]:
    lines = [
        ", ".join(f"{name} {facts[name]}" for name in ("gatescope", "torch", "numpy", "python")),
        f"{facts['platform']}; on {facts['device']} ({facts['device_name']}), in {facts['dtype']}",
    ]
    if facts["dtype"] != "float64":
        lines.append("This device has no float64, so all is in float32, with wider tolerances.")
    return [*lines, "", f"      {'expected':>15}{'seen':>16}{'tolerance':>11}"]


def _line(check: "Check") -> "Text":
    from rich.text import Text

    from ..cleaning import clean

    line = Text("ok    " if check.passed else "FAIL  ", style="green" if check.passed else "bold red")
    numbers = f"{check.expected:>15.9g}{check.seen:>16.9g}{check.tolerance:>11.1g}"
    because = f" ({clean(check.problem)})" if check.problem else ""
    return line.append(f"{numbers}   {check.name}{because}", "default")


def _plain(check: "Check") -> dict[str, object]:
    """As JSON has it, which knows no infinity and no NaN: null."""
    from dataclasses import asdict

    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(check).items()
    }
