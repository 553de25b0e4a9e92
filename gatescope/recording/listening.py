"""Torch's global module hooks, held while somebody records: nothing is ever set on a module.

Several recorders may overlap, in one thread or in several, and end in any order. While any of them is there, what was
compiled runs as it was written, so that its recurrent modules are seen.
"""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.modules import module as torch_hooks

_lock = threading.Lock()
_listeners = 0
_eager = ExitStack()


@contextmanager
def listening(before: Callable[..., None], after: Callable[..., Any]) -> Iterator[None]:
    """Calls `before(module, args)` and `after(module, args, kwargs, output)` around every call of every module."""
    with _eagerly():
        handles = [torch_hooks.register_module_forward_pre_hook(before)]
        handles.append(torch_hooks.register_module_forward_hook(after, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
                # Removing a global hook leaves its mark in this table, and torch then believes that there still is one.
                torch_hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)


def in_backward() -> bool:
    """Whether autograd is at work in this thread: checkpointing runs a forward again there."""
    return torch._C._current_graph_task_id() != -1


@contextmanager
def _eagerly() -> Iterator[None]:
    """The first to come tells torch.compile to stand back, the last to go lets it work again."""
    global _listeners  # noqa: PLW0603  (the stance is torch's own global)
    with _lock:
        _listeners += 1
        if _listeners == 1 and "torch._dynamo" in sys.modules:
            _eager.enter_context(torch.compiler.set_stance("force_eager"))
            _eager.enter_context(_without_the_warning_about_global_hooks())
    try:
        yield
    finally:
        with _lock:
            _listeners -= 1
            if _listeners == 0:
                _eager.close()


@contextmanager
def _without_the_warning_about_global_hooks() -> Iterator[None]:
    """Torch warns that a compiled module's hooks fire twice; ours know each module by its identity."""
    warnings.filterwarnings("ignore", message=r"Using `torch\.compile\(module\)` when there are global hooks")
    ours = warnings.filters[0]
    try:
        yield
    finally:
        if ours in warnings.filters:
            warnings.filters.remove(ours)  # type: ignore[attr-defined]  # a list, typed as a sequence
