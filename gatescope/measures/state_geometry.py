"""How many dimensions a layer's states fill, and their path through the widest of them.

    C = covariance of s_t over every valid step of every sequence,   e_1 ≥ e_2 ≥ … its eigenvalues
    (Σ e)² / Σ e²      participation ratio: 1 where the states lie on a line, n where they fill n dimensions alike
    e_i / Σ e          share of the variance along the i-th principal component

for the hidden state and for the cell state, each by itself. A path is the states less their mean, along the first few
components; a component's sign is free, and so chosen that its largest weight is positive.

Participation ratio: Gao et al. 2017 (unverified).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..layers import Direction
from ..nonfinite import first_nonfinite
from ..trace import Trace

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the values of one state lie."""

    mean: Float[np.ndarray, "unit"]
    variances: Float[np.ndarray, "unit"]
    """The eigenvalues of the covariance, from the largest down."""
    components: Float[np.ndarray, "component unit"]
    """The first principal components, orthonormal."""
    path: Float[np.ndarray, "time sequence component"]
    """The states along them; NaN after a sequence's end."""

    @property
    def participation_ratio(self) -> float:
        """How many dimensions the states fill, 1 to the number of units; NaN where they do not move at all."""
        total = float(self.variances.sum())
        return total**2 / float(np.square(self.variances).sum()) if total else float("nan")

    @property
    def shares(self) -> Float[np.ndarray, "unit"]:
        """The share of the variance along each component, 0 to 1; NaN where the states do not move at all."""
        with np.errstate(invalid="ignore"):
            share: np.ndarray = self.variances / self.variances.sum()
        return share


@dataclass(frozen=True, eq=False)
class StateGeometry:
    """Where a layer's states lie, by state: `h`, and `c` where there is one."""

    measure: ClassVar[str] = "state_geometry"

    layer: str
    direction: Direction
    states: Mapping[str, Geometry]
    n: int
    """The number of states that it is of: valid steps of all sequences."""

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, state, component, time, sequence, value, unit.

        Components count from 1; a path's rows have a time and a sequence, and there is none after the end.
        """
        import pandas

        columns = ("quantity", "state", "component", "time", "sequence", "value", "unit")
        frames = []
        for name, geometry in self.states.items():
            rows: list[tuple[str, str, int | None, int | None, int | None, float, str]]
            rows = [("participation ratio", name, None, None, None, geometry.participation_ratio, "dimensions")]
            rows += [
                ("share", name, component, None, None, share, "1")
                for component, share in enumerate(geometry.shares.tolist(), 1)
            ]
            time, sequence, component = np.nonzero(~np.isnan(geometry.path))
            values = geometry.path[time, sequence, component]
            path = {"component": component + 1, "time": time, "sequence": sequence, "value": values}
            frames += [
                pandas.DataFrame.from_records(rows, columns=columns),
                pandas.DataFrame({"quantity": "path", "state": name, **path, "unit": "1"})[list(columns)],
            ]
        whole = dict.fromkeys(("component", "time", "sequence"), "Int64")
        frame = pandas.concat([each.astype(whole) for each in frames], ignore_index=True)
        for position, name in enumerate(("layer", "direction", "measure")):
            frame.insert(position, name, getattr(self, name))
        return frame


def state_geometry(trace: Trace, *, components: int = 3) -> StateGeometry:
    """The geometry of every state of a trace, in float64, with the path along the first `components`.

    Raises:
        InputError: fewer than one component, or a state that is not finite.
    """
    if components < 1:
        raise InputError(f"{trace.name}: {components} components were asked for; take at least 1.")
    if not all(bool(states.isfinite().all()) for states in trace.states.values()):
        raise InputError(f"{first_nonfinite(trace)}; such states have no covariance, record finite ones.")
    valid = trace.valid
    return StateGeometry(
        layer=trace.name,
        direction=trace.layer.direction,
        states=MappingProxyType({name: _geometry(s, valid, components) for name, s in trace.states.items()}),
        n=int(valid.sum()),
    )


def _geometry(states: Float[Tensor, "time sequence unit"], valid: Tensor, components: int) -> Geometry:
    samples = states[valid].double()
    mean = samples.mean(0)
    centred = samples - mean
    variances, vectors = torch.linalg.eigh(centred.mT @ centred / len(samples))
    variances, axes = variances.flip(0).clamp(min=0), vectors.flip(1).mT[:components]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * largest.sign()
    path = torch.full((*valid.shape, len(axes)), torch.nan, dtype=torch.float64, device=states.device)
    path[valid] = centred @ axes.mT
    arrays = [values.cpu().numpy() for values in (mean, variances, axes, path)]
    for array in arrays:
        array.setflags(write=False)
    return Geometry(*arrays)
