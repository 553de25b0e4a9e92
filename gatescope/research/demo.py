"""The classic example, measured: recurrent networks that learn to continue a sine wave, and how far back each can feel.

Five networks of one size: a tanh RNN, an LSTM and a GRU as torch initialises them, and the same LSTM with forget bias 1
and with chrono initialisation. Each is trained in the same way and recorded before and after, on held-out windows that
do not overlap. Nothing here draws; what is said of the numbers stands in `findings.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InputError
from ..initialisations import chrono, forget_bias
from ..measures.fresh_window import FreshWindow, fresh_window
from ..measures.lag_curve import LagCurve, lag_curve
from ..recording.recorder import Recorder
from ..tasks import Task, sine
from ..trace import Trace
from ..verdicts import Attenuation, Horizon, Verdict, attenuation, horizons, judge
from .train import train

PLAIN = "torch's default"
LOSS = "mean squared error of the next value, read at the last step"
WINDOWS = (1, 2, 3, 5, 7, 10, 14, 20)

Stack = type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many epochs of all networks are done, and how many there are."""


@dataclass(frozen=True)
class Settings:
    """The classic example."""

    period: int = 50
    window: int = 20
    sequences: int = 1000
    held_out: float = 0.2
    """The share of the sequences, the last in time, that is kept from training."""
    hidden_size: int = 50
    layers: int = 2
    epochs: int = 200
    batch_size: int = 800
    """All that is trained on: one step of Adam an epoch."""
    chunk: int = 200
    """How many sequences go through a network at once; the gradients of the chunks add up to the batch's."""
    lr: float = 1e-3
    seed: int = 0
    ahead: int = 50
    """How many steps a trained network goes on from its own predictions."""
    shown: int = 4
    """How many held-out sequences are kept for pictures."""


@dataclass(frozen=True, eq=False)
class Moment:
    """One network before or after its training, on held-out sequences."""

    curves: Mapping[str, LagCurve]
    """By layer, over sequences that do not overlap."""
    windows: FreshWindow
    attenuations: Mapping[str, Attenuation]
    """By layer, over the whole window: from its first step to its last."""
    horizons: Mapping[str, tuple[Horizon, ...]]
    verdicts: tuple[Verdict, ...]
    """For each layer, at the lag that the task needs, and on exploding."""
    traces: Mapping[str, Trace]
    """By layer, of the sequences in `Demo.shown`."""
    residual: float
    """The largest replay residual of all layers."""


@dataclass(frozen=True, eq=False)
class Network:
    """One network, its training and its two moments."""

    name: str
    cell: str
    """The kind of cell, as in `CELLS`."""
    initialisation: str
    losses: Float[np.ndarray, "epoch"]
    error: float
    """Mean squared error over all held-out sequences."""
    predictions: Float[np.ndarray, "held_out"]
    """Of the value after each held-out sequence."""
    continued: Float[np.ndarray, "shown step"]
    """Each of the shown sequences continued, the network reading its own predictions."""
    before: Moment
    after: Moment


@dataclass(frozen=True, eq=False)
class Demo:
    """All that a page about the classic example needs."""

    settings: Settings
    task: Task
    """The held-out sequences, in the order of time, one step apart."""
    shown: tuple[int, ...]
    """Which of them are shown."""
    truth: Float[np.ndarray, "held_out"]
    """The value after each held-out sequence."""
    to_continue: Float[np.ndarray, "shown step"]
    """The values after each of the shown sequences, against which `continued` is held."""
    persistence: float
    """The mean squared error of repeating the last value."""
    twin: float
    """The largest difference between a held-out sequence and the most similar one that was trained on."""
    networks: tuple[Network, ...]


def mean_squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """The loss of the classic example, under the name that the page gives it."""
    return nn.functional.mse_loss(prediction, truth)


class Forecaster(nn.Module):
    """The regressor of the classic example: a recurrent stack, and a linear layer on its last step."""

    def __init__(self, cell: Stack, settings: Settings) -> None:
        super().__init__()
        self.rnn = cell(1, settings.hidden_size, settings.layers, batch_first=True)
        self.head = nn.Linear(settings.hidden_size, 1)

    def forward(self, x: Float[Tensor, "sequence time feature"]) -> Float[Tensor, "sequence feature"]:
        out, _ = self.rnn(x)
        prediction: Tensor = self.head(out[:, -1])
        return prediction


def run_demo(progress: Progress | None = None, *, settings: Settings = Settings()) -> Demo:
    """Trains, records and measures the five networks; the same settings give the same numbers.

    `progress` is called after each epoch of each network.
    """
    period, window = settings.period, settings.window
    task = sine(period=period, points=settings.sequences + window, window=window)
    trained_on, held_out = task.split(1 - settings.held_out)
    shown = tuple(range(0, len(held_out) - settings.ahead + 1, window + 1))[: settings.shown]
    if not shown:
        raise InputError(
            f"The demo was asked to go on for {settings.ahead} steps after held-out sequences, of which there are only "
            f"{len(held_out)}; hold out more, or go on for fewer."
        )
    plans = _plans(settings)
    networks = []
    for place, plan in enumerate(plans):

        def told(epoch: int, loss: float, plan: _Plan = plan, place: int = place) -> None:
            if progress is not None:
                progress(f"training the {plan.name}", place * settings.epochs + epoch, len(plans) * settings.epochs)

        with _one_thread(), torch.random.fork_rng(devices=[]):
            networks.append(_network(plan, trained_on, held_out, shown, settings, told))
    truth = held_out.y[:, 0].double().numpy()
    distance = torch.cdist(held_out.x[:, :, 0], trained_on.x[:, :, 0], p=torch.inf)
    return Demo(
        settings=settings,
        task=held_out,
        shown=shown,
        truth=truth,
        to_continue=np.stack([truth[start : start + settings.ahead] for start in shown]),
        persistence=float((held_out.x[:, -1] - held_out.y).square().mean()),
        twin=float(distance.min(1).values.max()),
        networks=tuple(networks),
    )


@dataclass(frozen=True)
class _Plan:
    name: str
    cell: Stack
    initialisation: str
    initialise: Callable[[nn.RNNBase], None] | None = None


def _plans(settings: Settings) -> tuple[_Plan, ...]:
    def spread(module: nn.RNNBase) -> None:
        chrono(module, settings.window, generator=torch.Generator().manual_seed(settings.seed))

    return (
        _Plan("tanh RNN", nn.RNN, PLAIN),
        _Plan("LSTM", nn.LSTM, PLAIN),
        _Plan("GRU", nn.GRU, PLAIN),
        _Plan("LSTM, forget bias 1", nn.LSTM, "forget bias 1", forget_bias),
        _Plan("LSTM, chrono", nn.LSTM, f"chrono biases up to {settings.window} steps", spread),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small run faster so, and their numbers do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _network(
    plan: _Plan,
    trained_on: Task,
    held_out: Task,
    shown: Sequence[int],
    settings: Settings,
    told: Callable[[int, float], None],
) -> Network:
    torch.default_generator.manual_seed(settings.seed)  # the one that initialises; those of other devices are not ours
    model = Forecaster(plan.cell, settings)
    if plan.initialise is not None:
        plan.initialise(model.rnn)
    before = _moment(model, held_out, shown)
    losses = train(
        model,
        trained_on,
        epochs=settings.epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        chunk=settings.chunk,
        seed=settings.seed,
        progress=told,
    )
    after = _moment(model, held_out, shown)
    with torch.no_grad():
        predictions = model(held_out.x)
    return Network(
        name=plan.name,
        cell=next(iter(after.curves.values())).cell,
        initialisation=plan.initialisation,
        losses=losses,
        error=float((predictions - held_out.y).square().mean()),
        predictions=predictions[:, 0].double().numpy(),
        continued=_continued(model, held_out.x[list(shown)], settings.ahead),
        before=before,
        after=after,
    )


def _moment(model: Forecaster, held_out: Task, shown: Sequence[int]) -> Moment:
    window = held_out.x.shape[1]
    apart = held_out[:: window + 1]  # a window and its target, then the next: independent as far as a sine can be
    model.eval()
    with Recorder(model) as rec:
        loss = nn.functional.mse_loss(model(apart.x), apart.y)
        loss.backward()
    model.zero_grad()
    curves = {name: lag_curve(adjoint, loss=LOSS) for name, adjoint in sorted(rec.adjoints.items())}
    with torch.no_grad(), Recorder(model) as few:
        model(held_out.x[list(shown)])
    return Moment(
        curves=MappingProxyType(curves),
        windows=fresh_window(
            model, apart.x, apart.y, mean_squared_error, [length for length in WINDOWS if length <= window]
        ),
        attenuations=MappingProxyType({name: attenuation(curve, window - 1) for name, curve in curves.items()}),
        horizons=MappingProxyType({name: horizons(curve) for name, curve in curves.items()}),
        verdicts=tuple(verdict for curve in curves.values() for verdict in judge(curve, held_out.needed_lag)),
        traces=MappingProxyType(dict(few.traces)),
        residual=max(trace.residual for trace in rec.traces.values()),
    )


@torch.no_grad()
def _continued(model: nn.Module, x: Float[Tensor, "shown time 1"], steps: int) -> Float[np.ndarray, "shown step"]:
    values = []
    for _ in range(steps):
        values.append(model(x))
        x = torch.cat([x[:, 1:], values[-1][:, None]], 1)
    return torch.cat(values, 1).double().numpy()
