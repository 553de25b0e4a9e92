"""Where a layer would rest under a constant input: the fixed points of its step, and whether they hold.

    F(s) = Φ(x, s) − s = 0,   Φ one step, s the whole recurrent state, (h, c) in an LSTM
    q(s) = ½ |F(s)|²          speed: 0 at a fixed point, small at a slow one
    stable                    every eigenvalue of ∂Φ/∂s there is inside the unit circle

found from many recorded states by damped Newton steps (Levenberg–Marquardt on q, each start with its own damping), and
written down once each. What no start was led to is not found: the list is never known to be complete.

Sussillo & Barak 2013; Golub & Sussillo 2018.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from ..dynamics.jacobian import linearised_at, state_size
from ..errors import InputError
from ..layers import Direction, RecurrentLayer
from ..trace import Trace
from .weights import finite

if TYPE_CHECKING:
    import pandas

FIXED = 1e-20
"""A speed q below which a point is fixed: a step moves it by 1e-10, where float64 resolves 1e-16."""
SAME = 1e-6
"""Points nearer to each other than this, in any coordinate, are one point that was found twice."""
TRIES = 500
"""Steps of the search from each start."""


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """The fixed points of one layer under one constant input, the most stable ones first."""

    measure: ClassVar[str] = "fixed_points"

    layer: str
    direction: Direction
    x: Float[np.ndarray, "feature"]
    """The input that is held."""
    points: Float[np.ndarray, "point state"]
    """h, and after it c in an LSTM."""
    speed: Float[np.ndarray, "point"]
    """q = ½ |Φ(s) − s|²."""
    eigenvalues: Complex[np.ndarray, "point state"]
    """Of the step's Jacobian there, from the largest modulus down."""
    starts_led_here: Int[np.ndarray, "point"]
    starts: int
    """The number of states from which the search began."""
    unfinished_speed: Float[np.ndarray, "_"]
    """q where the other starts ended, ascending: a small one is a slow point, or a search cut short."""

    @property
    def n(self) -> int:
        """The number of fixed points that were found."""
        return len(self.points)

    @property
    def spectral_radius(self) -> Float[np.ndarray, "point"]:
        """The largest modulus of the eigenvalues: the factor per step with which nearby states leave or come."""
        radius: np.ndarray = np.abs(self.eigenvalues).max(1, initial=0)
        return radius

    @property
    def stable(self) -> Bool[np.ndarray, "point"]:
        """True where every nearby state comes back."""
        inside: np.ndarray = self.spectral_radius < 1
        return inside

    @property
    def unstable_directions(self) -> Int[np.ndarray, "point"]:
        """Eigenvalues outside the unit circle: 0 at an attractor, a few at a saddle."""
        outside: np.ndarray = (np.abs(self.eigenvalues) > 1).sum(1)
        return outside

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, quantity, point, index (missing: of the point), value, unit.

        The index is that of a coordinate, or of an eigenvalue, whose two parts are two quantities.
        """
        import pandas

        columns = ("quantity", "point", "index", "value", "unit")
        rows: list[tuple[str, int, int | None, float, str]] = []
        for point in range(self.n):
            facts = {
                "speed": self.speed[point],
                "spectral radius": self.spectral_radius[point],
                "unstable directions": self.unstable_directions[point],
                "starts led here": self.starts_led_here[point],
            }
            rows += [(name, point, None, float(value), "1") for name, value in facts.items()]
            vectors = {
                "state": self.points[point],
                "eigenvalue, real part": self.eigenvalues[point].real,
                "eigenvalue, imaginary part": self.eigenvalues[point].imag,
            }
            rows += [
                (name, point, j, v, "1") for name, vector in vectors.items() for j, v in enumerate(vector.tolist())
            ]
        frame = pandas.DataFrame.from_records(rows, columns=columns).astype({"index": "Int64"})
        for position, name in enumerate(("layer", "direction", "measure")):
            frame.insert(position, name, getattr(self, name))
        return frame


def fixed_points(
    layer: RecurrentLayer,
    starts: Float[Tensor, "start state"],
    x: Float[Tensor, "feature"] | None = None,
) -> FixedPoints:
    """The fixed points to which `starts` lead, under the input `x` at every step (zero if none is given), in float64.

    Raises:
        InputError: a start or an input that has another size than the layer's, or is not finite.
    """
    layer = finite(layer)
    like = layer.weights["weight_hh"]
    size = state_size(layer)
    x = like.new_zeros(layer.input_size) if x is None else x.detach().to(like)
    starts = starts.detach().to(like)
    if starts.shape[1:] != (size,) or not len(starts) or x.shape != (layer.input_size,):
        raise InputError(
            f"{layer.name}: starts of shape {list(starts.shape)} and an input of shape {list(x.shape)} were given; "
            f"give at least one state of {size} numbers, h first, and an input of {layer.input_size}."
        )
    if not bool(starts.isfinite().all() & x.isfinite().all()):
        raise InputError(f"{layer.name}: a start or the input is not finite; give finite ones.")
    ends, speed = _led_to_rest(layer, x, starts)
    fixed = speed <= FIXED
    points, led_here = _once_each(ends[fixed], speed[fixed])
    after, jacobian = linearised_at(layer, x.expand(len(points), -1), points)
    eigenvalues = torch.linalg.eigvals(jacobian.matrix())
    eigenvalues = eigenvalues.gather(1, eigenvalues.abs().argsort(1, descending=True))
    order = eigenvalues.abs().amax(1).argsort(stable=True)
    return FixedPoints(
        layer=layer.name,
        direction=layer.direction,
        x=_frozen(x),
        points=_frozen(points[order]),
        speed=_frozen(_speed(after - points)[order]),
        eigenvalues=_frozen(eigenvalues[order]),
        starts_led_here=_frozen(led_here[order]),
        starts=len(starts),
        unfinished_speed=_frozen(speed[~fixed].sort().values),
    )


def starts_from(trace: Trace, number: int = 256, *, noise: float = 0.0, seed: int = 0) -> Float[Tensor, "start state"]:
    """Recorded states to start from, drawn at random from all valid steps, each once while there are enough.

    `noise` is the standard deviation of what is added to each coordinate: saddles lie beside the recorded paths.
    """
    states = torch.cat([trace.states[name][trace.valid] for name in trace.layer.state_sizes], -1).double().cpu()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(states), generator=generator).repeat(-(-number // len(states)))[:number]
    return states[drawn] + noise * torch.randn(number, states.shape[1], generator=generator, dtype=torch.float64)


def _led_to_rest(layer: RecurrentLayer, x: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Levenberg–Marquardt from every start at once: the ends, and their speeds."""
    inputs, points = x.expand(len(starts), -1), starts
    damping = torch.ones_like(starts[:, 0])
    eye = torch.eye(starts.shape[1], dtype=starts.dtype, device=starts.device)
    after, jacobian = linearised_at(layer, inputs, points)
    speed = _speed(after - points)
    for _ in range(TRIES):
        running = (speed > FIXED * 1e-6).nonzero()[:, 0]  # a little further than fixed: Newton squares what is left
        if not len(running):
            break
        here = points[running]
        after, jacobian = linearised_at(layer, inputs[running], here)
        slope, residual = jacobian.matrix() - eye, after - here
        normal = slope.mT @ slope + damping[running, None, None] * eye
        change = torch.linalg.solve_ex(normal, (slope.mT @ residual[..., None])[..., 0])[0]
        tried = here - change
        speed_tried = _speed(linearised_at(layer, inputs[running], tried)[0] - tried)
        better = speed_tried < speed[running]
        points = points.index_put((running,), torch.where(better[:, None], tried, here))
        speed = speed.index_put((running,), torch.where(better, speed_tried, speed[running]))
        damping = damping.index_put((running,), damping[running] * torch.where(better, 0.3, 4.0))
        stuck = damping > 1e12
        if bool(stuck[running].all()):
            break
    return points, speed


def _once_each(points: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
    """The slowest of those that are the same, and how many these were."""
    left, found, led_here = points[speed.argsort(stable=True)], [], []
    while len(left):
        same = (left - left[0]).abs().amax(1) < SAME
        found.append(left[0])
        led_here.append(int(same.sum()))
        left = left[~same]
    counted = torch.tensor(led_here, dtype=torch.int64, device=points.device)
    return (torch.stack(found) if found else points), counted


def _speed(movement: Tensor) -> Tensor:
    return movement.square().sum(-1) / 2


def _frozen(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.cpu().numpy().copy()  # not the caller's own input, which is theirs to change
    array.setflags(write=False)
    return array
