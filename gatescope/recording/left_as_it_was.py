"""Puts back what a run of somebody's model changes: buffers, tensors that modules keep, random numbers."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

_TORCHS_OWN = vars(nn.Module()).keys() - {"_buffers", "training"}
"""What torch keeps in every module and no run changes: parameters, submodules, hooks."""


@contextmanager
def left_as_it_was(model: nn.Module, seed: int | None = None, *, given: Any = None) -> Iterator[None]:
    """Buffers and attributes of every module are put back, and so are torch's random numbers, which begin at `seed`.

    Of attributes: which value each has, and what stands in the tensors, lists, tuples, sets and dicts among them, such
    as a state that is kept from call to call, or a count. `given`, the data that the model is called with, is put back
    too, should the model write into it. Without a `seed` the random numbers go on.
    """
    seen: set[int] = set()
    undo = [step for module in model.modules() for step in _of_module(module, seen)]
    undo += _undoing(given, seen)
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            yield
        finally:
            for step in undo:
                step()


def _of_module(module: nn.Module, seen: set[int]) -> Iterator[Callable[[], None]]:
    if isinstance(module, LazyModuleMixin):
        return  # its first run makes it another
    before = {name: value for name, value in vars(module).items() if name not in _TORCHS_OWN}
    yield partial(_set_back, vars(module), before)
    for value in before.values():
        yield from _undoing(value, seen)


def _set_back(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in now.keys() - before.keys() - _TORCHS_OWN:
        del now[name]
    now.update(before)


def _undoing(value: Any, seen: set[int]) -> Iterator[Callable[[], None]]:
    """For a tensor or a container, and for all that are in it, what puts its contents back."""
    if id(value) in seen:
        return
    within: list[Any] = []
    match value:
        case nn.Parameter():
            return  # what a run reads
        case Tensor() if value.layout is torch.strided:
            yield partial(_written_back, value, value.detach().clone())
        case dict():
            within = list(value.values())
            yield partial(_refilled, value, value.update, dict(value))
        case list() | deque():
            within = list(value)
            yield partial(_refilled, value, value.extend, within)
        case set():
            yield partial(_refilled, value, value.update, set(value))
        case tuple():
            within = list(value)
    seen.add(id(value))
    for one in within:
        yield from _undoing(one, seen)


def _written_back(now: Tensor, before: Tensor) -> None:
    if now.shape != before.shape:  # written into with resize_
        now.data = before
    elif not torch.equal(now, before):
        with torch.inference_mode(now.is_inference()), torch.no_grad():
            now.copy_(before)


def _refilled(now: Any, put: Callable[[Any], None], before: Any) -> None:
    now.clear()
    put(before)
