"""Which modules of a model are recurrent, and under which names."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ..cells import Cell
from ..errors import InputError
from ..layers import kind_of


@dataclass(frozen=True)
class Watched:
    """A recurrent module of a model."""

    module: nn.Module
    path: str
    aliases: tuple[str, ...]
    cell: Cell | None
    """The cell that the user named for a module of their own."""

    @property
    def is_stack(self) -> bool:
        """True for nn.LSTM, nn.GRU and nn.RNN; false for one cell."""
        return self.cell is None and isinstance(self.module, nn.RNNBase)

    @property
    def title(self) -> str:
        """The module as an error names it."""
        return f"{self.path or 'the model'} ({type(self.module).__name__})"


def recurrent_modules(model: nn.Module, cells: Mapping[type[nn.Module], Cell]) -> dict[int, Watched]:
    """The recurrent modules of a model by identity, each once, with every name that leads to it."""
    paths: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if type(module) in cells or kind_of(module) is not None:
            modules[id(module)] = module
            paths.setdefault(id(module), []).append(_shown(path))
    if not modules:
        kinds = sorted({type(module).__name__ for module in model.modules()})
        raise InputError(
            f"{type(model).__name__} holds no nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell or nn.RNNCell (seen: "
            f"{', '.join(kinds[:12])}{', …' if len(kinds) > 12 else ''}); give a model that holds one, unscripted and "
            "unquantised, or name your own cell with Recorder(model, cells={MyCell: spec})."
        )
    return {
        key: Watched(module, paths[key][0], tuple(paths[key][1:]), cells.get(type(module)))
        for key, module in modules.items()
    }


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside torch.compile's and the data-parallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _shown(path: str) -> str:
    """The path without what torch.compile puts into it."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")
