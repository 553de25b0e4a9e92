"""Which other beginnings are tried on a model: an explicit list, and a copy of the model to try one on.

The formulae stand in `initialisations.py`. Every random number of a change comes from one seed.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Generator, Tensor, nn

from ..cells import Cell
from ..errors import GatescopeError, InputError
from ..initialisations import Recurrent, chrono, forget_bias, identity, orthogonal, ugi
from ..layers import kind_of
from ..recording.watch import Watched, recurrent_modules


class Begin(NamedTuple):
    """What a change may ask for."""

    t_max: int
    """The longest dependence that is expected, in steps."""
    generator: Generator


@dataclass(frozen=True)
class Change:
    """One other way to begin."""

    name: str
    does: str
    """What it does, in words; `{t_max}` stands in them where it is used."""
    source: str
    cells: tuple[str, ...]
    """The kinds of cell that it fits, as in `CELLS`."""
    write: Callable[[Recurrent, Begin], None]
    """Changes a module in place."""


GATED = ("lstm", "gru")
CHANGES = (
    Change(
        "forget bias 1",
        "the gate that keeps the state (f of an LSTM, z of a GRU) starts at sigmoid(1) = 0.73",
        "Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015 (unverified)",
        GATED,
        lambda module, _: forget_bias(module),
    ),
    Change(
        "chrono",
        "the memories of the units are spread evenly up to {t_max} steps; other biases are zero",
        "Tallec & Ollivier 2018",
        GATED,
        lambda module, begin: chrono(module, begin.t_max, generator=begin.generator),
    ),
    Change(
        "uniform gates",
        "the gates that keep the state are spread evenly between shut and open",
        "Gu et al. 2020",
        GATED,
        lambda module, begin: ugi(module, generator=begin.generator),
    ),
    Change(
        "orthogonal",
        "each gate's recurrent weights keep the length of h",
        "Saxe, McClelland & Ganguli 2014 (unverified)",
        (*GATED, "rnn-tanh", "rnn-relu"),
        lambda module, begin: orthogonal(module, generator=begin.generator),
    ),
    Change(
        "identity",
        "the recurrent weights copy h from step to step; biases are zero",
        "Le, Jaitly & Hinton 2015",
        ("rnn-relu",),
        lambda module, _: identity(module),
    ),
)
"""All of them, in the order in which they are tried."""


@dataclass(frozen=True, eq=False)
class Changed:
    """A changed copy of a model."""

    model: nn.Module
    modules: tuple[str, ...]
    """The paths of the recurrent modules that were changed; none where the change fits none."""
    refused: Mapping[str, str]
    """By path, why a module could not be changed."""


def changed(
    model: nn.Module, change: Change, *, t_max: int, seed: int, cells: Mapping[type[nn.Module], Cell]
) -> Changed:
    """A copy of `model` with the change in every recurrent module of torch's that it fits."""
    other, begin = copied(model), Begin(t_max, torch.Generator().manual_seed(seed))
    done: list[str] = []
    refused: dict[str, str] = {}
    for watched in recurrent_modules(other, cells).values():
        if watched.cell is not None or kind_of(watched.module) not in change.cells:
            continue
        try:
            _check_that_weights_are_its_own(watched)
            change.write(cast("Recurrent", watched.module), begin)
        except GatescopeError as reason:
            refused[watched.path] = str(reason)
        else:
            done.append(watched.path)
    return Changed(other, tuple(done), refused)


def copied(model: nn.Module) -> nn.Module:
    """The model once more, sharing nothing with the first; a state that it keeps is kept out of its graph.

    Raises:
        InputError: a model that cannot be copied.
    """
    inside = (tensor for module in model.modules() for tensor in _tensors(vars(module)))
    kept_out = {id(tensor): tensor.detach().clone() for tensor in inside if not tensor.is_leaf}
    try:
        other = copy.deepcopy(model, kept_out)
    except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"{type(model).__name__} could not be copied ({error}), and changes are tried on copies alone; give a "
            "model that copy.deepcopy takes."
        ) from error
    for module in other.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # or cuDNN warns of weights that lie apart
    return other


def _tensors(value: Any) -> Iterator[Tensor]:
    match value:
        case Tensor():
            yield value
        case dict():
            yield from _tensors(tuple(value.values()))
        case tuple() | list():
            for one in value:
                yield from _tensors(one)


def _check_that_weights_are_its_own(watched: Watched) -> None:
    """A weight that is computed from others would be computed anew, and the change be lost or make no sense."""
    named = dict(watched.module.named_parameters(recurse=False))
    strange = [name for name in named if not name.startswith(("weight_ih", "weight_hh", "weight_hr", "bias_"))]
    strange += [name for name in named if name.endswith(("_g", "_v", "_orig"))]
    if strange or not {"weight_ih", "weight_hh"} <= {name.partition("_l")[0] for name in named}:
        raise InputError(
            f"{watched.title} computes its weights from others (it holds {', '.join(named) or 'none of its own'}), "
            "and a change writes weight_ih, weight_hh and their biases; try it before weight norm and the like are put "
            "on."
        )
