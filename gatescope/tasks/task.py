"""A supervised problem on sequences, together with what is known about it before any network is trained."""

from dataclasses import dataclass, replace

from jaxtyping import Int, Shaped
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Task:
    """Sequences, their targets, and how far back a network has to look."""

    name: str
    x: Shaped[Tensor, "sequence time feature"]
    """The inputs; zero after a sequence's end."""
    y: Shaped[Tensor, "sequence *target"]
    """What is to be said after each sequence's last step."""
    lengths: Int[Tensor, "sequence"]
    """The number of steps of each sequence."""
    needed_lag: int
    """The furthest step back, counted from the last step (lag 0), without which the best error cannot be reached."""
    chance: float
    """The error of the best constant answer, in the unit of the task's loss."""
    bayes: float
    """The error of the best answer of all, in the same unit; the generator says so where it is only a bound on it."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, chosen: slice) -> "Task":
        """The same task on some of its sequences."""
        return replace(self, x=self.x[chosen], y=self.y[chosen], lengths=self.lengths[chosen])

    def split(self, share: float = 0.8) -> tuple["Task", "Task"]:
        """The first `share` of the sequences to train on and the rest, held out, in the order in which they stand."""
        first = round(share * len(self))
        if not 0 < first < len(self):
            raise InputError(
                f"A share of {share} of {len(self)} sequences leaves {first} to train on and {len(self) - first} held "
                "out, and neither may be empty; choose a share between 0 and 1, or more sequences."
            )
        return self[:first], self[first:]
