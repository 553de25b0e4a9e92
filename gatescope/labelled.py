"""Sequences as labelled arrays and as tables: the field's names and units, and nothing after a sequence's end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

MEANING = {
    "x": "input",
    "i": "input gate",
    "f": "forget gate",
    "o": "output gate",
    "g": "candidate",
    "c": "cell state",
    "h": "hidden state",
    "r": "reset gate",
    "z": "update gate, which keeps the old state",
    "n": "candidate",
    "q": "hidden side of the candidate, before the reset gate",
    "pair": "recurrent state as a whole",
}
"""What each name means, on every floor."""

_RANGE = dict.fromkeys("ifozr", (0.0, 1.0)) | dict.fromkeys("gn", (-1.0, 1.0))


def dataset(
    quantities: Mapping[str, Float[Tensor, "time sequence *unit"]],
    valid: Bool[Tensor, "time sequence"],
    last_dim: Mapping[str, str],
    about: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> xr.Dataset:
    """A dataset with the dims `time, sequence, …`, NaN after each sequence's end.

    `last_dim` names the last dimension of each quantity that has one, `about` its attributes.
    """
    arrays = {
        name: (
            ("time", "sequence", last_dim[name])[: values.dim()],
            _with_nan(values, valid),
            {**about.get(name, {})},
        )
        for name, values in quantities.items()
    }
    sizes = {dim: size for dims, values, _ in arrays.values() for dim, size in zip(dims, values.shape, strict=True)}
    coordinates: dict[str, Any] = {dim: np.arange(size) for dim, size in sizes.items()}
    coordinates["time"] = ("time", coordinates["time"], {"units": "step", "long_name": "step of the input"})
    lengths = valid.sum(0).cpu().numpy()
    coordinates["length"] = ("sequence", lengths, {"units": "step", "long_name": "steps of the sequence"})
    return xr.Dataset(arrays, coordinates, dict(facts))


def frame(
    quantities: Mapping[str, Float[Tensor, "time sequence *unit"]],
    valid: Bool[Tensor, "time sequence"],
    facts: Mapping[str, Any],
) -> pd.DataFrame:
    """One row a number that exists: the facts, quantity, time, sequence, unit (where there is one), value."""
    running = valid.cpu()
    time, sequence = (part.numpy() for part in running.nonzero(as_tuple=True))
    parts = []
    for name, values in quantities.items():
        rows = _numbers(values)[running.numpy()]
        units = rows.shape[1] if rows.ndim > 1 else 1
        columns: dict[str, Any] = {
            **facts,
            "quantity": name,
            "time": np.repeat(time, units),
            "sequence": np.repeat(sequence, units),
        }
        if rows.ndim > 1:
            columns["unit"] = np.tile(np.arange(units), len(time))
        parts.append(pd.DataFrame({**columns, "value": rows.reshape(-1)}))
    return pd.concat(parts, ignore_index=True)


def attributes(name: str) -> dict[str, Any]:
    """The meaning, the unit and the range of a gate or state."""
    about: dict[str, Any] = {"long_name": MEANING.get(name, name), "units": "1"}
    return about | ({"valid_range": list(_RANGE[name])} if name in _RANGE else {})


def _numbers(values: Tensor) -> "np.ndarray[Any, np.dtype[np.floating[Any]]]":
    """On the CPU, in at least float32: numpy has no bfloat16."""
    values = values.detach().cpu()
    exact: np.ndarray[Any, np.dtype[np.floating[Any]]] = (
        values if values.element_size() > 2 else values.float()
    ).numpy()
    return exact


def _with_nan(values: Tensor, valid: Tensor) -> "np.ndarray[Any, np.dtype[np.floating[Any]]]":
    known = _numbers(values).copy()
    known[~valid.cpu().numpy()] = np.nan
    return known
