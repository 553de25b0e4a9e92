"""How fast nearby states come together or part, and whether the gradient follows, layer by layer."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ...measures.intervals import Interval
from ...measures.lag_curve import LagCurve
from ...measures.lyapunov import Lyapunov
from ...verdicts import attenuation
from ..bands import TEN, of_those
from ..names import shortened
from ..numbers import counted, listed, number
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table
from .contributions import PANELS

SHOWN = 5
"""So many exponents stand in the table."""


def lyapunov_section(
    measured: Mapping[str, Lyapunov],
    *,
    curves: Mapping[str, LagCurve] | None = None,
    colours: Mapping[str, int] | None = None,
    key: str = "lyapunov",
    title: str = "Lyapunov exponents",
) -> Section:
    """The leading exponents with their standard errors; the first beside the slope of the lag curve."""
    colours = colours or {name: place for place, name in enumerate(measured)}
    beside = {name: curve for name, curve in (curves or {}).items() if name in measured and _slope(curve) is not None}
    finite = {name: curve for name, curve in beside.items() if np.isfinite(measured[name].spectrum[0])}
    figures = [_spectra(measured, colours, key)]
    figures += [_slopes(measured, finite, colours, key)] if finite else []
    return Section(
        key=key,
        title=title,
        lead=_lead(measured, beside),
        figures=tuple(figures),
        tables=(_table(measured, beside),),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "Directions are pushed along the recorded trajectory and made orthonormal again by a QR decomposition.",
        "The input is held to what was recorded and only the state is perturbed: the exponents are conditional.",
        "Over a finite time they are finite-time exponents; over fewer than 100 steps, call them local.",
        "The standard error comes from the means over 20 stretches of time; of several sequences, from their spread.",
        "λ_1 is the rate of the lag curve at long lags: below 0 the gradient vanishes at that rate.",
    ),
    formula="J_t Q_{t−1} = Q_t R_t,   λ_i = 1/T Σ_t ln |R_t,ii|",
    sources=("Benettin, Galgani, Giorgilli & Strelcyn 1980 (unverified)", "Kaplan & Yorke 1979 (unverified)"),
)


def _errors(one: Lyapunov) -> Float[np.ndarray, "exponent"]:
    """The standard error of each of the spectrum: over sequences, or of the only one over time."""
    order = np.argsort(-one.exponents.mean(0), kind="stable")
    if one.n == 1:
        over_time: np.ndarray = one.standard_error[0, order]
        return over_time
    with np.errstate(invalid="ignore"):  # a direction that is lost has no spread
        over_sequences: np.ndarray = one.exponents[:, order].std(0, ddof=1) / math.sqrt(one.n)
    return over_sequences


def _spectra(measured: Mapping[str, Lyapunov], colours: Mapping[str, int], key: str) -> Figure:
    def curve(name: str, one: Lyapunov) -> Curve:
        error = np.nan_to_num(_errors(one), posinf=0.0)
        places = np.arange(1.0, len(one.spectrum) + 1)
        return Curve(name, places, one.spectrum, one.spectrum - error, one.spectrum + error, colours[name])

    marks = tuple(
        Mark(1.0, float(one.spectrum[0]), "" if place else number(float(one.spectrum[0])), colours[name])
        for place, (name, one) in enumerate(measured.items())
        if np.isfinite(one.spectrum[0])
    )
    panel = Panel(
        tuple(curve(name, one) for name, one in measured.items()),
        x_label="exponent, from the largest",
        y_label="λ (nats a step)",
        marks=marks,
        rules=(Rule("y", 0.0, "neither grows nor shrinks"),),
    )
    said = [
        f"{shortened(name)} from {number(float(one.spectrum[0]))} down to {number(float(one.spectrum[-1]))}"
        for name, one in measured.items()
    ]
    return Figure(
        key=f"{key}-spectra",
        plot=Curves((panel,)),
        alt=f"Falling curves of exponents, a curve a layer: {listed(said)}.",
        caption="The mean over sequences, the band one standard error to each side. Not drawn: minus infinity.",
    )


def _slopes(
    measured: Mapping[str, Lyapunov], beside: Mapping[str, LagCurve], colours: Mapping[str, int], key: str
) -> Figure:
    """The line of slope λ_1 through the middle of the lag curve."""

    def panel(name: str, curve: LagCurve) -> Panel:
        lags = np.arange(float(curve.lengths.max()) + 1)
        logs = curve.log_attenuation()
        logs = logs[np.isfinite(logs[:, 0])]
        mean = np.array([of_those(logs[:, lag]).mean for lag in range(len(lags))]) / TEN
        middle = len(lags) // 2
        line = mean[middle] + measured[name].spectrum[0] / TEN * (lags - middle)
        truth = Curve("lag curve", lags, mean, style="truth")
        return Panel(
            (truth, Curve("slope λ₁", lags, line, colour=colours[name])),
            title=shortened(name, 40),
            x_label="lag (steps back from the last)",
            y_label="gradient norm / that of the last step",
        )

    drawn = [*beside.items()][:PANELS]
    left_out = f" The first {PANELS} of {len(beside)} layers are drawn." if len(beside) > PANELS else ""
    return Figure(
        key=f"{key}-slopes",
        plot=Curves(tuple(panel(name, curve) for name, curve in drawn), y_scale="log10", columns=(2, 1)),
        alt=f"The lag curve of each layer, and the line of slope λ₁ through its middle. {_lead(measured, beside)}",
        caption=f"Broad: the lag curve. Thin: a line of slope λ₁ through its middle.{left_out}",
    )


def _slope(curve: LagCurve) -> Interval | None:
    """Of the lag curve, over the farther half of the lags that all its sequences have."""
    return attenuation(curve, int(curve.lengths.min())).tail_slope


def _lead(measured: Mapping[str, Lyapunov], beside: Mapping[str, LagCurve]) -> str:
    (first, one), *others = measured.items()
    error = float(_errors(one)[0])
    within = f" ± {number(error)}" if np.isfinite(error) else ""
    slope = _slope(beside[first]) if first in beside else None
    against = f", where the lag curve has a slope of {number(slope.mean)}" if slope is not None else ""
    rest = [f"{number(float(other.spectrum[0]))} in {shortened(name)}" for name, other in others]
    rate = f"λ₁ = {number(float(one.spectrum[0]))}{within} nats a step"
    return f"Nearby states of {shortened(first)} come together (below 0) or part (above) at {rate}{against}" + (
        f"; {listed(rest)}." if rest else "."
    )


def _table(measured: Mapping[str, Lyapunov], beside: Mapping[str, LagCurve]) -> Table:
    many = min(SHOWN, max(len(one.spectrum) for one in measured.values()))

    def row(name: str, one: Lyapunov) -> tuple[Cell, ...]:
        slope = _slope(beside[name]) if name in beside else None
        said = None if slope is None else f"{number(slope.mean)} [{number(slope.low)}, {number(slope.high)}]"
        spectrum = [float(value) for value in one.spectrum[:many]]
        dimension = None if math.isnan(one.dimension) else one.dimension
        steps = counted(int(one.steps.max()), "step")
        error = float(_errors(one)[0])
        return (
            name,
            *spectrum,
            *[None] * (many - len(spectrum)),
            None if math.isnan(error) else error,
            said,
            f"{len(one.spectrum)} of {one.size}",
            dimension,
            one.n,
            steps,
        )

    return Table(
        caption="The leading exponents in nats a step, and the slope of the lag curve over its farther half",
        columns=(
            "layer",
            *(f"λ {place}" for place in range(1, many + 1)),
            "error of λ 1",
            "slope of the lag curve [95 %]",
            "exponents",
            "Kaplan–Yorke dimension",
            "sequences",
            "counted",
        ),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )
