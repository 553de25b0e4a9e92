"""What a network as it is would feel if it saw only the last W steps: loss and gradient for each window length.

    for each W: run on x_{T−W+1} … x_T from the model's own start, same end, same target
                loss L_W,   |dL_W/dθ|,   log |dL_W/ds_0| of each sequence

Norms are L2. This is what changes with the window one trains on; it cannot show vanishing, because the norm of a
parameter's gradient is ruled by the last few steps and goes flat, not down, where the steps before them are lost.
`fresh_window_of_layer` answers the same for one layer by itself, without the model around it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..cells import Cell
from ..errors import InputError
from ..layers import layer_of_cell, stack_of
from ..recording.driving import backward_in_eval_mode, loss_name
from ..recording.left_as_it_was import left_as_it_was
from ..recording.recorder import Recorder
from ..recording.watch import recurrent_modules, unwrapped

if TYPE_CHECKING:
    import pandas

ALL = "all recurrent layers"
"""The key under which the parameters of every recurrent layer are taken together."""


@dataclass(frozen=True, eq=False)
class FreshWindow:
    """The loss and the gradient for each window length, paired at their common end."""

    measure: ClassVar[str] = "fresh_window"

    windows: Int[np.ndarray, "window"]
    """Lengths in steps, ascending."""
    loss: Float[np.ndarray, "window"]
    loss_name: str
    parameters: Mapping[str, Float[np.ndarray, "window"]]
    """The norm of dL/dθ over the trainable parameters of each layer, and of all of them together (`ALL`).

    Of a layer by itself: over every parameter that torch gives it, and no `ALL`."""
    initial: Mapping[str, Float[np.ndarray, "window sequence"]]
    """By layer, the log norm of dL/d(state before the window) in nats; -inf where it is exactly zero, NaN where a
    sequence has no such window."""
    how: str = (
        "one run of the whole model for each window, on the last steps of its input; whatever runs from right to left "
        "begins there"
    )
    lengths: Int[np.ndarray, "sequence"] | None = None
    """The number of steps of each sequence, where not every one has every window: then loss and parameters are of those
    which have it."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(next(iter(self.initial.values()))[0])

    @property
    def together(self) -> Float[np.ndarray, "window"]:
        """The norm of dL/dθ over all that was measured: every recurrent layer, or the one that ran by itself."""
        return self.parameters.get(ALL, next(iter(self.parameters.values())))

    @property
    def exists(self) -> Bool[np.ndarray, "window sequence"]:
        """True where a sequence has such a window: NaN there is a gradient that is not a number."""
        lengths = np.full(self.n, self.windows[-1]) if self.lengths is None else self.lengths
        exists: np.ndarray = self.windows[:, None] <= lengths
        return exists

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, measure, quantity, window, sequence (missing where it is of all), value, unit."""
        import pandas

        whole = ALL if ALL in self.parameters else next(iter(self.parameters))
        columns = ("layer", "quantity", "window", "sequence", "value", "unit")
        rows: list[tuple[str, str, int, int | None, float, str]] = []
        for k, window in enumerate(self.windows.tolist()):
            rows.append((whole, "loss", window, None, self.loss[k], "loss"))
            rows += [
                (at, "parameters", window, None, norms[k], "loss / parameter") for at, norms in self.parameters.items()
            ]
            rows += [
                (at, "initial state", window, sequence, value, "nats")
                for at, log_norms in self.initial.items()
                for sequence, value in enumerate(log_norms[k].tolist())
                if self.exists[k, sequence]
            ]
        frame = pandas.DataFrame.from_records(rows, columns=columns).astype({"sequence": "Int64"})
        frame.insert(1, "measure", self.measure)
        return frame


def fresh_window(
    model: nn.Module,
    x: Tensor,
    y: Any,
    loss: Callable[[Any, Any], Tensor],
    windows: Sequence[int],
    *,
    time_dim: int = 1,
    cells: Mapping[type[nn.Module], Cell] | None = None,
) -> FreshWindow:
    """Runs `model` on the last W steps of `x` for each W of `windows`; measures `loss(model(x), y)` and its gradient.

    The loss is to be a scalar that is read at the end of the window, where all windows meet. The model runs in the mode
    in which it is, from the state that it keeps now, if it keeps any, and is left as it was; no `.grad` is touched. A
    window that is named twice counts once. `cells` says which cell each of one's own modules is, as a `Recorder` takes
    it.

    Raises:
        InputError: a window that `x` does not have, or none at all; an `x` without such a dimension; a loss that is no
            scalar or depends on no recurrent layer; a model whose recurrent parameters are all frozen.
    """
    if not -x.dim() <= time_dim < x.dim():
        raise InputError(
            f"time_dim={time_dim} was given for an x of shape {list(x.shape)}, which has no such dimension; give the "
            "one along which time runs."
        )
    steps = x.shape[time_dim]
    chosen = chosen_windows(windows, steps)
    layers = _trainable_parameters(model, cells or {})
    runs = [
        _run(model, x.detach().narrow(time_dim, steps - window, window), y, loss, layers, cells) for window in chosen
    ]
    return FreshWindow(
        windows=np.array(chosen),
        loss=np.array([run.loss for run in runs]),
        loss_name=loss_name(loss),
        parameters=MappingProxyType(
            {name: np.array([run.parameters[name] for run in runs]) for name in runs[0].parameters}
        ),
        initial=MappingProxyType({name: np.stack([run.initial[name] for run in runs]) for name in runs[0].initial}),
    )


def chosen_windows(windows: Sequence[int], steps: int) -> list[int]:
    """Each window once, in ascending order; an InputError unless there are some, all of 1 to `steps` steps."""
    chosen = sorted(set(windows))
    if not chosen or chosen[0] < 1 or chosen[-1] > steps:
        raise InputError(f"The windows {list(windows)} were asked of {steps} steps; choose some from 1 to {steps}.")
    return chosen


@dataclass(frozen=True)
class _Run:
    loss: float
    parameters: dict[str, float]
    initial: dict[str, np.ndarray]


def _run(
    model: nn.Module,
    x: Tensor,
    y: Any,
    loss: Callable[[Any, Any], Any],
    layers: Mapping[str, list[Tensor]],
    cells: Mapping[type[nn.Module], Cell] | None,
) -> _Run:
    flat = [parameter for parameters in layers.values() for parameter in parameters]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        left_as_it_was(unwrapped(model), given=(x, y)),
        backward_in_eval_mode(model),
        Recorder(model, cells=cells) as rec,
    ):
        value = loss(model(x), y)
        if not isinstance(value, Tensor) or value.numel() != 1:
            seen = (
                f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            )
            raise InputError(f"The loss returned {seen}, and a tensor of one number is wanted; take its mean or sum.")
        gradients = torch.autograd.grad(value, flat, allow_unused=True) if value.requires_grad else [None] * len(flat)
        adjoints = rec.adjoints
    if not adjoints:
        raise InputError(
            f"The loss of {type(model).__name__} depends on no recurrent layer, so no gradient comes there; give a "
            "loss of the model's output, not detached from it."
        )
    felt = iter(gradients)
    squares = {name: sum(map(_square, (next(felt) for _ in parameters))) for name, parameters in layers.items()}
    return _Run(
        loss=float(value.detach()),
        parameters={name: square**0.5 for name, square in (squares | {ALL: sum(squares.values())}).items()},
        initial={name: adjoint.log_norm_initial("pair").cpu().numpy() for name, adjoint in adjoints.items()},
    )


def _trainable_parameters(model: nn.Module, cells: Mapping[type[nn.Module], Cell]) -> dict[str, list[Tensor]]:
    """The parameters of each recurrent layer that are trainable, themselves and not copies of them."""

    def itself(weight: Tensor) -> Tensor:
        return weight

    layers = []
    for found in recurrent_modules(unwrapped(model), cells).values():
        if found.is_stack and isinstance(found.module, nn.RNNBase):
            layers += [layer for depth in stack_of(found.module, found.path, snapshot=itself) for layer in depth]
        else:
            layers.append(layer_of_cell(found.module, found.path, snapshot=itself, cell=found.cell))
    named = {layer.name: [weight for weight in layer.weights.values() if weight.requires_grad] for layer in layers}
    if not any(named.values()):
        raise InputError(
            f"Every recurrent parameter of {type(model).__name__} is frozen (requires_grad=False), so none has a "
            "gradient; give a copy in which they are trainable."
        )
    return named


def _square(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2
