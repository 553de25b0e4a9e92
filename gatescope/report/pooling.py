"""Fewer, broader cells where a map has more than can be told apart on a page: each is the mean of its neighbours."""

import numpy as np
from jaxtyping import Float

UNITS, STEPS = 64, 240
"""So many rows and columns of one map a page shows."""


def cell_of(units: int, steps: int) -> tuple[int, int]:
    """How many units and how many steps share one cell."""
    return -(-units // UNITS), -(-steps // STEPS)


def pooled(values: Float[np.ndarray, "unit step"]) -> Float[np.ndarray, "row column"]:
    """The mean over each cell, of what is a number in it; NaN where nothing is."""
    for axis, size in enumerate(cell_of(*values.shape)):
        if size > 1:
            missing = -values.shape[axis] % size
            padding = [(0, missing if axis == padded else 0) for padded in range(2)]
            parts = np.split(
                np.pad(values, padding, constant_values=np.nan), (values.shape[axis] + missing) // size, axis
            )
            stacked = np.stack(parts, axis)
            known = np.isfinite(stacked)
            with np.errstate(invalid="ignore"):
                values = np.where(known, stacked, 0).sum(axis + 1) / known.sum(axis + 1)
    return values
