"""`gatescope analyze`: how far back the gradient reaches in a file's recurrent layers, in words, JSON and a page."""

import functools
import importlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from ..cleaning import clean
from ..errors import InputError
from . import ExitCode
from .inspect import pair

if TYPE_CHECKING:
    from ..analysis.analysis import Analysis
    from ..analysis.questions import Extra
    from ..checkpoints.checkpoint import Checkpoint

SCHEMA = "gatescope.analyze/1"
LEVELS = ("vanishing", "dead", "exploding", "borderline", "non-finite", "no-signal", "cut", "insufficient-data")
AT_A_LAG = ("vanishing", "dead")
"""What is judged only at a lag that the task needs."""


def _levels(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (value or "").split(",") if part.strip())
    unknown = [name for name in names if name not in LEVELS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(LEVELS)}.", context, parameter)
    return names


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value!r} is no list of lengths such as 8,16,32.", context, parameter)
    return tuple(map(int, parts))


@click.command()
@click.argument("file")
@click.option("--data", metavar="SPEC", help="x.npy, x.npz:key, x.csv:cols, x.txt, x.wav, synthetic:…; else noise.")
@click.option("--target", metavar="SPEC", help="What the loss compares the output with; needs --model and --loss.")
@click.option("--lengths", metavar="SPEC", help="Valid steps of each padded sequence: 5,3,4 or a file.")
@click.option("--vocab", type=click.Path(exists=True, dir_okay=False), help="The characters of a text, in id order.")
@click.option("--window", type=click.IntRange(1), help="Steps into which one long sequence is cut.")
@click.option("--lag", type=click.IntRange(1), help="How many steps back the task needs; else nothing is vanishing.")
@click.option("--windows", callback=_numbers, metavar="8,16,…", help="Lengths of the fresh windows.")
@click.option("--layer", metavar="NAME", help="The layer, or its module, to which alone the data go.")
@click.option("--model", metavar="PKG:FACTORY", help="Your own function that builds the model; this runs your code.")
@click.option("--loss", metavar="PKG:FUNCTION", help="Such as torch.nn.functional:mse_loss; needs --model.")
@click.option("--extra", multiple=True, type=click.Choice(["full_spectrum", "fixed_points", "remedies"]))
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of noise and readout.")
@click.option("--device", default="cpu", show_default=True, help="Where it runs, by torch's name.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the analysis here, for gs.load.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
@click.option(
    "--fail-on", callback=_levels, metavar="LEVELS", help=f"Leave with 1 if one is found: {', '.join(LEVELS)}."
)
@click.option("--key", metavar="PATH", help="Look only under this nested dictionary, such as ema.")
@click.option("--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Of simple RNNs where the file does not say.")
@click.option("--map", "settled", metavar="NAME=CELL", multiple=True, help="What a layer is that only might be one.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def analyze(context: click.RichContext, /, **options: Any) -> None:
    """Measure how far back the gradient reaches in every recurrent layer of FILE, why, and what its gates do.

    Nothing in the file is run. Without --data each layer is driven by noise, and every result says "synthetic".
    """
    given = _Given(**{**options, "settled": dict(pair(said, context) for said in options["settled"])})
    if problem := given.contradiction:
        raise click.UsageError(problem, context)
    found = _analysed(given)
    if given.save is not None:
        found.save(given.save)
    if given.report is not None:
        found.report(given.report)
    if given.as_json:
        click.echo(json.dumps(_plain(found, given.file), indent=2, allow_nan=False))
    else:
        for line in _lines(found):
            click.echo(line)
    if any(_flag(verdict.level) in given.levels for verdict in found.verdicts):
        context.exit(ExitCode.FINDING)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What the command line said."""

    file: str
    data: str | None
    target: str | None
    lengths: str | None
    vocab: str | None
    window: int | None
    lag: int | None
    windows: tuple[int, ...] | None
    layer: str | None
    model: str | None
    loss: str | None
    extra: "tuple[Extra, ...]"
    seed: int
    device: str
    report: Path | None
    save: Path | None
    as_json: bool
    fail_on: tuple[str, ...]
    key: str | None
    nonlinearity: str | None
    settled: dict[str, str]
    quiet: bool

    @property
    def contradiction(self) -> str:
        """What of it cannot be together; empty where all can."""
        if set(self.fail_on) & set(AT_A_LAG) and self.lag is None:
            return "--fail-on vanishing needs --lag: without it nothing is called vanishing"
        if (self.loss or self.target) and not self.model:
            return "a loss reads a model's output: --loss and --target need --model"
        if self.model and not self.data:
            return "--model needs --data to run on"
        if self.model and self.layer:
            return "--layer chooses where the data go in a file; with --model they go into the model"
        if not self.data and (self.lengths or self.window or self.vocab):
            return "--lengths, --window and --vocab speak of data: give --data too"
        read = {Path(one).resolve() for one in (self.file, self.data, self.target, self.vocab) if one}
        written = [path.resolve() for path in (self.report, self.save) if path is not None]
        if read & set(written) or len(written) > len(set(written)):
            return "--report or --save would write over a file that is read or written here: name another"
        return ""

    @property
    def levels(self) -> set[str]:
        """The findings that are a failure; what is dead has vanished too."""
        return {*self.fail_on, *(("dead",) if "vanishing" in self.fail_on else ())}


def _analysed(given: _Given) -> "Analysis":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from ..analysis.analyze import analyze as analysed
    from ..analysis.rebuilt import rebuilt
    from ..checkpoints.reading import read

    _device(given.device)
    checkpoint = read(given.file, key=given.key, nonlinearity=given.nonlinearity, settled=given.settled)
    source = rebuilt(_named(given.model), checkpoint, device=given.device) if given.model else checkpoint
    x, y, lengths, what = _data(given, checkpoint)
    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=Console(stderr=True), disable=given.quiet, transient=True) as bar:
        task = bar.add_task("measuring")

        def told(what: str, done: int, of: int) -> None:
            bar.update(task, description=clean(what), completed=done, total=of)

        found = analysed(
            source,
            x,
            y,
            _named(given.loss) if given.loss else None,
            given.lag,
            lengths,
            windows=given.windows,
            extra=given.extra,
            seed=given.seed,
            layer=given.layer,
            device=given.device,
            progress=told,
        )
    return replace(found, provenance={**found.provenance, **what})


def _data(given: _Given, checkpoint: "Checkpoint") -> tuple[Any, Any, Any, dict[str, str]]:
    """x, y and the lengths, None for what was not given; and what is to be said of them."""
    if given.data is None:
        return None, None, None, {}
    import torch

    from ..data.reading import data, target, with_lengths

    features = None if given.model else _features(given, checkpoint)
    found = data(
        given.data,
        vocab=given.vocab,
        window=given.window,
        features=features,
        one_hot=not given.model,
        seed=given.seed,
    )
    if given.lengths is not None:
        found = with_lengths(given.lengths, found)
    what, y = {"data": found.what}, None
    if given.target is not None:
        wanted = target(given.target, found, vocab=given.vocab, seed=given.seed)
        what, y = {**what, "target": wanted.what}, torch.from_numpy(wanted.y).to(given.device)
    lengths = None if found.lengths is None else torch.from_numpy(found.lengths)
    return torch.from_numpy(found.x).to(given.device), y, lengths, what


def _features(given: _Given, checkpoint: "Checkpoint") -> int | None:
    """What the layer takes to which the data go, where there is only one; so wide noise is to be."""
    widths = {
        layer.input_size
        for layer in checkpoint.layers
        if layer.index == 0 and (given.layer is None or layer.name.startswith(given.layer))
    }
    return widths.pop() if len(widths) == 1 else None


def _named(name: str) -> Any:
    """What `pkg.module:name` names; importing it runs the user's own code, because they said so."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise InputError(f"{name!r} names no function; write package.module:function.")
    sys.path.insert(0, "")  # as `python -m` has it
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{name} could not be had ({error}); name a function that Python can import from here."
        ) from error
    finally:
        sys.path.remove("")
    return _theirs(name, found) if callable(found) else found


def _theirs(name: str, function: Any) -> Any:
    """A user's function, whose errors are said to be its own."""

    @functools.wraps(function, updated=())
    def called(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            raise InputError(f"{name} failed with {type(error).__name__}: {error}; mend it, it is your own.") from error

    return called


def _device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(f"There is no device {name!r} here ({reason}); choose another, such as cpu.") from error


def _flag(level: object) -> str:
    return str(level).replace(" ", "-")


def _lines(found: "Analysis") -> list[str]:
    facts = found.provenance
    lines = [clean(f"{name}: {facts[name]}") for name in ("file", "of the file") if name in facts]
    for line in str(found).splitlines():
        words = line.lstrip(" ")
        lines.append(" " * (len(line) - len(words)) + clean(words))
    return lines


def _plain(found: "Analysis", file: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "file": file,
        "provenance": dict(found.provenance),
        "lag": found.lag,
        "layers": [asdict(layer) for layer in found.layers],
        "verdicts": [{**asdict(verdict), "level": _flag(verdict.level)} for verdict in found.verdicts],
        "horizons": {name: [asdict(one) for one in horizons] for name, horizons in found.horizons.items()},
        "causes": {name: list(sentences) for name, sentences in found.causes.items()},
        "not_measured": [asdict(one) for one in found.not_measured],
    }
