"""What a change to the beginning of a network did to the gradient, before and after, over the same sequences.

    before, after     mean log attenuation over the lag, in nats, over sequences
    difference        mean over sequences of (after − before), each sequence against itself

with Student's t, 95 %. These intervals are over sequences and not over draws of weights: another seed is another draw.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..layers import Direction
from ..measures.gradient_norms import GradientNorms
from ..measures.intervals import Interval
from ..verdicts import Horizon, Level, Verdict
from ..verdicts.words import factor, steps
from .limits import TruncationLength, clip_thresholds

if TYPE_CHECKING:
    import pandas

CAVEAT = (
    "These are what-ifs on the beginning of training, measured on copies of the model and never written into it. Use "
    "them before training: on a trained model they overwrite what was learnt, and the loss shows it."
)


@dataclass(frozen=True)
class Remedy:
    """One change and one layer."""

    layer: str
    direction: Direction
    change: str
    """Its name in `CHANGES`."""
    does: str
    """What it changes, in words."""
    source: str
    lag: int
    """Over which the attenuation was measured: the one that the task needs, or the longest that both curves have."""
    before: Interval
    """The log attenuation over that lag, in nats."""
    after: Interval
    difference: Interval
    """After minus before, paired; not finite where a gradient is cut, or no sequence reaches so far back."""
    horizon_before: Horizon | None
    """Where a hundredth is left; None where nobody can tell."""
    horizon: Horizon | None
    verdicts: tuple[Verdict, ...]
    """Of the layer with the change."""
    loss_before: float | None
    """None where no loss was given."""
    loss: float | None

    @property
    def compares(self) -> bool:
        """Whether there is a difference to speak of: enough sequences, and no gradient cut."""
        return self.difference.n > 1 and math.isfinite(self.difference.mean)

    @property
    def tells(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.compares and (self.difference.low > 0 or self.difference.high < 0)

    @property
    def explodes(self) -> bool:
        return any(one.level is Level.EXPLODING for one in self.verdicts)

    @property
    def abstains(self) -> bool:
        """Whether nothing could be judged of the layer with the change."""
        return all(one.level.abstains for one in self.verdicts)

    @property
    def helps(self) -> bool:
        """Whether the gradient surely comes nearer to arriving unchanged, and does not explode."""
        nearer = abs(self.after.mean) < abs(self.before.mean)
        return self.tells and nearer and not self.explodes and not self.abstains

    def __str__(self) -> str:
        parts = [f"{self.change}: {self._effect}"]
        if self.horizon is not None and self.horizon_before is not None:
            parts.append(f"a hundredth of it is left {self.horizon} steps back instead of {self.horizon_before}")
        if self.abstains:
            parts.append(self.verdicts[0].claim.rstrip("."))
        else:
            levels = dict.fromkeys(one.level for one in self.verdicts)
            said = [str(level) for level in levels if level is not Level.NOT_EXPLODING or len(levels) == 1]
            parts.append(f"judged {', '.join(said)}")
        if self.loss is not None and self.loss_before is not None:
            parts.append(f"the loss is {self.loss:.3g} instead of {self.loss_before:.3g}")
        return "; ".join(parts) + "."

    @property
    def _effect(self) -> str:
        back = f"{steps(self.lag)} back"
        n = self.difference.n
        if n < 2:
            return (
                f"{back} it cannot be compared, since a gradient comes from there in {n} sequences with and without it"
            )
        if not self.compares:
            return f"{back} it cannot be compared, since the gradient is cut or not finite in some of {n} sequences"
        difference = f"{_interval(self.difference)} nats, paired over {n} sequences"
        if not self.tells:
            return f"{back} it makes no difference that can be told, {difference}"
        return (
            f"{back} the gradient is {factor(self.after.mean)} times the last step's instead of "
            f"{factor(self.before.mean)} times, a difference of {difference}"
        )


@dataclass(frozen=True, eq=False)
class Remedies:
    """What each change did to each layer, the best first, and what the data say of truncating and clipping."""

    measure: ClassVar[str] = "remedies"

    data: str
    """`given` or `synthetic`."""
    loss: str
    """Whose gradient was measured, in words."""
    seed: int
    """Of every draw, of noise and of weights."""
    remedies: tuple[Remedy, ...]
    truncation: tuple[TruncationLength, ...]
    norms: tuple[GradientNorms, ...]
    """Of single sequences; none without a loss, for a random readout's gradient has a size that means nothing."""
    left_out: tuple[str, ...]
    """What was not tried or not measured, and why."""

    def of(self, layer: str) -> tuple[Remedy, ...]:
        """The changes to one layer, the best first."""
        return tuple(one for one in self.remedies if one.layer == layer)

    def best(self, layer: str) -> Remedy | None:
        """The change with which the gradient of a layer comes nearest to arriving unchanged; None if none helps."""
        return next((one for one in self.of(layer) if one.helps), None)

    def sentence(self, layer: str) -> str:
        """The best change to a layer, in one sentence."""
        best, tried = self.best(layer), len(self.of(layer))
        if best is None:
            return f"None of {tried} measured changes surely helps {layer}." if tried else f"No change fits {layer}."
        return f"The best of {tried} measured changes is {best}"

    def to_frame(self) -> "pandas.DataFrame":
        """One row a number: layer, direction, measure, change, quantity, lag, value, low, high, unit.

        A horizon is infinite where the data do not reach it. `change` is missing where a number is of the model as it
        is, `layer` where it is of all.
        """
        import pandas

        columns = ("layer", "direction", "change", "quantity", "lag", "value", "low", "high", "unit")
        frame = pandas.DataFrame.from_records(list(self._rows()), columns=columns)
        frame = frame.astype({"lag": "Int64", "value": float, "low": float, "high": float})
        frame.insert(2, "measure", self.measure)
        return frame

    def _rows(self) -> Iterator[tuple[object, ...]]:
        nothing = (math.nan, math.nan)
        for one in self.remedies:
            key = (one.layer, one.direction, one.change)
            ends: tuple[float, ...]
            for when, interval in (("before", one.before), ("after", one.after), ("difference", one.difference)):
                ends = (interval.mean, interval.low, interval.high)
                yield (*key, f"log attenuation {when}", one.lag, *ends, "nats")
            for when, horizon in (("before", one.horizon_before), ("after", one.horizon)):
                if horizon is not None:
                    lags = (horizon.lag, horizon.low, horizon.high)
                    ends = tuple(math.inf if lag is None else float(lag) for lag in lags)
                    yield (*key, f"horizon {when}", None, *ends, "steps")
            for when, loss in (("before", one.loss_before), ("after", one.loss)):
                if loss is not None:
                    yield (*key, f"loss {when}", None, loss, *nothing, "loss")
        for length in self.truncation:
            fewest = math.nan if length.steps is None else length.steps
            quantity = f"steps for bias {length.bias:g}"
            yield (length.layer, length.direction, None, quantity, None, fewest, *nothing, "steps")
        for norms in self.norms:
            for clip in clip_thresholds(norms):
                at, of_all = f"{clip.times_mean:g} x mean", (None, None, None)
                yield (*of_all, f"clip at {at}", None, clip.threshold, *nothing, "loss / parameter")
                yield (*of_all, f"clipped at {at}", None, clip.touched, *nothing, "1")


def ranked(remedies: Sequence[Remedy]) -> tuple[Remedy, ...]:
    """By layer in their order, and within each the best first: nearest, a step, to a gradient that arrives unchanged.

    Over one lag, and where nothing grows, that is the order of the differences. What explodes comes after what does
    not, and last what cannot be compared.
    """
    layers = list(dict.fromkeys(one.layer for one in remedies))

    def place(one: Remedy) -> tuple[int, bool, bool, float]:
        told = one.compares and not one.abstains
        return layers.index(one.layer), not told, one.explodes, abs(one.after.mean) / one.lag if told else 0.0

    return tuple(sorted(remedies, key=place))


def _interval(one: Interval) -> str:
    return f"{one.mean:+.3g} [{one.low:+.3g}, {one.high:+.3g}]"
