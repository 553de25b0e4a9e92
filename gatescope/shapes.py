"""Sequences of different lengths in one tensor: what is valid, and how to turn each of them round.

A tensor of sequences has the dimensions `[time, sequence, ...]`. Sequence b occupies the steps `0 <= t < lengths[b]`;
after its end the tensor holds zero.
"""

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


def full_lengths(like: Shaped[Tensor, "time sequence *rest"]) -> Int[Tensor, "sequence"]:
    """The lengths of sequences that fill the tensor to its last step."""
    return torch.full((like.shape[1],), like.shape[0], dtype=torch.int64, device=like.device)


def valid_steps(lengths: Int[Tensor, "sequence"], steps: int) -> Bool[Tensor, "time sequence"]:
    """True where a sequence is still running."""
    return torch.arange(steps, device=lengths.device)[:, None] < lengths


def reversed_in_time(
    sequences: Shaped[Tensor, "time sequence *rest"], lengths: Int[Tensor, "sequence"]
) -> Shaped[Tensor, "time sequence *rest"]:
    """Each sequence turned round within its own length; its own inverse."""
    steps = sequences.shape[0]
    if bool((lengths == steps).all()):
        return sequences.flip(0)
    time = torch.arange(steps, device=lengths.device)[:, None]
    source = torch.where(time < lengths, lengths - 1 - time, time)
    return sequences.gather(0, _wide(source, sequences).expand_as(sequences))


def zero_after_the_end(
    sequences: Shaped[Tensor, "time sequence *rest"], lengths: Int[Tensor, "sequence"]
) -> Shaped[Tensor, "time sequence *rest"]:
    """The same sequences with zero, whatever stood there, from each one's end on."""
    steps = sequences.shape[0]
    if bool((lengths == steps).all()):
        return sequences
    return sequences.masked_fill(~_wide(valid_steps(lengths, steps), sequences), 0)


def last_step(
    sequences: Shaped[Tensor, "time sequence *rest"], lengths: Int[Tensor, "sequence"]
) -> Shaped[Tensor, "sequence *rest"]:
    """What stands at each sequence's last step."""
    return sequences[lengths - 1, torch.arange(len(lengths), device=lengths.device)]


def shifted(
    states: Shaped[Tensor, "time sequence unit"], initial: Shaped[Tensor, "sequence unit"]
) -> Shaped[Tensor, "time sequence unit"]:
    """The state from which each step starts: `initial`, then every state but the last."""
    return torch.cat([initial[None], states[:-1]])


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *(1 for _ in like.shape[2:]))
