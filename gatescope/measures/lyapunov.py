"""How fast nearby states drift apart or together under the same input: the leading Lyapunov exponents of a layer.

    J_t Q_{t−1} = Q_t R_t            a QR decomposition of the pushed directions, Q orthonormal
    λ_i = 1/T Σ_t ln |R_t,ii|        nats a step, from the largest down

The input is the recorded one and only the state is perturbed (h, or the whole of (h, c)), so these are *conditional*
exponents, and λ_1 is the slope of the lag curve at long lags: below 0 gradients vanish at that rate, above 0 they
explode. Over a finite time they are *finite-time* exponents; over fewer than 100 steps, call them local. A stack is a
skew product, so that its spectrum is the union of its layers', each along its own recorded input; directions of a
bidirectional layer stand by themselves.

Benettin, Galgani, Giorgilli & Strelcyn 1980 (unverified). Dimension: Kaplan & Yorke 1979 (unverified).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..dynamics.growth import Growth, grow, random_directions
from ..dynamics.jacobian import linearised, state_size
from ..errors import InputError
from ..layers import Direction
from ..trace import Trace

if TYPE_CHECKING:
    import pandas

BLOCKS = 20
"""Stretches of time whose means give the standard error: neighbouring steps are not independent, stretches nearly."""
WARM_UP = 200
"""Steps, at most, in which the directions turn to where the dynamics stretches most, before anything is counted."""


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The leading finite-time Lyapunov exponents of every sequence."""

    measure: ClassVar[str] = "lyapunov"

    layer: str
    direction: Direction
    size: int
    """The number of exponents that there are: numbers in the recurrent state."""
    exponents: Float[np.ndarray, "sequence exponent"]
    """In nats a step, in the order in which QR finds them; -inf where a step took a direction away, see `lost`."""
    standard_error: Float[np.ndarray, "sequence exponent"]
    """Of each, from the means over 20 stretches of time; NaN for fewer steps than that."""
    lost: Int[np.ndarray, "sequence exponent"]
    """Steps which left less of a direction than float64 can tell from nothing, as where a state forgets at once."""
    steps: Int[np.ndarray, "sequence"]
    """Steps behind each exponent, warm-up not among them."""
    warm_up: int
    log_condition: float
    """The largest spread of ln R_ii between two decompositions: each 2.3 nats cost the last exponent a digit of 16."""

    @property
    def n(self) -> int:
        """The number of sequences."""
        return len(self.exponents)

    @property
    def spectrum(self) -> Float[np.ndarray, "exponent"]:
        """The mean over sequences, from the largest down; -inf where any sequence has it."""
        mean: np.ndarray = np.sort(self.exponents.mean(0))[::-1]
        return mean

    @property
    def dimension(self) -> float:
        """The Kaplan–Yorke dimension of the attractor that these exponents suggest; NaN if they are too few to say."""
        return kaplan_yorke(self.spectrum, complete=len(self.spectrum) == self.size)

    @property
    def entropy_bound(self) -> float:
        """The sum of the positive exponents in nats a step, which bounds the Kolmogorov–Sinai entropy from above."""
        return float(self.spectrum.clip(min=0).sum())

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, exponent (from 1), sequence, value, unit."""
        import pandas

        sequence, exponent = np.indices(self.exponents.shape).reshape(2, -1)
        quantities = {
            "exponent": (self.exponents, "nats / step"),
            "standard error": (self.standard_error, "nats / step"),
            "lost": (self.lost, "steps"),
        }
        return pandas.concat(
            [
                pandas.DataFrame(
                    {
                        "layer": self.layer,
                        "direction": self.direction,
                        "measure": self.measure,
                        "quantity": quantity,
                        "exponent": exponent + 1,
                        "sequence": sequence,
                        "value": values[sequence, exponent].astype(float),
                        "unit": unit,
                    }
                )
                for quantity, (values, unit) in quantities.items()
            ],
            ignore_index=True,
        )


def lyapunov(
    trace: Trace,
    *,
    k: int = 16,
    warm_up: int | None = None,
    t_ons: int = 1,
    sequences: Sequence[int] | None = None,
    seed: int = 0,
) -> Lyapunov:
    """The k leading exponents along a trace, in float64; all of them where the state has no more than k numbers.

    `warm_up` steps align the directions and are not counted: by default 200, and no more than a quarter of the shortest
    sequence. Every `t_ons` steps the directions are made orthonormal again. `sequences` chooses some of the trace's;
    `seed` draws the first directions.

    Raises:
        InputError: a sequence that is over before the warm-up is; a k or t_ons below 1.
    """
    jacobians, size = linearised(trace, sequences), state_size(trace.layer)
    shortest = int(jacobians.lengths.min())
    warm_up = min(WARM_UP, shortest // 4) if warm_up is None else warm_up
    _check(k, t_ons, warm_up, shortest, trace.name)
    growth = grow(
        lambda step, directions: jacobians[step].push(directions),
        random_directions(min(k, size), size, seed=seed).to(trace.x.device).repeat(len(jacobians.lengths), 1, 1),
        len(jacobians),
        warm_up=warm_up,
        t_ons=t_ons,
    )
    steps = jacobians.lengths.cpu().numpy() - warm_up
    return _measured(growth, trace.name, trace.layer.direction, size, steps, warm_up)


def lyapunov_of_map(
    step: Callable[[int, Tensor], Tensor],
    initial: Float[Tensor, "sequence state"],
    steps: int,
    *,
    k: int | None = None,
    warm_up: int = WARM_UP,
    t_ons: int = 1,
    seed: int = 0,
    name: str = "map",
) -> Lyapunov:
    """The exponents of any map, `step(t, states) -> states` for states `[..., state]`, from its derivative by torch.

    For each row of `initial`, all exponents by default. In the `warm_up` steps, which come before the `steps` that
    count, the state finds its attractor.
    """
    size = initial.shape[1]
    k = size if k is None else min(k, size)
    _check(k, t_ons, warm_up, warm_up + steps, name)
    states = initial[:, None].repeat(1, k, 1)

    def push(t: int, directions: Tensor) -> Tensor:
        nonlocal states
        tangents: Tensor
        states, tangents = torch.func.jvp(lambda s: step(t, s), (states,), (directions,))[:2]
        return tangents

    first = random_directions(k, size, seed=seed).to(initial).repeat(len(initial), 1, 1)
    growth = grow(push, first, warm_up + steps, warm_up=warm_up, t_ons=t_ons)
    return _measured(growth, name, "forward", size, np.full(len(initial), steps), warm_up)


def kaplan_yorke(exponents: Float[np.ndarray, "exponent"], *, complete: bool) -> float:
    """j + (λ_1 + … + λ_j) / |λ_{j+1}|, with the largest j whose sum is not negative; exponents from the largest down.

    If no sum is negative it is their number where they are `complete`, and NaN where more might follow.
    """
    sums = np.cumsum(exponents)
    negative = np.flatnonzero(sums < 0)
    if not len(negative):
        return float(len(exponents)) if complete else math.nan
    j = int(negative[0])
    return j + (float(sums[j - 1] / -exponents[j]) if j else 0.0)


def _measured(
    growth: Growth, layer: str, direction: Direction, size: int, steps: Int[np.ndarray, "sequence"], warm_up: int
) -> Lyapunov:
    # Of a sequence that has ended every R is the identity: it adds nothing, and it is not counted.
    logs = np.where(growth.lost, -np.inf, growth.logs)
    exponents = logs.sum(0) / steps[:, None]
    error = np.stack([_standard_error(logs[:, b], growth.ends, int(length)) for b, length in enumerate(steps)])
    kept = np.where(growth.lost, np.nan, growth.logs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN where a step lost every direction
        spread = np.nanmax(np.nanmax(kept, -1) - np.nanmin(kept, -1))
    lost = growth.lost.sum(0)
    for values in (exponents, error, lost):
        values.setflags(write=False)
    return Lyapunov(layer, direction, size, exponents, error, lost, steps, warm_up, float(spread))


def _standard_error(
    logs: Float[np.ndarray, "decomposition exponent"], ends: Int[np.ndarray, "decomposition"], steps: int
) -> Float[np.ndarray, "exponent"]:
    running = ends <= steps
    spans = np.diff(ends[running], prepend=0)
    if len(spans) < BLOCKS:
        return np.full(logs.shape[1], np.nan)
    block = np.arange(len(spans)) * BLOCKS // len(spans)
    sums = np.stack([logs[running][block == each].sum(0) for each in range(BLOCKS)])
    with np.errstate(invalid="ignore"):  # -inf − -inf: a direction that is lost has no spread
        error: np.ndarray = (sums / np.bincount(block, spans)[:, None]).std(0, ddof=1) / math.sqrt(BLOCKS)
    return error


def _check(k: int, t_ons: int, warm_up: int, shortest: int, name: str) -> None:
    if k < 1 or t_ons < 1 or warm_up < 0:
        raise InputError(
            f"{name}: k = {k} exponents, t_ons = {t_ons} and warm_up = {warm_up} steps were asked for; take at least 1 "
            "exponent, 1 step between decompositions and 0 steps of warm-up."
        )
    if shortest <= warm_up:
        raise InputError(
            f"{name}: the shortest sequence has {shortest} steps and the warm-up takes {warm_up}; choose longer "
            "`sequences` or a shorter `warm_up`."
        )
