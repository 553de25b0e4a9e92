"""The layouts in which torch's recurrent modules take their sequences, and the one that gatescope has.

Torch: `[time, sequence, unit]`, `[sequence, time, unit]`, `[time, unit]` unbatched, or packed. Here:
`[time, sequence, unit]` in the caller's order, and a length a sequence.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..shapes import full_lengths


@dataclass(frozen=True, eq=False)
class Layout:
    """How one call of a module laid out its sequences."""

    batch_first: bool
    unbatched: bool
    packing: PackedSequence | None
    """The input as it was packed, of which only the sizes and the order are read."""

    @staticmethod
    def of(given: Tensor | PackedSequence, *, batch_first: bool) -> "Layout":
        """The layout of the input of a call."""
        if isinstance(given, PackedSequence):
            sizes = PackedSequence(given.data.new_empty(0), *given[1:])
            return Layout(batch_first, unbatched=False, packing=sizes)
        return Layout(batch_first, unbatched=given.dim() == 2, packing=None)

    def arranged(self, data: Tensor) -> Float[Tensor, "time sequence unit"]:
        """An input, an output, or a gradient with respect to one, in gatescope's layout and still in its graph."""
        if self.packing is not None:
            return pad_packed_sequence(self._packed(data))[0]
        if self.unbatched:
            return data[:, None]
        return data.transpose(0, 1) if self.batch_first else data

    def time_major(self, data: Tensor) -> Float[Tensor, "time sequence unit"]:
        """A copy of the same, out of its graph."""
        return self.arranged(data.detach()).clone(memory_format=torch.contiguous_format)

    def restored(self, sequences: Float[Tensor, "time sequence unit"]) -> Tensor | PackedSequence:
        """`arranged` undone: sequences as the module's caller has them."""
        if self.packing is not None:
            order = self.packing.sorted_indices
            in_order = sequences if order is None else sequences.index_select(1, order)
            lengths = (self.packing.batch_sizes[:, None] > torch.arange(sequences.shape[1], device="cpu")).sum(0)
            return self._packed(pack_padded_sequence(in_order, lengths).data)
        if self.unbatched:
            return sequences[:, 0]
        return sequences.transpose(0, 1) if self.batch_first else sequences

    def with_sequences(self, state: Tensor) -> Float[Tensor, "layer sequence unit"]:
        """h_0, c_0, h_n, c_n, or a gradient with respect to one, with its dimension of sequences."""
        return state[:, None] if self.unbatched else state

    def lengths(self, sequences: Float[Tensor, "time sequence unit"]) -> Int[Tensor, "sequence"]:
        """The length of each sequence."""
        if self.packing is None:
            return full_lengths(sequences)
        in_order = (self.packing.batch_sizes[:, None] > torch.arange(sequences.shape[1], device="cpu")).sum(0)
        back = self.packing.unsorted_indices
        return (in_order if back is None else in_order[back.cpu()]).to(sequences.device)

    def dropout_mask(self, like: Float[Tensor, "time sequence unit"], p: float) -> Float[Tensor, "time sequence unit"]:
        """What dropout multiplies such sequences by between two layers; drawn where the module would draw it."""
        if self.packing is None:
            return nn.functional.dropout(torch.ones_like(like, memory_format=torch.contiguous_format), p)
        rows = int(self.packing.batch_sizes.sum())
        mask = nn.functional.dropout(like.new_ones(rows, like.shape[-1]), p)
        return pad_packed_sequence(self._packed(mask))[0]

    def _packed(self, data: Tensor) -> PackedSequence:
        assert self.packing is not None
        _, *packing = self.packing
        return PackedSequence(data, *packing)


def data_of(given: Any) -> Any:
    """The tensor of numbers in an input or output, packed or not."""
    return given.data if isinstance(given, PackedSequence) else given
