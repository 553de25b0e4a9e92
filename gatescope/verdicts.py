"""Every judgement, with its thresholds: whether a gradient vanishes or explodes over a lag, or whether nobody can tell.

    y_bk = log |s̃_{T−k}| − log |s̃_T|     log attenuation of sequence b over k steps, in nats
    A_b  = y_bL                           at the lag L that the task needs
    interval: mean over sequences ± Student's t, 95 %

The sequence is the unit: the noise of y_b is a random walk over lags, so the residuals of a line through all points
would give "95 %" intervals that hold the truth one time in three. First abstain, then judge *at lag L*: nearly every
network has lost the gradient at some lag, and it matters only if the task needs that lag. Without a lag there is no
verdict on vanishing, only horizons; exploding is always judged. Whether training explodes is another question, of many
gradients and their tail. This is one file because whoever doubts a judgement should find here all that led to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .errors import InputError
from .measures.gradient_norms import GradientNorms
from .measures.intervals import Interval, bootstrap_interval, share_interval, student_t_interval
from .measures.lag_curve import LagCurve

MIN_SEQUENCES = 8
"""Ours: from 8 sequences on the t interval covers 94 to 95 % in simulation."""
MIN_LAGS = 10
"""Ours: fewer lags show no rate."""

VANISHING = 1e-2
"""Ours. Evidence: delayed recall, 35 networks x 3 seeds, solved by 98 % where the attenuation at the needed lag was
above 1e-2, by 60 % for 1e-4 to 1e-2, 47 % for 1e-7 to 1e-4, 6 % below. One task, one learning rate: no law."""
EXPLODING = 1e2
"""Ours: the mirror image of `VANISHING`."""
MIN_GRADIENTS = 30
"""Ours: where a tenth of all gradients is large, the chance to see at most one of them in 30 is 18 %; in 8, 81 %."""
LARGE = 10.0
"""Over the median norm. Source: Pascanu, Mikolov & Bengio 2013, who clip at up to ten times the average."""
HEAVY_TAIL = 1e-2
"""Ours: the share of large gradients from which on a tail is heavy. A lognormal with s = 1 has 1.07 %, with s = 0.5 two
in a million."""
RESOLUTION = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Half the distance from 1 to the next number: added to a gradient of strength 1, anything below is rounded away.
Source: IEEE 754; bfloat16 has 8 bits of significand."""
ROUNDING = 1e-9
"""Logarithms and rates closer than this are equal."""
FRACTIONS = (0.5, 0.1, 0.01, RESOLUTION["float32"])
"""What horizons are given for: the half-life, a tenth, a hundredth, the resolution of float32."""

_VANISHING_SOURCE = "threshold: ours, see verdicts.py; Bengio, Simard & Frasconi 1994 for the effect"
_EXPLODING_SOURCE = "threshold: ours, see verdicts.py; Pascanu, Mikolov & Bengio 2013 for the effect"
_ABSTENTION_SOURCE = "what must hold before a gradient can be judged: ours, see verdicts.py"


class Level(StrEnum):
    """What is said of a gradient over a lag. The last four abstain."""

    VANISHING = "vanishing"
    DEAD = "dead"
    EXPLODING = "exploding"
    STABLE = "stable"
    BORDERLINE = "borderline"
    NOT_EXPLODING = "not exploding"
    NON_FINITE = "non-finite"
    NO_SIGNAL = "no signal"
    CUT = "cut"
    INSUFFICIENT = "insufficient data"

    @property
    def abstains(self) -> bool:
        """True where the numbers allow no judgement."""
        return self in {Level.NON_FINITE, Level.NO_SIGNAL, Level.CUT, Level.INSUFFICIENT}


@dataclass(frozen=True)
class Verdict:
    """A judgement that one can argue with."""

    level: Level
    claim: str
    """What is so, in words that need no other knowledge."""
    because: str
    """The numbers behind it, with intervals, and what they are numbers of."""
    source: str
    """Where the threshold and the effect come from."""
    layer: str = ""


@dataclass(frozen=True)
class Thresholds:
    """Where the levels begin, as factors on the gradient of the last step."""

    vanishing: float = VANISHING
    exploding: float = EXPLODING
    dead: float = RESOLUTION["float32"]
    """The resolution of the dtype in which the network trains: `RESOLUTION["bfloat16"]` and so on."""

    def __post_init__(self) -> None:
        if not 0 < self.dead <= self.vanishing < 1 < self.exploding:
            raise InputError(
                f"The thresholds dead = {self.dead:g}, vanishing = {self.vanishing:g}, exploding = {self.exploding:g} "
                "are out of order; choose 0 < dead <= vanishing < 1 < exploding."
            )


DEFAULT = Thresholds()


@dataclass(frozen=True)
class Attenuation:
    """The log attenuation at one lag L, in nats, and the rates on the way there, in nats a step."""

    lag: int
    value: Interval
    slope: Interval | None
    """Over the lags from max(2, L/5) to L, one least-squares line a sequence; None for fewer than 3 lags, or an
    exact zero among them."""
    tail_slope: Interval | None
    """The same over the lags from L/2 to L."""

    @property
    def half_life(self) -> Interval | None:
        """Steps in which the gradient halves at the rate of the tail; None unless that rate is surely negative."""
        tail = self.tail_slope
        if tail is None or tail.high >= 0:
            return None
        mean, low, high = (-math.log(2) / rate for rate in (tail.mean, tail.low, tail.high))
        return Interval(mean, low, high, tail.n)


@dataclass(frozen=True)
class Horizon:
    """The first lag at which the mean log attenuation is below a fraction; None stands for "not within `longest`"."""

    fraction: float
    lag: int | None
    low: int | None
    high: int | None
    """The ends of the 95 % interval, by bootstrap over sequences."""
    longest: int
    """The longest lag that could be looked at."""
    extrapolated: float | None
    """Where it would be at the rate of the tail, if not reached and if the rate does not change along the curve."""

    def __str__(self) -> str:
        lag, low, high = (f">{self.longest}" if end is None else str(end) for end in (self.lag, self.low, self.high))
        return lag if lag == low == high else f"{lag} [{low}, {high}]"


def judge(curve: LagCurve, lag: int | None = None, *, thresholds: Thresholds = DEFAULT) -> tuple[Verdict, ...]:
    """The attenuation at the lag that the task needs, if one is given, and exploding, always."""
    exploding = judge_exploding(curve, thresholds=thresholds)
    if lag is None:
        return (exploding,)
    at_lag = judge_attenuation(curve, lag, thresholds=thresholds)
    return (at_lag,) if at_lag == exploding or lag == _reach(curve, "pair") else (at_lag, exploding)


def unreached(layer: str, loss: str) -> Verdict:
    """What is to be said of a layer at whose outputs no gradient came back at all."""
    return Verdict(
        Level.NO_SIGNAL,
        "The loss does not reach this layer.",
        f"no gradient came back to its outputs: the loss does not depend on them, or a detach or no_grad stands "
        f"between; loss: {loss}",
        _ABSTENTION_SOURCE,
        layer,
    )


def unread(curve: LagCurve) -> Verdict:
    """What is to be said of a layer of a direction that the loss does not read after its last processed step."""
    first = curve.direction == "reverse"
    step = "of the input, where this direction has seen everything" if first else "of the sequence"
    return Verdict(
        Level.NO_SIGNAL,
        f"The loss does not read this direction after its last step, the {'first' if first else 'last'} one {step}.",
        "so there is no lag to count from there: whatever this layer feels entered at other steps; read h_n, which "
        f"has the end of both directions; {_object(curve, 'pair')}",
        _ABSTENTION_SOURCE,
        curve.layer,
    )


def judge_attenuation(
    curve: LagCurve, lag: int, *, quantity: str = "pair", thresholds: Thresholds = DEFAULT
) -> Verdict:
    """Vanishing, dead, exploding, stable or borderline at `lag`, or why there is no telling."""
    if lag < 1:
        raise InputError(f"The lag to judge was given as {lag}; lags count steps back from the last: choose 1 or more.")
    return _abstention(curve, quantity, lag) or _verdict(curve, quantity, lag, _level_at_lag, thresholds)


def judge_exploding(curve: LagCurve, *, quantity: str = "pair", thresholds: Thresholds = DEFAULT) -> Verdict:
    """Exploding, not exploding or borderline at the longest lag that the data allow, or why there is no telling."""
    lag = _reach(curve, quantity)
    return _abstention(curve, quantity, lag) or _verdict(curve, quantity, lag, _level_exploding, thresholds)


def judge_training(norms: GradientNorms) -> Verdict:
    """Exploding, not exploding or borderline over many gradients, by how often they are large; or why no telling.

    A single large one is not exploding, however large.
    """

    def verdict(level: Level, claim: str, because: str) -> Verdict:
        source = _ABSTENTION_SOURCE if level.abstains else _EXPLODING_SOURCE
        return Verdict(level, claim, f"{because}; norm of {norms.of}", source)

    if norms.nonfinite:
        first = int((np.isnan(norms.log_norm) | (norms.log_norm == np.inf)).argmax())
        return verdict(
            Level.NON_FINITE,
            f"{norms.nonfinite} of {_gradients(norms.n)} {_are(norms.nonfinite)} no finite number.",
            f"NaN or infinity in {norms.nonfinite} of {_gradients(norms.n)}, first in number {first}, counted from 0",
        )
    zeros = int((norms.log_norm == -np.inf).sum())
    if norms.log_quantile(0.5) == -np.inf:
        return verdict(
            Level.NO_SIGNAL,
            f"{zeros} of {_gradients(norms.n)} {_are(zeros)} exactly zero, so that there is no usual size.",
            f"exactly zero {zeros} times of {norms.n}: the loss does not depend on these weights there, or what lies "
            "between is saturated, dead or detached",
        )
    if norms.n < MIN_GRADIENTS:
        return verdict(
            Level.INSUFFICIENT,
            "There are too few gradients to say how often a large one comes.",
            f"{_gradients(norms.n)}, and {MIN_GRADIENTS} are needed",
        )
    times = norms.times_median()
    large = int((times > LARGE).sum())
    share = share_interval(large, norms.n)
    largest = int(norms.log_norm.argmax())
    because = (
        f"{large} of {norms.n} above {LARGE:g} times the median, {100 * share.mean:.2g} %, 95 % CI "
        f"[{100 * share.low:.2g}, {100 * share.high:.2g}] %, {{place}}; the largest, number {largest}, is "
        f"{_factor(float(norms.log_norm[largest]) - norms.log_quantile(0.5))} times the median; median "
        f"{norms.median:.3g}, mean {norms.mean:.3g}; clipping at the mean would touch {100 * norms.clipped[1.0]:.2g} %"
    )
    at = f"{100 * HEAVY_TAIL:g} %"
    claim = f"{large} of {_gradients(norms.n)} are more than {LARGE:g} times as large as the median one."
    if large <= 1:
        alone = f"One of {_gradients(norms.n)} is more than {LARGE:g} times the median; a single one is not exploding."
        none = f"None of {_gradients(norms.n)} is more than {LARGE:g} times as large as the median one."
        place = "one alone" if large else "none"
        return verdict(Level.NOT_EXPLODING, alone if large else none, because.format(place=place))
    if share.low > HEAVY_TAIL:
        return verdict(Level.EXPLODING, claim, because.format(place=f"above {at}"))
    if share.high <= HEAVY_TAIL:
        return verdict(Level.NOT_EXPLODING, claim, because.format(place=f"below {at}"))
    return verdict(Level.BORDERLINE, claim, because.format(place=f"across {at}: now and then, or exploding"))


def attenuation(curve: LagCurve, lag: int, *, quantity: str = "pair") -> Attenuation:
    """The attenuation over all sequences that have this lag and whose loss sends a gradient."""
    y = curve.log_attenuation(quantity)[_signal(curve, quantity) & (curve.lengths >= lag)]

    def slope(first: int) -> Interval | None:
        stretch = y[:, first : lag + 1]
        if lag - first < 2 or not len(y) or not np.isfinite(stretch).all():
            return None
        lags = np.arange(first, lag + 1) - (first + lag) / 2
        return student_t_interval(stretch @ lags / (lags @ lags))

    value = student_t_interval(y[:, lag] if len(y) else np.empty(0))
    return Attenuation(lag, value, slope(max(2, math.ceil(lag / 5))), slope(math.ceil(lag / 2)))


def horizons(curve: LagCurve, *, quantity: str = "pair") -> tuple[Horizon, ...]:
    """How far back a half, a tenth, a hundredth, and what float32 resolves, are left; empty where nobody can tell.

    Lags are looked at as far as enough sequences have them and no gradient is cut.
    """
    longest = _reach(curve, quantity)
    y = curve.log_attenuation(quantity)[_signal(curve, quantity), : longest + 1]
    if _abstention(curve, quantity, longest) or (y == -np.inf).any():
        return ()
    rates = attenuation(curve, longest, quantity=quantity)
    exists = ~np.isnan(y)
    sequences = np.arange(len(y))

    def horizon(fraction: float) -> Horizon:
        def crossing(drawn: np.ndarray) -> np.ndarray:
            times = (drawn[..., None] == sequences).sum(-2)  # how often each sequence was drawn
            with np.errstate(invalid="ignore"):  # none was drawn that has such a lag
                return _crossing(times @ np.where(exists, y, 0) / (times @ exists), math.log(fraction))

        ends = (float(crossing(sequences)), *bootstrap_interval(crossing, len(y)))
        lag, low, high = (None if end > longest else math.ceil(end) for end in ends)
        return Horizon(fraction, lag, low, high, longest, None if lag else _extrapolated(rates, math.log(fraction)))

    return tuple(horizon(fraction) for fraction in FRACTIONS)


def _level_at_lag(value: Interval, at: Thresholds) -> tuple[Level, str]:
    dead, vanishing, exploding = math.log(at.dead), math.log(at.vanishing), math.log(at.exploding)
    if value.high < dead:
        return Level.DEAD, f"below ln {at.dead:.2g} = {dead:.2f}, the resolution of the dtype"
    if value.high < vanishing:
        return Level.VANISHING, f"below ln {at.vanishing:g} = {vanishing:.2f}"
    if value.low > exploding:
        return Level.EXPLODING, f"above ln {at.exploding:g} = {exploding:.2f}"
    if value.low >= vanishing and value.high <= exploding:
        return Level.STABLE, f"within ln {at.vanishing:g} = {vanishing:.2f} and ln {at.exploding:g} = {exploding:.2f}"
    if value.high <= exploding:
        return Level.BORDERLINE, f"across ln {at.vanishing:g} = {vanishing:.2f}: vanishing or stable"
    if value.low >= vanishing:
        return Level.BORDERLINE, f"across ln {at.exploding:g} = {exploding:.2f}: stable or exploding"
    return Level.BORDERLINE, f"across {vanishing:.2f} and {exploding:.2f}: vanishing, stable or exploding"


def _level_exploding(value: Interval, at: Thresholds) -> tuple[Level, str]:
    exploding = math.log(at.exploding)
    if value.low > exploding:
        return Level.EXPLODING, f"above ln {at.exploding:g} = {exploding:.2f}"
    if value.high <= exploding:
        return Level.NOT_EXPLODING, f"below ln {at.exploding:g} = {exploding:.2f}"
    return Level.BORDERLINE, f"across ln {at.exploding:g} = {exploding:.2f}: stable or exploding"


def _verdict(
    curve: LagCurve,
    quantity: str,
    lag: int,
    level_of: Callable[[Interval, Thresholds], tuple[Level, str]],
    thresholds: Thresholds,
) -> Verdict:
    found = attenuation(curve, lag, quantity=quantity)
    mean, low, high, n = found.value.mean, found.value.low, found.value.high, found.value.n
    level, place = level_of(found.value, thresholds)
    because = [f"mean log attenuation {mean:.2f}, 95 % CI [{low:.2f}, {high:.2f}] over {n} sequences, {place}"]
    for name, rate in (("rate", found.slope), ("in the tail", found.tail_slope)):
        if rate is not None:
            because.append(f"{name} {rate.mean:.3f} [{rate.low:.3f}, {rate.high:.3f}] per step")
    because += _left_out(curve, quantity)
    because.append(_object(curve, quantity))
    amount = f"{_factor(mean)} of" if mean < 0 else f"{_factor(mean)} times"
    claim = f"A signal {_steps(lag)} back arrives with {amount} the strength of the last step's."
    about_exploding = level is Level.EXPLODING or level_of is _level_exploding
    source = _EXPLODING_SOURCE if about_exploding else _VANISHING_SOURCE
    return Verdict(level, claim, "; ".join(because), source, curve.layer)


def _abstention(curve: LagCurve, quantity: str, lag: int) -> Verdict | None:
    def abstain(level: Level, claim: str, because: str) -> Verdict:
        return Verdict(level, claim, f"{because}; {_object(curve, quantity)}", _ABSTENTION_SOURCE, curve.layer)

    log_norm = curve.log_norm[quantity]
    broken = curve.exists & (np.isnan(log_norm) | (log_norm == np.inf))
    if broken.any():
        return abstain(
            Level.NON_FINITE,
            "The gradient is not a finite number, so nothing can be said of its size.",
            f"NaN or infinity in {broken.any(1).sum()} of {curve.n} sequences, first at lag {broken.any(0).argmax()}",
        )
    signal = _signal(curve, quantity)
    if not signal.any():
        return abstain(
            Level.NO_SIGNAL,
            "The loss sends no gradient to the last step of this layer.",
            f"exactly zero at lag 0 in all {curve.n} sequences: {_why_silent(curve, quantity)}",
        )
    cuts = _cuts(curve, quantity, lag)
    if cuts:
        return abstain(
            Level.CUT,
            f"In {len(cuts)} of {curve.n} sequences no gradient arrives at all from {_steps(min(cuts))} back on: it is "
            "cut there, which is not vanishing.",
            f"exactly zero in {len(cuts)} of {curve.n} sequences: a detached state, a dead relu, a frozen input, or a "
            "gate saturated to the last bit",
        )
    reaching = (signal & (curve.lengths >= lag)).sum()
    if reaching < MIN_SEQUENCES or _lags(curve, quantity) < MIN_LAGS:
        return abstain(
            Level.INSUFFICIENT,
            f"There is too little data to say what arrives from {_steps(lag)} back: {_what_lacks(curve, lag)}.",
            f"{reaching} of {curve.n} sequences reach so far back, the longest has {_steps(int(curve.lengths.max()))}, "
            f"and {MIN_SEQUENCES} sequences with {MIN_LAGS} lags are needed",
        )
    return None


def _why_silent(curve: LagCurve, quantity: str) -> str:
    """Of sequences none of which has a gradient at lag 0, what became of it and what to do."""
    arrivals = _arrivals(curve, quantity)
    if not len(arrivals):
        return (
            "and at every other lag: the loss does not depend on this layer, or it is masked, or what lies between is "
            "detached, saturated or dead"
        )
    at_its_first = len(arrivals) == curve.n and bool((arrivals == curve.lengths - 1).all())
    if curve.direction == "reverse" and at_its_first:
        return (
            f"the first gradient arrives {_span(arrivals)} back, at the first step that this reverse layer takes: the "
            "loss reads the end of the input, as out[:, -1] does, where this direction has seen one step alone; read "
            "h_n, which holds the last state of both directions"
        )
    return (
        f"the first gradient arrives {_span(arrivals)} back: the loss reads an earlier step of this layer, or what "
        "follows is masked; if that is padding, give lengths, so that lags count from each sequence's own end"
    )


def _what_lacks(curve: LagCurve, lag: int) -> str:
    longest = int(curve.lengths.max())
    if lag > longest:
        return f"the longest sequence has {_steps(longest)}"
    if curve.n < MIN_SEQUENCES:
        return f"there {_are(curve.n)} {_count(curve.n, 'sequence')}, and {MIN_SEQUENCES} are needed"
    if longest < MIN_LAGS:
        return f"the longest sequence has {_steps(longest)}, and {MIN_LAGS} are needed"
    return f"fewer than {MIN_SEQUENCES} sequences have a gradient and enough steps"


def _arrivals(curve: LagCurve, quantity: str) -> np.ndarray:
    """For each sequence without a gradient at lag 0 but with one later, the first lag that has it."""
    alive = curve.log_norm[quantity] > -np.inf  # and no NaN, where a sequence has no such lag
    arrivals: np.ndarray = alive.argmax(1)[alive.any(1) & ~alive[:, 0]]
    return arrivals


def _signal(curve: LagCurve, quantity: str) -> np.ndarray:
    """True for each sequence whose loss sends a gradient at all."""
    signal: np.ndarray = curve.log_norm[quantity][:, 0] > -np.inf
    return signal


def _lags(curve: LagCurve, quantity: str) -> int:
    """How many lags, the initial state not counted, enough sequences have."""
    lengths = np.sort(curve.lengths[_signal(curve, quantity)])
    return int(lengths[-MIN_SEQUENCES:][:1].sum())


def _reach(curve: LagCurve, quantity: str) -> int:
    """The longest lag that enough sequences have; short of the first cut, if that leaves enough lags."""
    longest = max(0, _lags(curve, quantity) - 1)
    cut = (curve.log_norm[quantity][_signal(curve, quantity), : longest + 1] == -np.inf).any(0)
    before_cut = int(cut.argmax()) - 1 if cut.any() else longest
    return before_cut if before_cut + 1 >= MIN_LAGS else longest


def _cuts(curve: LagCurve, quantity: str, lag: int) -> list[int]:
    """For each sequence whose gradient is exactly zero at `lag`, or at its own end before that: since which lag."""
    cuts = []
    for curve_of_one, length in zip(curve.log_norm[quantity], curve.lengths, strict=True):
        alive = np.flatnonzero(curve_of_one[: min(lag, length) + 1] > -np.inf)
        if 0 < len(alive) <= min(lag, length) and alive[-1] < min(lag, length):
            cuts.append(int(alive[-1]) + 1)
    return cuts


def _crossing(mean: np.ndarray, level: float) -> np.ndarray:
    """Where a curve over lags first comes down to a level, between two lags; one beyond its end if it does not."""
    down = mean <= level + ROUNDING  # a decay by exactly a half each step has half-life 1, however it was rounded
    first = down.argmax(-1)[..., None]
    before, after = (np.take_along_axis(mean, np.maximum(lag, 0), -1) for lag in (first - 1, first))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.clip((before - level) / (before - after), ROUNDING, 1)
    crossing: np.ndarray = np.where(down.any(-1), (first - 1 + part)[..., 0], mean.shape[-1])
    return crossing


def _extrapolated(rates: Attenuation, level: float) -> float | None:
    full, tail = rates.slope, rates.tail_slope
    if full is None or tail is None or tail.high >= 0:
        return None
    if max(tail.low - full.high, full.low - tail.high) > ROUNDING:
        return None
    return rates.lag + (level - rates.value.mean) / tail.mean


def _left_out(curve: LagCurve, quantity: str) -> list[str]:
    silent = curve.n - _signal(curve, quantity).sum()
    arrivals = _arrivals(curve, quantity)
    late = f", where the first one arrives {_span(arrivals)} back: if what follows is padding, give lengths"
    cuts = _cuts(curve, quantity, int(curve.lengths.max()))
    return [
        *(
            [f"{silent} of {curve.n} sequences without a gradient left out{late * bool(len(arrivals))}"]
            if silent
            else []
        ),
        *([f"{len(cuts)} of {curve.n} sequences are cut later, from {_steps(min(cuts))} back on"] if cuts else []),
    ]


def _object(curve: LagCurve, quantity: str) -> str:
    """What the numbers are numbers of."""
    norms = {"pair": "the whole recurrent state"}
    return f"gradient of {norms.get(quantity, quantity)}, layer {curve.layer} ({curve.cell}), loss: {curve.loss}"


def _factor(log_factor: float) -> str:
    """0.37, 2.5, 3.1e-8; also what is too small or too large for a float."""
    power = log_factor / math.log(10)
    if -2 <= power < 2:
        return f"{math.exp(log_factor):.2g}"
    digits = f"{10 ** (power - math.floor(power)):.1f}".removesuffix(".0")
    return f"1e{math.floor(power) + 1}" if digits == "10" else f"{digits}e{math.floor(power)}"


def _span(lags: np.ndarray) -> str:
    """7 steps, 3 to 7 steps."""
    low, high = (int(lags.min()), int(lags.max())) if len(lags) else (0, 0)
    return _steps(high) if low == high else f"{low} to {_steps(high)}"


def _steps(number: int) -> str:
    return _count(number, "step")


def _gradients(number: int) -> str:
    return _count(number, "gradient")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
