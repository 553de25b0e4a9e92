"""What a page can show of a trace: a few sequences, small enough to be kept with the analysis, and what was left out.

Numbers are rounded to float16, which is 11 bits, and time is binned to its mean where it would take too many bytes;
`reductions` says in words which of this was done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..layers import Direction
from ..trace import Trace

BUDGET = 2_000_000
"""Bytes for one layer."""

Values = Float[np.ndarray, "sequence time unit"]


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Some sequences of one trace."""

    layer: str
    cell: str
    direction: Direction
    sequences: tuple[int, ...]
    """Their places in the batch."""
    lengths: Int[np.ndarray, "sequence"]
    """In steps of the input; after its end a sequence is NaN."""
    bin: int
    """So many steps are one here, by their mean."""
    gates: Mapping[str, Shaped[np.ndarray, "sequence time unit"]]
    """In float16."""
    states: Mapping[str, Shaped[np.ndarray, "sequence time _"]]
    """A projected h has units of its own."""
    x: Shaped[np.ndarray, "sequence time feature"]
    """The layer's input."""
    residual: float
    """Of the replay that explained the trace."""
    reductions: tuple[str, ...] = ()
    """What was left out, in words; nothing else was."""


def excerpt(trace: Trace, sequences: Sequence[int], *, budget: int = BUDGET) -> Excerpt:
    """The chosen sequences of a trace in about `budget` bytes: what does not fit is given up in time, by bins."""
    chosen = [sequence for sequence in dict.fromkeys(sequences) if sequence < trace.x.shape[1]]
    lengths = trace.lengths[chosen]
    steps, features = int(lengths.max()), trace.x.shape[2]
    gates = {name: trace.gates[name] for name in trace.layer.cell.gates}
    units = sum(values.shape[2] for values in (*gates.values(), *trace.states.values()))
    shown = min(features, max(1, units))
    width = 2 * len(chosen) * (units + shown)
    bin_of = max(1, -(-steps * width // budget))

    def binned(values: Tensor) -> np.ndarray:
        part = values[:steps, chosen].double().cpu()
        part = part.masked_fill(~trace.valid[:steps, chosen].cpu()[..., None], torch.nan)
        padding = -steps % bin_of
        part = torch.cat([part, part.new_full((padding, *part.shape[1:]), torch.nan)])
        means = part.unflatten(0, (-1, bin_of)).nanmean(1) if bin_of > 1 else part
        array: np.ndarray = means.transpose(0, 1).clamp(*_FLOAT16).numpy().astype(np.float16)
        array.setflags(write=False)
        return array

    reductions = [f"numbers rounded to float16 (11 bits, a relative {2.0**-11:.0e})"]
    if len(chosen) < trace.x.shape[1]:
        listed = ", ".join(map(str, chosen))
        reductions.insert(0, f"{len(chosen)} of {trace.x.shape[1]} sequences: {listed}")
    if bin_of > 1:
        reductions.append(f"means over bins of {bin_of} of {steps} steps")
    if shown < features:
        reductions.append(f"the first {shown} of {features} input features")
    return Excerpt(
        layer=trace.name,
        cell=trace.layer.cell.kind,
        direction=trace.layer.direction,
        sequences=tuple(chosen),
        lengths=lengths.cpu().numpy(),
        bin=bin_of,
        gates=MappingProxyType({name: binned(values) for name, values in gates.items()}),
        states=MappingProxyType({name: binned(values) for name, values in trace.states.items()}),
        x=binned(trace.x[..., :shown]),
        residual=trace.residual,
        reductions=tuple(reductions),
    )


_FLOAT16 = (-65504.0, 65504.0)
