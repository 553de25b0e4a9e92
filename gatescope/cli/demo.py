"""`gatescope demo`: train small networks on a sine wave, look inside them, write what was found as one page."""

from pathlib import Path

import rich_click as click


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("reports/demo.html"),
    show_default=True,
    help="Where the page is written.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Decides the first weights."
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def demo(*, out: Path, seed: int, quiet: bool) -> None:
    """Train three LSTMs, a GRU and a tanh RNN on a sine wave, record every gate, and write a page about them."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..cleaning import clean
    from ..report.html import write_html
    from ..research.demo import Settings, run_demo
    from ..research.demo_report import demo_report
    from ..research.findings import findings

    _make_room_for(out)  # or say now, not after the training, that there is none
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("training")

        def told(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        measured = run_demo(told, settings=Settings(seed=seed))
        bar.update(task, description="writing the page")
        write_html(demo_report(measured), out)
    for finding in findings(measured):
        click.echo(clean(finding))
    click.echo(clean(str(out)))


def _make_room_for(out: Path) -> None:
    """Makes the folder of a page and sees that something can be written there."""
    import tempfile

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:  # in the name of what was asked for, not of the folder or of a passing file
        raise OSError(error.errno, error.strerror, str(out)) from None
