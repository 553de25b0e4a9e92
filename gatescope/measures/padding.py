"""Which sequences look padded although nobody gave their lengths: ends at which nothing changes any more.

    tail of a sequence = the number of its last steps that are exactly equal in every feature (NaN equal to NaN)

A tail is suspicious if it is at least 5 % of all steps and at least three, and not the whole sequence; and only where
the tails of the sequences that change at all differ. Where all are alike, they belong to the task: a network may have
to wait in silence. Suspicious is no more than that: the dark end of a picture that is read in rows looks the same.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

if TYPE_CHECKING:
    import pandas

LEAST_STEPS = 3
LEAST_SHARE = 0.05
"""Of all steps; shorter ends are too often alike by chance, as where inputs are whole numbers."""


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
    unchanged = ((values == values[-1]) | (values.isnan() & values[-1].isnan())).all(-1)
    tails = unchanged.flip(0).cumprod(0).sum(0).cpu().numpy()
    changing = tails < steps
    tails = np.where(changing & (tails >= max(LEAST_STEPS, math.ceil(LEAST_SHARE * steps))), tails, 0)
    varied = len(np.unique(tails[changing])) > 1
    return Padding(steps, steps - tails if varied else np.full_like(tails, steps))
