"""Starting values that change how long a recurrent network remembers, written into a module that the caller owns.

    forget bias      b_f = 1                                       f = sigmoid(1) = 0.73 at the start, instead of 0.5
    chrono           b_f = log u, b_i = −b_f, u ~ U(1, T − 1)      memories of 1 / (1 − f) ~ U(2, T) steps
    uniform gates    b_f = log u / (1 − u), u ~ U(1/d, 1 − 1/d)    f spread evenly, for d units
    orthogonal       each gate's block of W_hh orthogonal          W_hh h is as long as h
    identity         W_hh = I, b = 0                               h is copied until an input changes it

Torch adds two biases: the value goes into `bias_ih`, and zero into that part of `bias_hh`. Torch's GRU has no forget
gate; its update gate z *keeps* the old state (h = (1 − z) n + z h), so b_z stands for b_f. Papers that write
h = (1 − z) h + z n have the opposite sign. Every layer and direction of the module is changed, in place.

Forget bias: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015 (unverified). Chrono: Tallec &
Ollivier 2018. Uniform gates: Gu et al. 2020. Identity: Le, Jaitly & Hinton 2015 (with relu).
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from .errors import InputError
from .layers import kind_of

Recurrent = nn.RNNBase | nn.RNNCellBase


def forget_bias(module: Recurrent, value: float = 1.0) -> None:
    """Starts every forget gate of an LSTM, or update gate of a GRU, at sigmoid(value), as long as
    input and state are zero.
    """
    gate = _memory_gate(module, "forget_bias")
    with torch.no_grad():
        for b_ih, b_hh in _biases(module, "forget_bias"):
            _rows(module, b_ih)[gate].fill_(value)
            _rows(module, b_hh)[gate].zero_()


def chrono(module: Recurrent, t_max: float, *, generator: Generator | None = None) -> None:
    """Spreads the memories of the units evenly up to `t_max` steps, the longest dependence expected, above 2.

    An LSTM's input gate gets −b_f. Every other bias becomes zero.
    """
    if not t_max > 2:
        raise InputError(f"chrono initialisation was given t_max = {t_max} steps; choose the longest lag, above 2.")
    gate = _memory_gate(module, "chrono")
    with torch.no_grad():
        for b_ih, b_hh in _biases(module, "chrono"):
            b_ih.zero_()
            b_hh.zero_()
            rows = _rows(module, b_ih)
            rows[gate].copy_(_uniform(module, 1, t_max - 1, generator).log())
            if "i" in rows:
                rows["i"].copy_(-rows[gate])


def ugi(module: Recurrent, *, generator: Generator | None = None) -> None:
    """Uniform gates: spreads the forget gates of an LSTM, or the update gates of a GRU, evenly over (0, 1)."""
    units = module.hidden_size
    if units <= 2:
        raise InputError(f"uniform gates need more than 2 units, and {type(module).__name__} has {units}; take more.")
    gate = _memory_gate(module, "ugi")
    with torch.no_grad():
        for b_ih, b_hh in _biases(module, "ugi"):
            _rows(module, b_ih)[gate].copy_(_uniform(module, 1 / units, 1 - 1 / units, generator).logit())
            _rows(module, b_hh)[gate].zero_()


def orthogonal(module: Recurrent, *, generator: Generator | None = None) -> None:
    """Makes each gate's block of the recurrent weights orthogonal (its columns orthonormal under a projection)."""
    _kind(module, "orthogonal")
    with torch.no_grad():
        for weight in _parameters(module, "weight_hh"):
            for block in _rows(module, weight).values():
                fresh = torch.empty(block.shape, dtype=torch.promote_types(block.dtype, torch.float32))
                block.copy_(nn.init.orthogonal_(fresh, generator=generator))


def identity(module: Recurrent) -> None:
    """Makes a plain RNN copy its hidden state from step to step: identity recurrent weights, zero biases."""
    kind = _kind(module, "identity")
    if not kind.startswith("rnn"):
        raise InputError(
            f"identity initialisation is made for nn.RNN, and this is an {kind.upper()}; "
            "use forget_bias, chrono or ugi, which open its gates."
        )
    with torch.no_grad():
        for weight in _parameters(module, "weight_hh"):
            nn.init.eye_(weight)
        for name in ("bias_ih", "bias_hh"):
            for bias in _parameters(module, name):
                bias.zero_()


_GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
_MEMORY_GATE = {"lstm": "f", "gru": "z"}


def _kind(module: nn.Module, wanted_for: str) -> str:
    kind = kind_of(module)
    if kind is None:
        raise InputError(
            f"{wanted_for} was given a {type(module).__name__}; it initialises nn.LSTM, nn.GRU, nn.RNN or one of their "
            "cells: call it on each of these in the model."
        )
    return kind


def _memory_gate(module: nn.Module, wanted_for: str) -> str:
    kind = _kind(module, wanted_for)
    if kind not in _MEMORY_GATE:
        raise InputError(
            f"{wanted_for} sets a forget gate, and {type(module).__name__} has none; "
            "use orthogonal or identity, or take an LSTM or a GRU."
        )
    return _MEMORY_GATE[kind]


def _biases(module: Recurrent, wanted_for: str) -> Iterator[tuple[Tensor, Tensor]]:
    if not module.bias:
        raise InputError(
            f"{wanted_for} sets biases, and this {type(module).__name__} has bias=False; build it with bias=True."
        )
    return zip(_parameters(module, "bias_ih"), _parameters(module, "bias_hh"), strict=True)


def _parameters(module: Recurrent, name: str) -> list[Tensor]:
    return [parameter for own, parameter in module.named_parameters(recurse=False) if own.startswith(name)]


def _rows(module: Recurrent, parameter: Tensor) -> dict[str, Tensor]:
    gates = _GATES.get(kind_of(module) or "", ("h",))
    return dict(zip(gates, parameter.chunk(len(gates)), strict=True))


def _uniform(module: Recurrent, low: float, high: float, generator: Generator | None) -> Tensor:
    return torch.empty(module.hidden_size).uniform_(low, high, generator=generator)
