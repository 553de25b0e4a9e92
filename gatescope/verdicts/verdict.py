"""A judgement that one can argue with: what is said, in words, with its numbers and where the threshold is from."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What is said of a gradient over a lag. The last four abstain."""

    VANISHING = "vanishing"
    DEAD = "dead"
    EXPLODING = "exploding"
    STABLE = "stable"
    BORDERLINE = "borderline"
    NOT_EXPLODING = "not exploding"
    NON_FINITE = "non-finite"
    NO_SIGNAL = "no signal"
    CUT = "cut"
    INSUFFICIENT = "insufficient data"

    @property
    def abstains(self) -> bool:
        """True where the numbers allow no judgement."""
        return self in {Level.NON_FINITE, Level.NO_SIGNAL, Level.CUT, Level.INSUFFICIENT}


@dataclass(frozen=True)
class Verdict:
    """A judgement that one can argue with."""

    level: Level
    claim: str
    """What is so, in words that need no other knowledge."""
    because: str
    """The numbers behind it, with intervals, and what they are numbers of."""
    source: str
    """Where the threshold and the effect come from."""
    layer: str = ""

    @property
    def ground(self) -> str:
        """The first of the numbers behind it: with an interval and a threshold, or what lacks."""
        return self.because.partition("; ")[0]
