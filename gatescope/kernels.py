"""Torch's own fused kernel, run for one depth of a stack: what the hidden states of an inner layer really were."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .layers import RecurrentLayer

States = Mapping[str, Float[Tensor, "sequence unit"]]

KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "rnn-tanh": torch.rnn_tanh,
    "rnn-relu": torch.rnn_relu,
}


def fused(
    layers: Sequence[RecurrentLayer],
    x: Float[Tensor, "time sequence feature"],
    initial: Sequence[States],
    lengths: Int[Tensor, "sequence"],
) -> tuple[Float[Tensor, "time sequence output"], list[dict[str, Tensor]]]:
    """Runs the layers of one depth, one a direction, and returns their joined output and the states each ends with.

    The numbers are those which the module gives for that depth, bit for bit on the CPU: it runs the same kernel.
    """
    kernel = KERNELS[layers[0].cell.kind]
    weights = [weight for layer in layers for weight in _weights(layer)]
    states = [torch.stack([states[name] for states in initial]) for name in layers[0].cell.states]
    has_biases = _has_biases(layers[0])
    options = (has_biases, 1, 0.0, False, len(layers) == 2)  # biases, layers, dropout, training, bidirectional
    if bool((lengths == x.shape[0]).all()):
        out, *final = kernel(x, _hx(states), weights, *options, False)
    else:
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None  # enforce_sorted=False always gives both
        assert back is not None
        sorted_states = [state.index_select(1, order) for state in states]
        data, *final = kernel(packed.data, packed.batch_sizes, _hx(sorted_states), weights, *options)
        out, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes, order, back), total_length=x.shape[0])
        final = [state.index_select(1, back) for state in final]
    names = layers[0].cell.states
    return out, [{name: state[k] for name, state in zip(names, final, strict=True)} for k in range(len(layers))]


_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def _has_biases(layer: RecurrentLayer) -> bool:
    return "bias_ih" in layer.weights or "bias_hh" in layer.weights


def _weights(layer: RecurrentLayer) -> list[Tensor]:
    """In the kernel's order; torch's kernels take both biases or none, where other frameworks have one."""
    weights = dict(layer.weights)
    if _has_biases(layer):
        nothing = weights["weight_ih"].new_zeros(weights["weight_ih"].shape[0])
        weights = {"bias_ih": nothing, "bias_hh": nothing, **weights}
    return [weights[name] for name in _ORDER if name in weights]


def _hx(states: list[Tensor]) -> Tensor | list[Tensor]:
    return states if len(states) > 1 else states[0]
