"""Which sequences look padded although nobody gave their lengths: ends at which nothing changes any more.

    tail of a sequence = the number of its last steps that are exactly equal in every feature (NaN equal to NaN)

A tail is suspicious if it is at least 5 % of all steps and at least three, not the whole sequence, and longer than
chance allows:

    sequences · p^(tail − 1) ≤ 1 %,   p = the share of the steps before the tails that are equal to the one before

so that coarse inputs, such as single bits, may end alike; and only where the tails of the sequences that change at all
differ. Where all are alike, they belong to the task: a network may have to wait in silence. Suspicious is no more than
that: the dark end of a picture that is read in rows looks the same.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

if TYPE_CHECKING:
    import pandas

LEAST_STEPS = 3
LEAST_SHARE = 0.05
"""Of all steps; ours."""
CHANCE = 0.01
"""In so many batches of independent steps one tail is taken for padding; ours."""


@dataclass(frozen=True, eq=False)
class Padding:
    """What the lengths of the sequences may be, judged by their constant tails alone."""

    measure: ClassVar[str] = "padding"

    steps: int
    """Of the whole input."""
    lengths: Int[np.ndarray, "sequence"]
    """Guessed: up to where the tail begins; all steps where a sequence has no suspicious tail."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @property
    def padded(self) -> int:
        """How many sequences have a suspicious tail."""
        return int((self.lengths < self.steps).sum())

    def to_frame(self) -> "pandas.DataFrame":
        """One row a sequence: measure, quantity, sequence, value, unit (steps)."""
        import pandas

        return pandas.DataFrame(
            {
                "measure": self.measure,
                "quantity": "guessed length",
                "sequence": np.arange(self.n),
                "value": self.lengths,
                "unit": "steps",
            }
        )


def padding(
    x: Shaped[Tensor, "time sequence feature"] | Shaped[np.ndarray, "time sequence feature"],
) -> Padding:
    """The lengths that the constant tails of an input suggest."""
    values = torch.as_tensor(x)
    steps = len(values)
    tails = _alike(values, values[-1]).flip(0).cumprod(0).sum(0).cpu().numpy()
    changing = tails < steps
    least = max(LEAST_STEPS, math.ceil(LEAST_SHARE * steps), _by_chance(values, tails))
    tails = np.where(changing & (tails >= least), tails, 0)
    varied = len(np.unique(tails[changing])) > 1
    return Padding(steps, steps - tails if varied else np.full_like(tails, steps))


def _by_chance(values: Shaped[Tensor, "time sequence feature"], tails: Int[np.ndarray, "sequence"]) -> int:
    """The shortest tail that is longer than chance allows."""
    repeats = _alike(values[1:], values[:-1]).cpu().numpy()
    before = np.arange(1, len(values))[:, None] < len(values) - tails
    share = (repeats & before).sum() / max(1, before.sum())
    if share == 0:
        return LEAST_STEPS
    return math.ceil(1 + math.log(CHANCE / len(tails)) / math.log(share)) if share < 1 else len(values)


def _alike(
    values: Shaped[Tensor, "time sequence feature"], others: Shaped[Tensor, "... sequence feature"]
) -> Bool[Tensor, "time sequence"]:
    return ((values == others) | (values.isnan() & others.isnan())).all(-1)
