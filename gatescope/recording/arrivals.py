"""What arrives at a layer where a loss is not taken as it came: a random readout for it, or one step of it alone."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..dynamics.adjoint import Arriving
from ..trace import Trace


def random_readout(sequences: int, units: int, *, seed: int) -> Float[Tensor, "direction sequence unit"]:
    """One random direction for each sequence and direction of a layer, the same on every device, of mean length 1."""
    drawn = torch.randn(2, sequences, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    readout: Tensor = drawn / units**0.5
    return readout


def last_processed(trace: Trace, ends: Int[Tensor, "sequence"]) -> Int[Tensor, "sequence"]:
    return ends - 1 if trace.layer.direction == "forward" else torch.zeros_like(ends)


def from_one_step(whole: Arriving, trace: Trace, source: Int[Tensor, "sequence"]) -> Arriving:
    """What arrives at one step of each sequence, and nothing else."""
    source = source.to(trace.lengths.device)
    here = torch.arange(len(trace.x), device=source.device)[:, None] == source
    at_the_end = source == last_processed(trace, trace.lengths)
    return Arriving(
        {name: values.where(here[..., None], 0) for name, values in whole.at_steps.items()},
        whole.log_scale,
        {name: values.where(at_the_end[:, None], 0) for name, values in whole.at_end.items()},
    )
