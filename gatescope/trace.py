"""What a recurrent layer did at every step, and what the loss felt there.

Time is the input's own time, for the reverse direction too. After a sequence's end tensors hold zero and `valid` is
false. `trace.md` is the written schema: if a name is present, it means what stands there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .layers import RecurrentLayer
from .shapes import reversed_in_time, shifted, valid_steps, zero_after_the_end

if TYPE_CHECKING:
    import pandas
    import xarray

Method = Literal["replay", "stepwise", "unrolled"]
Kind = Literal["total", "state", "preactivations"]


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What one layer did in one call."""

    layer: RecurrentLayer
    x: Float[Tensor, "time sequence feature"]
    """The layer's input."""
    gates: Mapping[str, Float[Tensor, "time sequence _"]]
    """Every gate by its name in `layer.cell.gates`; a GRU also keeps `q`, what its reset gate lets through."""
    states: Mapping[str, Float[Tensor, "time sequence _"]]
    """The hidden state `h`, as the kernel returned it, and the cell state `c`, after each step."""
    initial: Mapping[str, Float[Tensor, "sequence _"]]
    """The states before the first step."""
    lengths: Int[Tensor, "sequence"]
    """The number of steps of each sequence."""
    residual: float
    """The largest difference between the h that the gates explain and the h that ran, over the largest |h|."""
    method: Method = "replay"
    """How the gates are known: `replay` of the fused kernel, `stepwise` through it, or `unrolled` in our own cell."""
    call: int = 0
    """Which call of the module within the recording, from 0."""
    forward: int = 0
    """Which forward pass of the recorded model, from 0."""

    @property
    def name(self) -> str:
        """The layer's name, with `#1`, `#2`, … for the second and later calls of its module."""
        return f"{self.layer.name}#{self.call}" if self.call else self.layer.name

    @property
    def valid(self) -> Bool[Tensor, "time sequence"]:
        """True where a sequence is still running."""
        return valid_steps(self.lengths, len(self.x))

    @property
    def previous(self) -> dict[str, Float[Tensor, "time sequence _"]]:
        """The states from which each step starts."""

        def before(name: str) -> Tensor:
            states = shifted(self.in_processing_order(self.states[name]), self.initial[name])
            return zero_after_the_end(self.in_processing_order(states), self.lengths)

        return {name: before(name) for name in self.states}

    @property
    def preactivations(self) -> dict[str, Float[Tensor, "time sequence _"]]:
        """What stands inside sigmoid or tanh of each gate, anew from x, the previous states and the weights."""
        prev = self.previous
        weights = self.layer.weights
        named = self.layer.cell.preactivations(weights, self.layer.affine(self.x, prev["h"]), prev)
        return {name: zero_after_the_end(values, self.lengths) for name, values in named.items()}

    def in_processing_order(
        self, sequences: Float[Tensor, "time sequence *rest"]
    ) -> Float[Tensor, "time sequence *rest"]:
        """Turns a reverse layer's sequences round, so that its first step comes first; its own inverse."""
        return reversed_in_time(sequences, self.lengths) if self.layer.direction == "reverse" else sequences

    def to_xarray(self) -> "xarray.Dataset":
        """The trace as a dataset with the dims `time, sequence, unit`, units and attributes; NaN after the end."""
        from .labelled import attributes, dataset

        quantities = {"x": self.x, **self.gates, **self.states}
        last = {name: self._last_dim(name, values) for name, values in quantities.items()}
        facts = {**self._facts, "residual": self.residual, "method": self.method}
        return dataset(quantities, self.valid, last, {name: attributes(name) for name in quantities}, facts)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, quantity, time, sequence, unit, value; no row after the end."""
        from .labelled import frame

        return frame({"x": self.x, **self.gates, **self.states}, self.valid, self._columns)

    @property
    def _columns(self) -> dict[str, Any]:
        return {"layer": self.name, "direction": self.layer.direction}

    @property
    def _facts(self) -> dict[str, Any]:
        more = {"cell": self.layer.cell.kind, "aliases": list(self.layer.aliases)}
        return {**self._columns, **more, "call": self.call, "forward": self.forward}

    def _last_dim(self, name: str, values: Tensor) -> str:
        """The name of the dimension of units: h has its own where there is a projection."""
        if name == "x":
            return "feature"
        if values.shape[-1] == self.layer.hidden_size:
            return "unit"
        return "projection" if name == "h" else f"{name}_row"

    def __repr__(self) -> str:
        steps, sequences, features = self.x.shape
        gates = f"gates {' '.join(self.layer.cell.gates)}" if self.layer.cell.gates else "no gates"
        return (
            f"Trace({self.name}: {self.layer.cell.kind}, {self.layer.direction}; {steps} steps x {sequences} "
            f"sequences, {features} features -> {self.layer.hidden_size} units; {gates}, "
            f"states {' '.join(self.states)}; {self.method}, residual {self.residual:.1e})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Adjoint:
    """The gradient of the loss at every state and every gate of every step of one layer.

    Kept normalised, with the scale of each step and sequence as a logarithm: a gradient of 1e-400 is a number here.
    The mappings `total`, `state`, `preactivations` and `initial` take the scale back in and may underflow; `log_norm`
    does not.
    """

    trace: Trace
    """The trace along which the gradient was taken."""
    normalised: Mapping[Kind, Mapping[str, Float[Tensor, "time sequence _"]]]
    """Every adjoint over `exp(log_scale)`."""
    log_scale: Float[Tensor, "time sequence"]
    """Natural logarithm of the L2 norm of the state pair, in float64; -inf where no gradient arrives."""
    normalised_initial: Mapping[str, Float[Tensor, "sequence _"]]
    """The adjoint of the states before the first step, over `exp(log_scale_initial)`."""
    log_scale_initial: Float[Tensor, "sequence"]

    @property
    def layer(self) -> RecurrentLayer:
        return self.trace.layer

    @property
    def name(self) -> str:
        return self.trace.name

    @property
    def lengths(self) -> Int[Tensor, "sequence"]:
        return self.trace.lengths

    @property
    def valid(self) -> Bool[Tensor, "time sequence"]:
        return self.trace.valid

    @property
    def total(self) -> Mapping[str, Float[Tensor, "time sequence _"]]:
        """dL/dh_t and dL/dc_t along every path: what `retain_grad()` gives in an unrolled loop."""
        return _Unscaled(self.normalised["total"], self.log_scale)

    @property
    def state(self) -> Mapping[str, Float[Tensor, "time sequence _"]]:
        """The pair that the Jacobian of a step carries: h_t and c_t cut into two leaves, so dL/dc_t holds h_t fixed."""
        return _Unscaled(self.normalised["state"], self.log_scale)

    @property
    def preactivations(self) -> Mapping[str, Float[Tensor, "time sequence _"]]:
        """dL/d pre-activation of each gate; a GRU also has `q`, the hidden side of its candidate."""
        return _Unscaled(self.normalised["preactivations"], self.log_scale)

    @property
    def initial(self) -> Mapping[str, Float[Tensor, "sequence _"]]:
        """dL/d initial states."""
        return _Unscaled(self.normalised_initial, self.log_scale_initial)

    def log_norm(self, name: str, of: Kind = "total") -> Float[Tensor, "time sequence"]:
        """Natural logarithm of the L2 norm over units, in float64; -inf where the gradient is exactly zero.

        `name` is a state (`"h"`, `"c"`), a gate (with `of="preactivations"`), or `"pair"`: the recurrent state as a
        whole, sqrt(|dL/dh_t|² + |dL/dc_t|²) with h_t held fixed in the second.
        """
        if name == "pair":
            return self._pair(self.normalised["state"], self.log_scale)
        return _log_norm(self.normalised[of][name]) + self.log_scale

    def log_norm_initial(self, name: str) -> Float[Tensor, "sequence"]:
        """As `log_norm`, for the states before the first step."""
        if name == "pair":
            return self._pair(self.normalised_initial, self.log_scale_initial)
        return _log_norm(self.normalised_initial[name]) + self.log_scale_initial

    def to_xarray(self) -> "xarray.Dataset":
        """The total, state and pre-activation adjoints and log norms, by names such as `total_c`; NaN after the end."""
        from .labelled import MEANING, dataset

        quantities, about, last = self._log_norms, {}, {}
        for name in quantities:
            about[name] = {"long_name": f"ln of the norm of {name.removeprefix('log_norm_')}'s adjoint", "units": "nat"}
            last[name] = ""
        kinds = {"total": self.total, "state": self.state, "preactivation": self.preactivations}
        for kind, named in kinds.items():
            for name, values in named.items():
                quantities[f"{kind}_{name}"] = values
                about[f"{kind}_{name}"] = {
                    "long_name": f"{kind} adjoint of the {MEANING.get(name, name)}",
                    "units": "loss",
                }
                last[f"{kind}_{name}"] = self.trace._last_dim(name, values)
        return dataset(quantities, self.valid, last, about, self.trace._facts)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a log norm: layer, direction, quantity, time, sequence, value in nats; no row after the end."""
        from .labelled import frame

        return frame(self._log_norms, self.valid, self.trace._columns)

    @property
    def _log_norms(self) -> dict[str, Tensor]:
        return {f"log_norm_{name}": self.log_norm(name) for name in ("pair", *self.total)}

    def _pair(self, states: Mapping[str, Tensor], log_scale: Tensor) -> Tensor:
        norms = torch.stack([_log_norm(values) for values in states.values()])
        return torch.logsumexp(2 * norms, 0) / 2 + log_scale

    def __repr__(self) -> str:
        steps, sequences = self.log_scale.shape
        return (
            f"Adjoint({self.name}: {self.layer.cell.kind}, {self.layer.direction}; {steps} steps x {sequences} "
            f"sequences; total {' '.join(self.normalised['total'])}; preactivations "
            f"{' '.join(self.normalised['preactivations'])}; {str(self.trace.x.dtype).removeprefix('torch.')})"
        )


class _Unscaled(Mapping[str, Tensor]):
    """Normalised tensors with their scale taken back in when one asks for them."""

    def __init__(self, normalised: Mapping[str, Tensor], log_scale: Tensor) -> None:
        self._normalised, self._log_scale = normalised, log_scale

    def __getitem__(self, name: str) -> Tensor:
        values = self._normalised[name]
        return values * self._log_scale.exp().to(values.dtype)[..., None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._normalised)

    def __len__(self) -> int:
        return len(self._normalised)

    def __repr__(self) -> str:
        return f"{{{', '.join(self._normalised)}: [{', '.join(map(str, self._log_scale.shape))}, unit]}}"


def _log_norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1, dtype=torch.float64)
    return norm.log()
