"""`gatescope inspect`: which recurrent layers files hold, on what evidence; nothing is run and torch is not loaded."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ..cleaning import clean
from ..errors import CheckpointError, InputError, MissingExtraError
from . import ExitCode

if TYPE_CHECKING:
    from ..checkpoints.checkpoint import Checkpoint
    from ..checkpoints.found import FoundLayer

SCHEMA = "gatescope.inspect/1"
HEADINGS = ("file", "name", "cell", "input", "hidden", "projected", "direction", "bias", "why")

_LONGEST = {"why": 400, "warning": 400}
_LONGEST_NAME = 80


@dataclass(frozen=True)
class _File:
    """One file of the command line and what came of it."""

    path: str
    checkpoint: "Checkpoint | None"
    sha256: str | None
    problem: str = ""
    code: ExitCode = ExitCode.FINE


@click.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
@click.option("--hash", "hashed", is_flag=True, help="Read each file whole and say its SHA-256.")
@click.option("--key", metavar="PATH", help="Look only under this nested dictionary, such as ema.")
@click.option("--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Of simple RNNs where the file does not say.")
@click.option("--map", "settled", metavar="NAME=CELL", multiple=True, help="What a layer is that only might be one.")
@click.pass_context
def inspect(
    context: click.Context,
    *,
    files: tuple[str, ...],
    as_json: bool,
    hashed: bool,
    key: str | None,
    nonlinearity: str | None,
    settled: tuple[str, ...],
) -> None:
    """List the recurrent layers in checkpoint files of any format, with the evidence for each.

    Nothing in a file is run, and neither torch nor the model's code is needed. The exit code is 0 when every file could
    be read, whatever it holds, 3 when one could not, 4 when that needs a package that is not installed.
    """
    said = dict(pair(one, context) for one in settled)
    found = [_looked_at(file, key, nonlinearity, said, context, hashed=hashed) for file in files]
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "files": [_plain(file) for file in found]}, indent=2))
    else:
        for line in _table(found):
            click.echo(line)
    for file in found:
        if file.problem:
            click.echo(f"gatescope: {clean(file.problem)}", err=True)
    worst = [file.code for file in found if file.code]
    if worst:
        context.exit(min(worst))


def pair(said: str, context: click.Context) -> tuple[str, str]:
    """What `--map NAME=CELL` said."""
    name, equals, cell = said.rpartition("=")
    if not equals:
        raise click.UsageError(f"--map takes NAME=CELL, and {clean(said)!r} has no '='", context)
    return name, cell


def _looked_at(
    path: str,
    key: str | None,
    nonlinearity: str | None,
    settled: dict[str, str],
    context: click.Context,
    *,
    hashed: bool,
) -> _File:
    from ..checkpoints.reading import read

    try:
        checkpoint = read(path, key=key, nonlinearity=nonlinearity, settled=settled)
        _ = checkpoint.layers
        return _File(path, checkpoint, _sha256(Path(path)) if hashed else None)
    except InputError as error:
        raise click.UsageError(str(error), context) from None
    except MissingExtraError as error:
        return _File(path, None, None, str(error), ExitCode.EXTRA_MISSING)
    except CheckpointError as error:
        return _File(path, None, None, str(error), ExitCode.REFUSED)


def _sha256(path: Path) -> str | None:
    """Of the file's bytes; a folder has none."""
    if path.is_dir():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(file: _File) -> dict[str, Any]:
    if file.checkpoint is None:
        nothing: dict[str, Any] = {"format": None, "sha256": None, "layers": [], "maybe": []}
        return {"file": file.path, **nothing, "warnings": [file.problem]}
    return {
        "file": file.path,
        "format": file.checkpoint.format,
        "sha256": file.sha256,
        "layers": [_plain_layer(layer) for layer in file.checkpoint.layers],
        "maybe": [{**asdict(maybe), "names": list(maybe.names)} for maybe in file.checkpoint.maybe],
        "warnings": list(file.checkpoint.warnings),
    }


def _plain_layer(layer: "FoundLayer") -> dict[str, Any]:
    names = ("name", "cell", "input_size", "hidden_size", "proj_size", "bias", "direction", "index")
    plain = {name: getattr(layer, name) for name in names}
    clip = {} if layer.clip is None else {"clip": asdict(layer.clip)}
    return {**plain, "parameters": list(layer.parameters), "why": layer.why, **clip}


def _table(files: Sequence[_File]) -> list[str]:
    rows = [_row(file, layer) for file in files if file.checkpoint for layer in file.checkpoint.layers]
    shown = [place for place, heading in enumerate(HEADINGS) if _is_worth_a_column(heading, place, rows, len(files))]
    cells = [[row[place] for place in shown] for row in [HEADINGS, *rows]] if rows else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    for file in files:
        lines += _remarks(file)
    return lines


def _row(file: _File, layer: "FoundLayer") -> tuple[str, ...]:
    return (
        _cut(file.path),
        _cut(layer.name),
        layer.cell,
        str(layer.input_size),
        str(layer.hidden_size),
        str(layer.proj_size or ""),
        layer.direction,
        "yes" if layer.bias else "no",
        _cut(layer.why, _LONGEST["why"]),
    )


def _is_worth_a_column(heading: str, place: int, rows: Sequence[tuple[str, ...]], files: int) -> bool:
    if heading == "file":
        return files > 1
    return heading != "projected" or any(row[place] for row in rows)


def _remarks(file: _File) -> list[str]:
    checkpoint = file.checkpoint
    if checkpoint is None:
        return []
    name = _cut(file.path)
    size = f"{len(checkpoint.arrays)} array{'s' if len(checkpoint.arrays) != 1 else ''}"
    found = f"{len(checkpoint.layers) or 'no'} recurrent layer{'s' if len(checkpoint.layers) != 1 else ''}"
    lines = [f"{name}: {_cut(checkpoint.format)}, {size}, {found}"]
    if file.sha256:
        lines.append(f"  sha256   {file.sha256}")
    for maybe in checkpoint.maybe:
        settle = f"; settle it with {_cut(maybe.flag, _LONGEST['why'])}" if maybe.flag else ""
        lines.append(f"  maybe    {_cut(maybe.why, _LONGEST['why'])}{settle}")
    lines += [f"  warning  {_cut(warning, _LONGEST['warning'])}" for warning in checkpoint.warnings]
    return lines


def _cut(text: str, longest: int = _LONGEST_NAME) -> str:
    safe = clean(text[: longest + 1])
    return safe if len(safe) <= longest else safe[: longest - 1] + "…"
