"""What was recorded, by name: each value is found when it is asked for, and what is not there says why."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from ..errors import NotRecordedError

Value = TypeVar("Value")


class Recorded(Mapping[str, Value], Generic[Value]):
    """A mapping from layers' names to what is read of them."""

    def __init__(self, readers: Mapping[str, Callable[[], Value]], why_not: Callable[[str], str]) -> None:
        self._readers, self._why_not = readers, why_not

    def __getitem__(self, name: str) -> Value:
        if name not in self._readers:
            raise NotRecordedError(self._why_not(name))
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __repr__(self) -> str:
        return f"{{{', '.join(self)}}}"
