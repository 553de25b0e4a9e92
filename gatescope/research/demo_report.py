"""The demo as a report: which of its numbers are shown, and in what order."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version

import numpy as np
from jaxtyping import Float

from .. import __version__
from ..analysis.excerpt import excerpt
from ..measures.lag_curve import LagCurve
from ..report.numbers import listed, number, number_from_log
from ..report.section import Report, Section
from ..report.sections.fresh_window import fresh_window_section
from ..report.sections.gates import gates_section
from ..report.sections.lag_curve import lag_curve_section
from ..report.sections.prediction import Forecast, prediction_section
from ..report.sections.provenance import provenance_section
from ..report.sections.verdicts import verdicts_section
from ..verdicts import Attenuation, Verdict
from .demo import LOSS, PLAIN, Demo, Network
from .findings import findings

FIRST = "LSTM"
"""The network that the page speaks of first."""
SHOWN = ("LSTM", "LSTM, chrono", "GRU", "tanh RNN")
"""The networks whose gates are drawn, in this order."""


def demo_report(demo: Demo) -> Report:
    """The answer first; then prediction, the gradient over lag and window length, the gates, and the provenance."""
    networks = {one.name: one for one in sorted(demo.networks, key=lambda one: one.name != FIRST)}
    colours = {name: place for place, name in enumerate(networks)}
    plain = {name: one for name, one in networks.items() if one.initialisation == PLAIN}
    lstms = {name: one for name, one in networks.items() if one.cell == "lstm"}
    return Report(
        title="How far back can a recurrent network feel?",
        summary=_summary(demo, networks),
        sections=(
            _found(demo, networks),
            _prediction(demo, networks, colours),
            _lags(demo, plain, colours, key="lag-curve", title="The gradient over lag"),
            _lags(demo, lstms, colours, key="initialisation", title="What the gates can do"),
            _windows(plain, colours),
            _gates(demo, {name: networks[name] for name in SHOWN if name in networks}),
        ),
        provenance=_provenance(demo),
    )


def _summary(demo: Demo, networks: Mapping[str, Network]) -> str:
    settings = demo.settings
    kept = [f"{number_from_log(_top(one).value.mean)} ({name})" for name, one in networks.items()]
    return (
        f"Networks of {settings.hidden_size} units in {settings.layers} layers learn to continue a sine wave from a "
        f"window of {settings.window} steps. The task needs nothing further back than lag {demo.task.needed_lag}. At "
        f"lag {settings.window - 1}, the first step of the window, this much of the last step's gradient is left after "
        f"training, in the top layer: {listed(kept)}."
    )


def _top(network: Network) -> Attenuation:
    """Over the whole window, in the layer that the loss reads."""
    return [*network.after.attenuations.values()][-1]


def _found(demo: Demo, networks: Mapping[str, Network]) -> Section:
    lead, *others = findings(demo)
    return verdicts_section(
        [_named(name, verdict) for name, one in networks.items() for verdict in one.after.verdicts],
        lead=lead,
        prose=others,
    )


def _named(network: str, verdict: Verdict) -> Verdict:
    return replace(verdict, layer=f"{network}, {verdict.layer}")


def _prediction(demo: Demo, networks: Mapping[str, Network], colours: Mapping[str, int]) -> Section:
    return prediction_section(
        {name: Forecast(one.losses, one.error, one.continued) for name, one in networks.items()},
        inputs=_inputs(demo),
        truth=demo.to_continue,
        held_out=len(demo.truth),
        references={"repeating the last value": demo.persistence},
        colours=colours,
    )


def _lags(demo: Demo, networks: Mapping[str, Network], colours: Mapping[str, int], *, key: str, title: str) -> Section:
    layers = next(iter(networks.values())).after.curves
    return lag_curve_section(
        {
            f"{when} training, layer {layer}": {name: _curves(one, when)[layer] for name, one in networks.items()}
            for layer in layers
            for when in ("before", "after")
        },
        lag=demo.settings.window - 1,
        needed_lag=demo.task.needed_lag,
        colours=colours,
        key=key,
        title=title,
    )


def _curves(network: Network, when: str) -> Mapping[str, LagCurve]:
    return (network.before if when == "before" else network.after).curves


def _windows(networks: Mapping[str, Network], colours: Mapping[str, int]) -> Section:
    return fresh_window_section(
        {
            "before training": {name: one.before.windows for name, one in networks.items()},
            "after training": {name: one.after.windows for name, one in networks.items()},
        },
        colours=colours,
    )


def _gates(demo: Demo, networks: Mapping[str, Network]) -> Section:
    first_layer = {name: excerpt(next(iter(one.after.traces.values())), [0]) for name, one in networks.items()}
    return gates_section(first_layer, inputs={"input": _inputs(demo)[0]})


def _inputs(demo: Demo) -> Float[np.ndarray, "shown time"]:
    return demo.task.x[list(demo.shown), :, 0].double().numpy()


def _provenance(demo: Demo) -> Section:
    settings = demo.settings
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "matplotlib"))
    residual = max(moment.residual for one in demo.networks for moment in (one.before, one.after))
    return provenance_section(
        {
            "data": f"a sine of period {settings.period}, {settings.sequences} windows of {settings.window} steps",
            "held out": f"the last {len(demo.truth)} windows; gradients on those of them that do not overlap",
            "training": f"{settings.epochs} epochs of Adam, batches of {settings.batch_size}, rate {settings.lr:g}",
            "loss": LOSS,
            "seed": str(settings.seed),
            "device and dtype": "CPU, one thread, float32; the scale of every gradient as a logarithm in float64",
            "replay residual": f"at most {number(residual)}",
            "versions": f"gatescope {__version__}, {libraries}, Python {platform.python_version()}",
        },
        lead=f"Made by gatescope {__version__} with seed {settings.seed}; the same command gives the same numbers.",
    )
