"""Analyses of every sort that a page may meet, each small and made once: what is absent, cut, or not finite too."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import gatescope
from gatescope.analysis.analysis import Analysis

STEPS, SEQUENCES, FEATURES, UNITS = 24, 10, 3, 5


class Model(nn.Module):
    """A recurrent module and a readout of its last step, or of every one."""

    def __init__(
        self, recurrent: nn.Module, units: int = UNITS, *, every_step: bool = False, name: str = "rnn"
    ) -> None:
        super().__init__()
        self.name, self.every_step = name, every_step
        self.add_module(name, recurrent)
        self.readout = nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.get_submodule(self.name)(x)
        return self.readout(h if self.every_step else h[:, -1])


class Loop(nn.Module):
    """A cell that is called step after step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, UNITS)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), UNITS)
        for step in range(x.shape[1]):
            h, c = self.cell(x[:, step], (h, c))
        return h


def data(steps: int = STEPS, sequences: int = SEQUENCES) -> Tensor:
    return torch.randn(sequences, steps, FEATURES, generator=torch.Generator().manual_seed(1))


def squares(output: Tensor, y: Tensor | None) -> Tensor:
    return output.square().mean()


def _of_nothing(output: Tensor, y: Tensor | None) -> Tensor:
    """A loss that has a gradient, and none of the model's output."""
    return output.detach().sum() * torch.ones((), requires_grad=True)


def _of(module: nn.Module, x: Tensor | None = None, **settings: Any) -> Analysis:
    given = {} if x is None else {"x": x}
    return gatescope.analyze(module, **given, **settings)


def _scaled(module: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(factor)
    return module


def _recurrent(kind: type[nn.RNNBase] = nn.LSTM, **settings: Any) -> Any:
    return kind(FEATURES, UNITS, batch_first=True, **settings)


_EVERY: Mapping[str, Callable[[], Analysis]] = {
    "tanh RNN": lambda: _of(Model(_recurrent(nn.RNN)), data(), loss=squares, lag=5),
    "relu RNN": lambda: _of(_recurrent(nn.RNN, nonlinearity="relu"), data()),
    "LSTM stack": lambda: _of(Model(_recurrent(num_layers=2)), data(), loss=squares, lag=5),
    "GRU": lambda: _of(Model(_recurrent(nn.GRU)), data(), loss=squares, extra=("fixed_points", "full_spectrum")),
    "bidirectional": lambda: _of(Model(_recurrent(bidirectional=True), units=2 * UNITS), data(), loss=squares, lag=5),
    "many-to-many": lambda: _of(
        Model(_recurrent(bidirectional=True, num_layers=2), units=2 * UNITS, every_step=True),
        data(),
        loss=squares,
        lag=5,
    ),
    "padded": lambda: _of(_recurrent(), data(), lengths=[*range(STEPS - SEQUENCES + 1, STEPS + 1)], lag=5),
    "projection": lambda: _of(_recurrent(proj_size=2), data()),
    "short": lambda: _of(_recurrent(), data(steps=4, sequences=3), lag=50),
    "one step": lambda: _of(_recurrent(), data(steps=1)),
    "one sequence": lambda: _of(_recurrent(nn.GRU), data(sequences=1)),
    "cell in a loop": lambda: _of(Loop(), data(), loss=squares),
    "silent": lambda: _of(Model(_recurrent()), data(), loss=_of_nothing),
    "nothing moves": lambda: _of(_scaled(_recurrent(), 0.0), data()),
    "dead relu": lambda: _of(_recurrent(nn.RNN, nonlinearity="relu", bias=False), 0 * data()),
    "exploding": lambda: _of(_scaled(_recurrent(nn.RNN, nonlinearity="relu"), 4.0), data(), lag=5),
    "saturated": lambda: _of(_scaled(_recurrent(), 400.0), data(), lag=5),
    "not a number": lambda: _of(_recurrent(), torch.full((SEQUENCES, STEPS, FEATURES), torch.nan)),
}
EVERY = tuple(_EVERY)
"""Their names."""


@cache
def analysis_of(which: str) -> Analysis:
    torch.manual_seed(0)
    return _EVERY[which]()


@cache
def analysis_named(name: str) -> Analysis:
    """Of a model whose recurrent module has this name."""
    torch.manual_seed(0)
    return _of(Model(_recurrent(), name=name), data(), loss=squares, lag=5)
