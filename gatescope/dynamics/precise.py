"""A recorded trajectory in another dtype, most often float64: the states that really were, linearised to more digits.

What was recorded (x, the states, the weights) is widened, and the gates follow from it in one step for all times. It is
never a second run, which would soon be another trajectory.
"""

from dataclasses import replace

import torch

from ..shapes import zero_after_the_end
from ..trace import Trace


def in_dtype(trace: Trace, dtype: torch.dtype, sequences: slice = slice(None)) -> Trace:
    """The same trace, of some of its sequences, on its own device."""
    if trace.x.dtype == dtype and sequences == slice(None):
        return trace
    wide = replace(
        trace,
        layer=trace.layer.to(dtype),
        x=trace.x[:, sequences].to(dtype),
        gates={},
        states={name: values[:, sequences].to(dtype) for name, values in trace.states.items()},
        initial={name: values[sequences].to(dtype) for name, values in trace.initial.items()},
        lengths=trace.lengths[sequences],
    )
    previous = wide.previous
    gates, _ = wide.layer.cell.step(wide.layer.weights, wide.layer.affine(wide.x, previous["h"]), previous)
    return replace(wide, gates={name: zero_after_the_end(values, wide.lengths) for name, values in gates.items()})
