"""What is asked of each layer, in which order: one line a question, each answered by a file in `measures/`.

A question that has no answer here (a path split of an RNN, which has no gate) says so, in the words of its measure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Literal, NamedTuple

from ..dynamics.jacobian import state_size
from ..errors import GatescopeError
from ..measures.contributions import contributions
from ..measures.fixed_points import fixed_points, starts_from
from ..measures.fresh_window_of_layer import fresh_window_of_layer
from ..measures.lag_curve import LagCurve
from ..measures.lyapunov import lyapunov
from ..measures.onset import onset
from ..measures.path_split import path_split
from ..measures.singular_values import singular_values
from ..measures.state_geometry import state_geometry
from ..measures.sum_rule import check_by_sum_rule
from ..measures.truncation import Truncation, truncation
from ..measures.weights import weights
from ..measures.zero_state import zero_state
from ..trace import Adjoint, Trace
from ..verdicts import EXPLODING
from .analysis import AnalysedLayer, Measurement, NotMeasured, layer_of
from .excerpt import Excerpt

Extra = Literal["fixed_points", "full_spectrum", "remedies"]
"""What takes long, and is measured when it is asked for."""

EXPONENTS = 16
"""The leading Lyapunov exponents, where the full spectrum is not asked for."""
FOR_EXPONENTS, FOR_PRODUCTS = 8, 1
"""So many sequences are enough for numbers that cost as much as an exponent or a product of Jacobians."""
PRODUCTS = (0, 1, 2, 5, 10, 20, 50, 100)
"""Lags at which the product of Jacobians, a matrix as large as the state squared, is decomposed."""
STARTS = 64
"""Of the search for fixed points."""


class Asked(NamedTuple):
    """A question: the name of its measure and how to get the answer."""

    measure: str
    answer: Callable[[], Measurement]


@dataclass
class Answers:
    """The answers so far, and what has none."""

    layers: list[AnalysedLayer] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    excerpts: list[Excerpt] = field(default_factory=list)
    not_measured: list[NotMeasured] = field(default_factory=list)
    refusals: list[GatescopeError] = field(default_factory=list)
    """Why a call could not be looked at at all."""
    entangled: list[str] = field(default_factory=list)
    """Loops that are fed their own output and read at many steps."""
    unread: list[str] = field(default_factory=list)
    """Layers of a direction that the loss does not read after its last step."""
    suspicions: list[str] = field(default_factory=list)
    """What may be wrong with the data, in words."""
    reductions: list[str] = field(default_factory=list)
    """What was taken of a part of the data only, in words."""

    @classmethod
    def without(cls, refused: Mapping[str, GatescopeError]) -> "Answers":
        """No answers yet, and none to come for the layers that could not be run."""
        left_out = [NotMeasured(name, "everything", str(reason)) for name, reason in refused.items()]
        return cls(not_measured=left_out, refusals=list(refused.values()))

    @property
    def curves(self) -> dict[str, LagCurve]:
        """The lag curve of each layer."""
        return {one.layer: one for one in self.measurements if isinstance(one, LagCurve)}

    @property
    def truncations(self) -> list[Truncation]:
        """The truncation curve of each layer."""
        return [one for one in self.measurements if isinstance(one, Truncation)]

    def sort(self) -> None:
        """Puts what was measured into the order of the layers, and of the questions within a layer."""
        places = {layer.name: place for place, layer in enumerate(self.layers)}
        self.measurements.sort(key=lambda one: places.get(layer_of(one), len(places)))
        self.not_measured.sort(key=lambda one: places.get(one.layer, len(places)))

    def __iadd__(self, other: "Answers") -> "Answers":
        for kind in fields(self):
            getattr(self, kind.name).extend(getattr(other, kind.name))
        return self

    def ask(self, layer: str, asked: Asked) -> None:
        """Takes the answer, or the reason why there is none."""
        try:
            self.measurements.append(asked.answer())
        except GatescopeError as reason:
            self.not_measured.append(NotMeasured(layer, asked.measure, str(reason)))


def of_trace(trace: Trace, extra: tuple[Extra, ...], seed: int) -> Iterator[Asked]:
    """What a layer did, asked of a part of its sequences that fits the memory."""
    layer = trace.layer
    yield Asked("weights", lambda: weights(layer))
    yield Asked("zero_state", lambda: zero_state(layer))
    yield Asked("state_geometry", lambda: state_geometry(trace))
    k = state_size(layer) if "full_spectrum" in extra else min(EXPONENTS, state_size(layer))
    longest = _longest(trace, FOR_EXPONENTS)
    spectrum = cache(lambda: lyapunov(trace, k=k, sequences=longest, seed=seed))
    yield Asked("lyapunov", spectrum)
    if "full_spectrum" in extra:
        yield Asked("sum_rule", lambda: check_by_sum_rule(spectrum(), trace, sequences=longest))
    product = _longest(trace, FOR_PRODUCTS)
    lags = [lag for lag in PRODUCTS if lag <= int(trace.lengths[product].min())]
    yield Asked("singular_values", lambda: singular_values(trace, lags, sequences=product))
    if "fixed_points" in extra:
        yield Asked("fixed_points", lambda: fixed_points(layer, starts_from(trace, STARTS, seed=seed)))


def of_adjoint(adjoint: Adjoint, loss: str, windows: tuple[int, ...] | None) -> Iterator[Asked]:
    """What a layer felt; `windows` are None where the whole model answers for fresh windows."""
    yield Asked("path_split", lambda: path_split(adjoint, loss=loss))
    yield Asked("truncation", lambda: truncation(adjoint, loss=loss))
    yield Asked("contributions", lambda: contributions(adjoint, loss=loss))
    yield Asked("onset", lambda: onset(adjoint, factor=EXPLODING, loss=loss))
    if windows is not None:
        yield Asked("fresh_window", lambda: fresh_window_of_layer(adjoint, windows))


def _longest(trace: Trace, number: int) -> list[int]:
    """The places of the longest sequences, the first of equals first."""
    order = sorted(range(len(trace.lengths)), key=lambda place: (-int(trace.lengths[place]), place))
    return sorted(order[:number])
