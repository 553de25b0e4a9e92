"""A quantity that grows step by step, in a tensor with room for more, so that reading it copies nothing."""

from torch import Tensor


class Growing:
    """Steps of one shape, added one by one and read as one tensor."""

    def __init__(self) -> None:
        self._room: Tensor | None = None
        self._steps = 0

    def add(self, values: Tensor) -> None:
        """Copies one more step; what was read before stays as it was."""
        if self._room is None or self._steps == len(self._room):
            grown = values.new_empty(max(64, 2 * self._steps), *values.shape)
            if self._room is not None:
                grown[: self._steps] = self._room
            self._room = grown
        self._room[self._steps] = values
        self._steps += 1

    def whole(self) -> Tensor:
        """All steps so far, one at least."""
        assert self._room is not None
        return self._room[: self._steps]
