"""A recorded trajectory in another dtype, most often float64: the states that really were, linearised to more digits.

What was recorded (x, the states, the weights) is widened, and the gates follow from it in one step for all times. It is
never a second run, which would soon be another trajectory.
"""

from dataclasses import replace

import torch

from ..trace import Trace
from .replay import gates_along


def in_dtype(trace: Trace, dtype: torch.dtype, sequences: slice = slice(None)) -> Trace:
    """The same trace, of some of its sequences, on its own device."""
    wanted = range(trace.x.shape[1])[sequences]
    if trace.x.dtype == dtype and len(wanted) == trace.x.shape[1]:
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
    return replace(wide, gates=gates_along(wide.layer, wide.x, wide.states, wide.initial, wide.lengths))
