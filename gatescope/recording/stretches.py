"""A quantity that grows step by step, kept in stretches of time so that it is never there twice."""

from torch import Tensor

_STEPS = 64


class Stretches:
    """Steps of one shape, added one by one and read as one tensor."""

    def __init__(self) -> None:
        self._stretches: list[Tensor] = []
        self._room = 0

    def add(self, values: Tensor) -> None:
        """Copies one more step."""
        if not self._room:
            self._stretches.append(values.new_empty(_STEPS, *values.shape))
            self._room = _STEPS
        self._stretches[-1][_STEPS - self._room] = values
        self._room -= 1

    def whole(self) -> Tensor:
        """All steps so far; a stretch is let go as soon as it is copied."""
        if self._room or len(self._stretches) > 1:
            steps = sum(map(len, self._stretches)) - self._room
            whole = self._stretches[0].new_empty(steps, *self._stretches[0].shape[1:])
            done = 0
            while self._stretches:
                stretch = self._stretches.pop(0)[: steps - done]
                whole[done : done + len(stretch)] = stretch
                done += len(stretch)
            self._stretches, self._room = [whole], 0
        return self._stretches[0]
