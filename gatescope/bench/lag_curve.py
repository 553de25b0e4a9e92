"""What the gradient at every lag costs, beside one training step of the same network and beside the naive way.

    ours       record a forward pass, sweep the gradient back once, read the curve: every lag from 0 to T
    training   forward and backward of the fused nn.LSTM in float32, as one step of training takes them
    naive      a Python loop over nn.LSTMCell and autograd through it, anew for each window: one lag a window

Of the naive way nothing is asked but the gradient at the state before the window: no step before it is in the graph,
and no weight's gradient is taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..measures.lag_curve import LagCurve
from ..measures.lag_curves import lag_curves
from ..recording.arrivals import random_readout
from ..recording.linearised import linearised_calls
from ..recording.recorder import Recorder
from .timing import median_ratio, seconds

SIZE = (500, 32, 64, 256)
"""Steps, sequences, features, units."""
WINDOWS = 20
SEED = 0
"""Of the random readout of h_n."""


@dataclass(frozen=True, eq=False)
class Network:
    """One LSTM, one input, and the gradient at its last hidden state."""

    lstm: nn.LSTM
    x: Float[Tensor, "time sequence feature"]
    felt: Float[Tensor, "sequence unit"]
    """dL/dh_T."""

    @classmethod
    def of_size(cls, steps: int, sequences: int, features: int, units: int) -> "Network":
        """One with torch's own initialisation."""
        x, (felt, _) = torch.randn(steps, sequences, features), random_readout(sequences, units, seed=SEED)
        return cls(nn.LSTM(features, units), x, felt)


@dataclass(frozen=True)
class LagCurveCost:
    """What the whole curve costs."""

    training_steps: dict[str, float]
    """How many training steps, recording included, by the dtype of the sweep: medians of the ratios of neighbours."""
    speedup: dict[str, float]
    """How many times longer the naive way takes in the same dtype."""


def lag_curve_cost(repeats: int = 7, windows: int = WINDOWS) -> LagCurveCost:
    """The cost at `SIZE`, all in turn; the naive way once, because it takes long."""
    network = Network.of_size(*SIZE)
    steps = len(network.x)
    lags = [steps * (k + 1) // windows for k in range(windows)]
    dtypes = {"float32": torch.float32, "float64": torch.float64}
    work: dict[str, Callable[[], object]] = {"training": partial(training_step, network)}
    work |= {name: partial(every_lag, network, dtype) for name, dtype in dtypes.items()}
    for once in work.values():
        once()
    took = [{name: seconds(once) for name, once in work.items()} for _ in range(repeats)]
    of = {name: [times[name] for times in took] for name in work}
    naive = {name: seconds(partial(naive_curve, network, lags, dtype)) for name, dtype in dtypes.items()}
    return LagCurveCost(
        {name: median_ratio(of[name], of["training"]) for name in dtypes},
        {name: naive[name] / float(np.median(of[name])) for name in dtypes},
    )


def training_step(network: Network) -> None:
    """The gradient of every weight, as torch's fused kernel gives it."""
    output, _ = network.lstm(network.x)
    output[-1].backward(network.felt.to(output.dtype))
    network.lstm.zero_grad()


@torch.no_grad()
def every_lag(network: Network, dtype: torch.dtype) -> LagCurve:
    """The curve over all lags, of a recording made for it and swept in this dtype."""
    with Recorder(network.lstm) as rec:
        network.lstm(network.x)
    (call,) = linearised_calls(rec, readout=SEED, dtype=dtype)
    (curve,) = lag_curves(call, loss="a random linear readout of h_n")
    return curve


def naive_curve(network: Network, lags: Sequence[int], dtype: torch.dtype) -> Float[Tensor, "sequence lag"]:
    """ln of |dL/d(h, c)| so many steps before the end."""
    x, felt = network.x.to(dtype), network.felt.to(dtype)
    cell = nn.LSTMCell(x.shape[-1], felt.shape[-1], dtype=dtype)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in network.lstm.state_dict().items()})
    found = []
    for lag in lags:
        state = torch.zeros_like(felt), torch.zeros_like(felt)
        with torch.no_grad():
            for x_t in x[: len(x) - lag]:
                state = cell(x_t, state)
        before = h, c = state[0].requires_grad_(), state[1].requires_grad_()
        for x_t in x[len(x) - lag :]:
            h, c = cell(x_t, (h, c))
        gradients = torch.autograd.grad(h, before, felt)
        found.append(torch.cat(gradients, -1).double().norm(dim=-1).log())
    return torch.stack(found, -1)
