"""Stretches of time that fit the cache: what is elementwise is worked through one stretch after the other.

They are so many, where there is much, that what a stretch needs for itself stays small beside what is kept.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from ..layers import RecurrentLayer
from ..shapes import shifted

_BYTES = (1 << 20, 1 << 22)  # of one affine term. Measured: 1 to 8 MB do alike.
_AT_LEAST = 8


def blocks(layer: RecurrentLayer, x: Float[Tensor, "time sequence feature"]) -> list[slice]:
    """The stretches, in the order of time."""
    step = layer.weights["weight_ih"].shape[0] * x.shape[1] * x.element_size()
    least, most = _BYTES
    size = max(1, min(max(least, len(x) * step // _AT_LEAST), most) // step)
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def previous_states(
    states: Mapping[str, Float[Tensor, "time sequence _"]],
    initial: Mapping[str, Float[Tensor, "sequence _"]],
    now: slice,
) -> dict[str, Float[Tensor, "block sequence _"]]:
    """The states from which each step of one stretch starts, in processing order."""
    return {
        name: values[now.start - 1 : now.stop - 1] if now.start else shifted(values[now], initial[name])
        for name, values in states.items()
    }
