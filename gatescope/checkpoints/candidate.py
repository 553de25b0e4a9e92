"""Arrays that a naming convention takes for one recurrent layer, before their shapes have been looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .checkpoint import StoredArray
from .found import CellName, Clip


@dataclass(frozen=True, eq=False)
class Candidate:
    """One layer, one direction, if the shapes agree."""

    module: str
    """The path of its module in the file."""
    suffix: str
    """`l0`, `l1_reverse`; empty for a cell."""
    weights: Mapping[str, StoredArray]
    """By torch's names without suffix, in torch's shape and order."""
    names: tuple[str, ...]
    """The arrays in the file that it is made of."""
    remarks: tuple[str, ...] = ()
    """What the convention knows besides the shapes."""
    cell: CellName | None = None
    """Where the convention settles it; None: the shapes decide."""
    clip: Clip | None = None
    reverse: bool = False
    index: int = 0
    doubt: str = ""
    """Why the evidence is not sufficient; empty where it is."""
    choices: Mapping[str, "Candidate"] = field(default_factory=dict)
    """What you can say to settle the doubt, with what the arrays then are."""
