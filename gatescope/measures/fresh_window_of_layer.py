"""What one layer by itself would feel if it saw only the last W steps of its input: every window in one run.

    for each W and sequence b: run from the zero state over the last W steps of b's own recorded input, to s_{W,b}
                L_W = Σ_b ⟨g_b, s_{W,b}⟩,   |dL_W/dθ|,   log |dL_W/ds_0| of each sequence

g_b is the recorded gradient at b's last state (h and c as two leaves) and is held fixed, the same for every window, so
that a curve over W shows the layer and not what the loss makes of another output. The steps are the layer's own: the
last ones of a reverse layer are the first of the input. Norms are L2. L_W and |dL_W/dθ| are 0 below 1e-308 and infinite
above 1e308, as floats are; the logarithm is exact.

All windows run together in float64, as sequences of different length; what each of them felt follows one by one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..cells.gru import GRU
from ..cells.lstm import LSTM
from ..cells.rnn import ReluRNN, TanhRNN
from ..dynamics.adjoint import Arriving, sweep
from ..dynamics.replay import TOLERANCE, proven, replay
from ..dynamics.unroll import unroll
from ..kernels import fused
from ..shapes import last_step
from ..trace import Adjoint, Trace
from .fresh_window import FreshWindow, chosen_windows
from .outer_products import by_lag, merged, outer_products


def fresh_window_of_layer(adjoint: Adjoint, windows: Sequence[int]) -> FreshWindow:
    """The fresh-window curve of one recorded layer, on its own input, under the gradient recorded at its last states.

    A window counts for the sequences that have so many steps: `initial` is NaN for the others, and loss and parameters
    are sums over those alone. A window that is named twice counts once. The gradient is of every weight and bias of the
    layer; of a cell of one's own, only what reaches the weights through the two affine terms.

    Raises:
        InputError: no window, or one that no sequence has.
    """
    trace, lengths = adjoint.trace, adjoint.lengths
    chosen = chosen_windows(windows, int(lengths.max()))
    loss, parameters = np.zeros((2, len(chosen)))
    initial = np.full((len(chosen), len(lengths)), np.nan)
    with torch.inference_mode(mode=False), torch.no_grad():
        gradient, log_scale = _at_last_state(adjoint)
        for place, (there, ran) in enumerate(_runs(trace, chosen)):
            frozen = {name: values[there] for name, values in gradient.items()}
            felt = sweep(ran, Arriving(at_end=frozen))
            readout = torch.stack([(values * ran.states[name][-1]).sum(-1) for name, values in frozen.items()]).sum(0)
            loss[place] = float((readout * log_scale[there].exp()).sum())
            with np.errstate(over="ignore"):  # an exploding gradient: its logarithms are numbers
                parameters[place] = np.exp(_log_norm_of_parameters(felt, log_scale[there]))
            initial[place, there.cpu().numpy()] = (felt.log_norm_initial("pair") + log_scale[there]).cpu().numpy()
    return FreshWindow(
        windows=np.array(chosen),
        loss=loss,
        loss_name="recorded gradient at the last state, held fixed, times that state",
        parameters=MappingProxyType({adjoint.name: parameters}),
        initial=MappingProxyType({adjoint.name: initial}),
        how=(
            "the layer by itself, every window in one run on its own recorded input from the zero state, under the "
            "gradient recorded at its last state"
        ),
        lengths=lengths.cpu().numpy(),
    )


def _at_last_state(adjoint: Adjoint) -> tuple[dict[str, Float[Tensor, "sequence _"]], Float[Tensor, "sequence"]]:
    """dL/d(state after each sequence's last processed step), over `exp` of the second tensor."""

    def at_end(values: Tensor) -> Tensor:
        return last_step(adjoint.trace.in_processing_order(values), adjoint.lengths).double()

    return {name: at_end(values) for name, values in adjoint.normalised["state"].items()}, at_end(adjoint.log_scale)


def _runs(trace: Trace, windows: list[int]) -> Iterator[tuple[Bool[Tensor, "sequence"], Trace]]:
    """For each window, which sequences have it, and what the layer does there from the zero state."""
    layer = replace(trace.layer, direction="forward").to(torch.float64)
    exists = torch.tensor(windows, device=trace.x.device)[:, None] <= trace.lengths
    of_window, sequences = exists.nonzero(as_tuple=True)
    lengths = torch.tensor(windows, device=trace.x.device)[of_window]
    x, start = _ends(trace, lengths, sequences), layer.zeros(len(lengths))
    has_kernel = type(layer.cell) in {LSTM, GRU, TanhRNN, ReluRNN}
    h, (final,) = fused([layer], x, [start], lengths) if has_kernel else (x, [start])
    for place, window in enumerate(windows):
        here = of_window == place
        x_here, own = x[:window, here], lengths[here]
        zero, last = ({name: values[here] for name, values in states.items()} for states in (start, final))
        if has_kernel:
            ran = replay(layer, x_here, h[:window, here], zero, own, last)
            ran = proven(ran, layer, TOLERANCE[torch.float64], last)
        else:
            ran = unroll(layer, x_here, zero, own)
        yield exists[place], ran


def _ends(
    trace: Trace, windows: Int[Tensor, "window"], sequences: Int[Tensor, "window"]
) -> Float[Tensor, "time window feature"]:
    """The last steps that a layer reads of each of these sequences, in its order; anything after a window's end."""
    first = trace.lengths[sequences] - windows
    steps = torch.arange(int(windows.max()), device=windows.device)[:, None] + first
    return trace.in_processing_order(trace.x)[steps.clamp(max=len(trace.x) - 1), sequences].double()


def _log_norm_of_parameters(felt: Adjoint, log_scale: Float[Tensor, "sequence"]) -> float:
    """The log norm of the gradient of the layer's parameters, summed over sequences."""
    scale = by_lag(felt.trace, felt.log_scale) + log_scale
    # Beside a finite number, so that a gradient of exactly zero is one under it.
    largest = scale.amax().clamp(min=torch.finfo(torch.float64).min)
    shrink = (scale - largest).exp()[..., None]
    squares = [
        ((left * shrink).flatten(0, 1).mT @ right.flatten(0, 1)).square().sum()
        for left, right in merged(outer_products(felt))
    ]
    return float(torch.stack(squares).sum().log() / 2 + largest)
