"""The twenty-eight ways in which people save an LSTM: its weights, and what they put beside them."""

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import pathlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

Style = Callable[[nn.LSTM], Any]


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    hidden: int = 4
    name: str = "lstm"


class Network(nn.Module):
    """A user's own module around an LSTM."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.rnn = lstm
        self.head = nn.Linear(4, 2)
        self.register_buffer("mean", torch.arange(3.0))
        self.state = torch.full((2,), 7.0)
        self.note = "mine"


class Node:
    """An object that holds others of its kind, and knows in which it lies, as OmegaConf's do."""

    def __init__(self, content: Any, parent: "Node | None" = None) -> None:
        self.__dict__["_parent"] = parent
        self.__dict__["_content"] = content

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _beside(what: Any) -> Style:
    return lambda lstm: {"model": lstm.state_dict(), "extra": what() if callable(what) else what}


def _with_optimiser(lstm: nn.LSTM) -> tuple[torch.optim.Adam, Any]:
    optimiser = torch.optim.Adam(lstm.parameters())
    lstm(torch.ones(2, 1, 3))[0].sum().backward()
    optimiser.step()
    return optimiser, torch.optim.lr_scheduler.StepLR(optimiser, 3)


def _training(lstm: nn.LSTM) -> Any:
    optimiser, _ = _with_optimiser(lstm)
    return {"model": lstm.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 3}


def _scheduled(lstm: nn.LSTM) -> Any:
    optimiser, scheduler = _with_optimiser(lstm)
    return {"model": lstm.state_dict(), "optimizer": optimiser.state_dict(), "scheduler": scheduler.state_dict()}


def _weight_norm(lstm: nn.LSTM) -> Any:
    return {"model": nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0").state_dict()}


def _lightning(**parameters: Any) -> Style:
    return lambda lstm: {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"net.{name}": value for name, value in lstm.state_dict().items()},
        "hyper_parameters": parameters,
    }


def _config() -> Node:
    top = Node({})
    top.__dict__["_content"] = {"hidden": Node(4, top), "layers": [Node(1, top)]}
    return top


STYLES: dict[str, Style] = {
    "state dict": lambda lstm: lstm.state_dict(),
    "model, optimiser and epoch": _training,
    "scheduler": _scheduled,
    "random.getstate": _beside(random.getstate),
    "torch's random state": _beside(torch.get_rng_state),
    "set, bytes, complex": _beside({"set": {1, 2}, "bytes": b"\x00\xff", "complex": 1 + 2j}),
    "device, dtype, Size": _beside([torch.device("cpu"), torch.float16, torch.Size([2, 3])]),
    "weight norm": _weight_norm,
    "Lightning with numbers": _lightning(hidden_size=4),
    "whole LSTM": lambda lstm: lstm,
    "whole network": Network,
    "Namespace": _beside(argparse.Namespace(hidden=4, lr=0.1)),
    "numpy scalar": _beside(np.float64(0.5)),
    "numpy array": _beside(np.arange(6.0).reshape(2, 3)),
    "numpy's random state": _beside(np.random.get_state),
    "defaultdict": _beside(collections.defaultdict(list, {"loss": [1.0, 2.0]})),
    "path": _beside(pathlib.PurePosixPath("runs/a")),
    "datetime": _beside(datetime.datetime(2024, 1, 2, 3, 4, 5)),
    "dataclass": _beside(Settings()),
    "enum": _beside(Colour.RED),
    "partial": _beside(lambda: functools.partial(torch.nn.functional.relu, inplace=False)),
    "torch's version": _beside(lambda: torch.__version__),
    "slice": _beside(slice(1, 5)),
    "deque": _beside(collections.deque([1.0, 2.0], maxlen=10)),
    "activation": lambda lstm: {"model": lstm.state_dict(), "extra": torch.nn.functional.relu},
    "configuration object": _beside(_config),
    "Lightning with a Namespace": _lightning(args=argparse.Namespace(hidden=4)),
    "Lightning with numpy": _lightning(dropout=np.float32(0.1)),
}
