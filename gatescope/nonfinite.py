"""Where the first NaN or infinity of a trace stands, and where it came from."""

from dataclasses import dataclass

from torch import Tensor

from .trace import Trace


@dataclass(frozen=True)
class NonFinite:
    """The first number of a trace that is not finite."""

    layer: str
    quantity: str
    """A gate, a state, or `x`, the layer's input."""
    step: int
    """In the input's time, from 0."""
    sequence: int
    unit: int
    units: int
    value: float
    cause: str

    def __str__(self) -> str:
        what = {"x": "its input, feature"}.get(self.quantity, f"{self.quantity}, unit")
        return (
            f"{self.value} at step {self.step} of sequence {self.sequence}, first in layer {self.layer}, "
            f"{what} {self.unit} of {self.units}; {self.cause}"
        )


def first_nonfinite(trace: Trace) -> NonFinite | None:
    """The first NaN or infinity in the order in which the layer works: by step, then gates, states and last the input.

    The input is named only where no gate or state follows it: an infinite input may leave every gate finite.
    """
    suspects = [trace.x, *trace.states.values()]
    if all(bool(values.sum().isfinite()) for values in suspects):
        return None
    gates = {f"gate {name}": trace.gates[name] for name in trace.layer.cell.gates}
    states = {f"state {name}": values for name, values in trace.states.items()}
    places = [
        place
        for name, values in {**gates, **states, "x": trace.x}.items()
        if (place := _first(trace, name, values)) is not None
    ]
    return min(places, key=lambda place: _age(trace, place), default=None)


def _first(trace: Trace, quantity: str, values: Tensor) -> NonFinite | None:
    bad = ~trace.in_processing_order(values).isfinite()
    if not bool(bad.any()):
        return None
    age, sequence, unit = (int(index) for index in bad.nonzero()[0])
    step = age if trace.layer.direction == "forward" else int(trace.lengths[sequence]) - 1 - age
    value = float(values[step, sequence, unit])
    return NonFinite(
        trace.name, quantity, step, sequence, unit, values.shape[-1], value, _cause(trace, step, age, sequence)
    )


def _age(trace: Trace, place: NonFinite) -> int:
    """How many steps the layer had done before the one where it happened."""
    if trace.layer.direction == "forward":
        return place.step
    return int(trace.lengths[place.sequence]) - 1 - place.step


def _cause(trace: Trace, step: int, age: int, sequence: int) -> str:
    for name, weight in trace.layer.weights.items():
        if not bool(weight.isfinite().all()):
            return f"{name} holds {_worst(weight)}"
    x = trace.x[step, sequence]
    if not bool(x.isfinite().all()):
        feature = int((~x.isfinite()).nonzero()[0])
        return f"the input at step {step} is {float(x[feature])} (feature {feature})"
    if age == 0:
        for name, initial in trace.initial.items():
            if not bool(initial[sequence].isfinite().all()):
                return f"the initial {name} holds {_worst(initial[sequence])}"
    return f"the input and the weights are finite: the numbers overflowed {str(trace.x.dtype).removeprefix('torch.')}"


def _worst(values: Tensor) -> float:
    return float(values[~values.isfinite()].flatten()[0])
