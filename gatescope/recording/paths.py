"""The paths from a loss back to the outputs of recorded calls, read off autograd's graph before it is used up.

* a call is *read through* another one if every path from the loss to its outputs leads through that one's outputs;
* a step of a loop is *read* if a path leads to it through no later step of the same loop;
* a loop *feeds itself* if what goes into a step comes from an earlier step's output: then what comes back to that
  output is not the loss's alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor
from torch.autograd.graph import Node

FOLLOWED: ContextVar[bool] = ContextVar("FOLLOWED", default=False)
"""Whether outputs are to keep their places in the graph, which keeps the graph alive."""

MOST = 32
"""More calls than this are not searched for who reads whom: each is looked for from the loss on."""


@contextmanager
def following() -> Iterator[None]:
    """Keeps the places of outputs within its block."""
    token = FOLLOWED.set(True)
    try:
        yield
    finally:
        FOLLOWED.reset(token)


@dataclass(eq=False)
class Places:
    """Where the outputs of one call stand in the graph, and what went into it."""

    outputs: dict[str, Node] = field(default_factory=dict)
    inputs: list[Node] = field(default_factory=list)

    def keep(self, outputs: Mapping[str, Tensor], given: Iterable[Tensor] = ()) -> None:
        """Keeps these, if they are followed."""
        if FOLLOWED.get():
            self.outputs |= {name: one.grad_fn for name, one in outputs.items() if one.grad_fn is not None}
            self.inputs += [one.grad_fn for one in given if one.grad_fn is not None]

    def forget(self) -> None:
        """Lets go of the graph."""
        self.outputs.clear()
        self.inputs.clear()


@dataclass(frozen=True)
class Paths:
    """What the graph says of the calls of a recording, by their places in it."""

    reader: Mapping[int, int] = field(default_factory=dict)
    """The call through which alone the loss comes to another."""
    read: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """The outputs of a call to which the loss comes, not through others of the same call."""
    feeds_itself: frozenset[int] = frozenset()


def paths(loss: Tensor, places: Sequence[Places]) -> Paths:
    """Follows the graph of a loss back to the outputs of calls, which are in the order in which they were called."""
    if loss.grad_fn is None or len(places) > MOST:
        return Paths()
    own = [set(one.outputs.values()) for one in places]
    reached = [_reached([loss.grad_fn], stop=nodes) & nodes for nodes in own]
    reader = {}
    for k, nodes in enumerate(own):
        for later in range(k + 1, len(own)) if reached[k] else ():
            if reached[later] and not _reached([loss.grad_fn], stop=own[later]) & nodes:
                reader[k] = later
                break
    return Paths(
        reader,
        {k: frozenset(n for n, node in one.outputs.items() if node in reached[k]) for k, one in enumerate(places)},
        frozenset(k for k, one in enumerate(places) if _reached(one.inputs, stop=own[k]) & own[k]),
    )


def _reached(start: Iterable[Node], *, stop: Collection[Node]) -> set[Node]:
    """Every node on the way back from `start`, beyond none of `stop`."""
    seen: set[Node] = set()
    ahead = list(start)
    while ahead:
        node = ahead.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in stop:
            ahead += [parent for parent, _ in node.next_functions if parent is not None]
    return seen
