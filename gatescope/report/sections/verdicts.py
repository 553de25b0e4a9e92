"""What was found, per layer: the answer before anything else."""

from collections.abc import Sequence

from ...verdicts import Level, Verdict
from ..section import Section

_FINE = {Level.STABLE, Level.NOT_EXPLODING}
_OPEN = {Level.BORDERLINE, Level.INSUFFICIENT}

FEW = 6
"""So many verdicts stand in the open."""


def verdicts_section(verdicts: Sequence[Verdict], *, lead: str = "", prose: Sequence[str] = ()) -> Section:
    """Every judgement with its ground; the lead is the first claim unless a better one is handed in."""
    return Section(
        key="found",
        title="What was found",
        lead=lead or (verdicts[0].claim if verdicts else "Nothing was judged."),
        prose=tuple(prose),
        verdicts=tuple(verdicts),
    )


def level_name(level: Level) -> str:
    """The level as the first word of a line."""
    return str(level).capitalize()


def tone(level: Level) -> str:
    """How loudly a level is shown: `alarm`, `fine`, or `open` where nothing was decided."""
    return "fine" if level in _FINE else "open" if level in _OPEN else "alarm"


def without_lags(verdicts: Sequence[Verdict]) -> set[str]:
    """The layers to whose last processed step the loss sends nothing, or no number: no lag counts from there."""
    return {one.layer for one in verdicts if one.level in (Level.NO_SIGNAL, Level.NON_FINITE)}


def loud(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What a reader must see at once: every alarm, and the rest too while it is short."""
    return list(verdicts) if len(verdicts) <= FEW else [one for one in verdicts if tone(one.level) == "alarm"]


def quiet(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What is folded away."""
    return [one for one in verdicts if one not in loud(verdicts)]
