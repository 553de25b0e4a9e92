"""Traces and adjoints as labelled arrays and as tables: the same names, the field's units, nothing after the end."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from .trace import Adjoint, Trace

_MEANING = {
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
}
_UNIT_INTERVAL = frozenset({"i", "f", "o", "r", "z"})
_SIGNED_INTERVAL = frozenset({"g", "n"})


def trace_to_xarray(trace: Trace) -> xr.Dataset:
    """See `Trace.to_xarray`."""
    units = trace.layer.hidden_size
    quantities = {"x": trace.x, **trace.gates, **trace.states}
    arrays = {
        name: (_dims(name, values, units), _running(trace, values), _attributes(name))
        for name, values in quantities.items()
    }
    return xr.Dataset(
        arrays, _coordinates(trace, arrays), {**_facts(trace), "residual": trace.residual, "method": trace.method}
    )


def trace_to_frame(trace: Trace) -> pd.DataFrame:
    """See `Trace.to_frame`."""
    return _long(trace, {"x": trace.x, **trace.gates, **trace.states}, ("time", "sequence", "unit"))


def adjoint_to_xarray(adjoint: Adjoint) -> xr.Dataset:
    """See `Adjoint.to_xarray`."""
    trace, units = adjoint.trace, adjoint.layer.hidden_size
    arrays: dict[str, Any] = {}
    for kind, named in (("total", adjoint.total), ("state", adjoint.state), ("preactivation", adjoint.preactivations)):
        for name, values in named.items():
            about = {"long_name": f"{kind} adjoint of {_MEANING.get(name, name)}", "units": "loss"}
            arrays[f"{kind}_{name}"] = (_dims(name, values, units), _running(trace, values), about)
    for name, values in _log_norms(adjoint).items():
        about = {"long_name": f"natural log of the norm of the adjoint of {name}", "units": "nat"}
        arrays[f"log_norm_{name}"] = (("time", "sequence"), _running(trace, values), about)
    return xr.Dataset(arrays, _coordinates(trace, arrays), _facts(trace))


def adjoint_to_frame(adjoint: Adjoint) -> pd.DataFrame:
    """See `Adjoint.to_frame`."""
    return _long(adjoint.trace, {f"log_norm_{n}": v for n, v in _log_norms(adjoint).items()}, ("time", "sequence"))


def _log_norms(adjoint: Adjoint) -> dict[str, Tensor]:
    return {name: adjoint.log_norm(name) for name in ("pair", *adjoint.total)}


def _running(trace: Trace, values: Tensor) -> np.ndarray[Any, Any]:
    """The numbers, with NaN after each sequence's end."""
    known = values.detach().cpu().numpy().copy()
    known[~trace.valid.cpu().numpy()] = np.nan
    return known


def _dims(name: str, values: Tensor, units: int) -> tuple[str, str, str]:
    if name == "x":
        return ("time", "sequence", "feature")
    last = "unit" if values.shape[-1] == units else "projection" if name == "h" else "row"
    return ("time", "sequence", last)


def _attributes(name: str) -> dict[str, Any]:
    about: dict[str, Any] = {"long_name": _MEANING.get(name, name), "units": "1"}
    if name in _UNIT_INTERVAL:
        about["valid_range"] = [0.0, 1.0]
    if name in _SIGNED_INTERVAL:
        about["valid_range"] = [-1.0, 1.0]
    return about


def _coordinates(trace: Trace, arrays: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {dim: size for dims, values, _ in arrays.values() for dim, size in zip(dims, values.shape, strict=True)}
    named: dict[str, Any] = {dim: np.arange(size) for dim, size in sizes.items()}
    named["time"] = ("time", np.arange(sizes["time"]), {"units": "step", "long_name": "step of the input"})
    named["length"] = ("sequence", trace.lengths.cpu().numpy(), {"units": "step", "long_name": "steps of the sequence"})
    return named


def _facts(trace: Trace) -> dict[str, Any]:
    return {
        "layer": trace.name,
        "cell": trace.layer.cell.kind,
        "direction": trace.layer.direction,
        "aliases": list(trace.layer.aliases),
        "call": trace.call,
        "forward": trace.forward,
    }


def _long(trace: Trace, quantities: Mapping[str, Tensor], index: Iterable[str]) -> pd.DataFrame:
    """One row a number that exists."""
    names = list(index)
    valid = trace.valid.cpu()
    time, sequence = (part.numpy() for part in valid.nonzero(as_tuple=True))
    parts = []
    for name, values in quantities.items():
        rows = (
            values.detach().cpu()[valid].to(torch.float64 if values.dtype == torch.float64 else torch.float32).numpy()
        )
        units = 1 if rows.ndim == 1 else rows.shape[1]
        columns = {
            "layer": trace.name,
            "direction": trace.layer.direction,
            "quantity": name,
            "time": np.repeat(time, units),
            "sequence": np.repeat(sequence, units),
            "unit": np.tile(np.arange(units), len(time)),
            "value": rows.reshape(-1),
        }
        parts.append(pd.DataFrame(columns))
    frame = pd.concat(parts, ignore_index=True)
    return frame[["layer", "direction", "quantity", *names, "value"]]
