"""What reports are made of, for tests: every name in it is the one that a test gives; and a list of the worst names."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from gatescope.analysis.analysis import NotMeasured
from gatescope.analysis.excerpt import Excerpt, excerpt
from gatescope.measures.fresh_window import ALL, FreshWindow
from gatescope.measures.gradient_norms import gradient_norms
from gatescope.measures.lag_curve import LagCurve
from gatescope.recording.recorder import Recorder
from gatescope.remedies.remedies import remedies
from gatescope.remedies.remedy import Remedies
from gatescope.report.plot import Curve, Curves, Map, Maps, Mark, Panel, Rule
from gatescope.report.section import Figure, Method, Report, Section, Table
from gatescope.report.sections import (
    contributions_section,
    fixed_points_section,
    fresh_window_section,
    gate_statistics_section,
    gates_section,
    gradient_norms_section,
    lag_curve_section,
    lyapunov_section,
    not_measured_section,
    onset_section,
    path_split_section,
    prediction_section,
    provenance_section,
    remedies_section,
    singular_values_section,
    state_geometry_section,
    truncation_section,
    verdicts_section,
    weights_section,
    zero_state_section,
)
from gatescope.report.sections.prediction import Forecast
from gatescope.trace import Trace
from gatescope.verdicts import Level, Verdict
from report.analyses import FEATURES, UNITS, Model, analysis_of, data, squares

HOSTILE = (
    "</script><img src=x onerror=window.ran=1>",
    "<script>window.ran=1</script>",
    "</style><script>window.ran=1</script><style>",
    "</title><svg onload=window.ran=1>",
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    "<a href=javascript:window.ran=1 autofocus onfocus=window.ran=1>x</a>",
    "<img src=https://example.com/x.png>",
    "<link rel=stylesheet href=https://example.com/x.css>",
    "<base href=https://example.com/>",
    '" onmouseover=window.ran=1 autofocus onfocus=window.ran=1 x="',
    "' onerror='window.ran=1' x='",
    "javascript:window.ran=1",
    "data:text/html,<script>window.ran=1</script>",
    "]]><!-- --!> -->",
    "&lt;script&gt; &amp; &#x3c;b&#x3e;",
    "{{ 7 * 7 }} {% raw %} {# #}",
    "${window.ran=1} `window.ran=1`",
    "$\\frac{1}{$ $x^2$ \\alpha ^ _",
    "[/bold] [red]x[/red] :smile: [link=https://example.com]y[/link]",
    "%s %(x)s {0} {x}",
    "gnp.tab\u202etxt",
    "a\u2066b\u2069c\u200bd\u200ee\ufefff",
    "\x1b[31mred\x1b[0m \x1b]8;;https://example.com\x07link\x1b]8;;\x07",
    "\x00\x01\x07\x08\x7f\x85 tab\tline\nreturn\r",
    "\ud800 lone",
    "层 слой طبقة 🧠 é",
    "x" * 10_000,
    "<b>" * 4_000,
    " ",
    "../../etc/passwd",
)
"""Names as a checkpoint, a file or a person may supply them."""
WORST = (HOSTILE[0], "a\u202eb\x1b[31m\x00", "$\\frac{1}{$ \ud800", "x" * 10_000)
"""A few of each sort, for what takes long."""


def report_of(name: str) -> Report:
    """A report that holds the name in every field which takes one."""
    verdict = Verdict(Level.VANISHING, f"{name} claims", f"{name} because", f"{name} source", name)
    section = Section(
        key="one",
        title=f"{name} title",
        lead=f"{name} lead",
        prose=(f"{name} prose",),
        figures=(
            Figure("one-curves", curves(name), f"{name} alt", f"{name} caption"),
            Figure("one-maps", maps(name), f"{name} alt", f"{name} caption"),
        ),
        tables=(Table(f"{name} table", ("what", name, "c"), ((name, 0.0012, 3), (f"{name} 2", None, name))),),
        verdicts=(verdict,),
        method=Method((f"{name} sentence",), f"{name} formula\nsecond line", (f"{name} a", f"{name} b")),
    )
    provenance = replace(section, key="provenance", figures=(), verdicts=())
    return Report(f"{name} report", f"{name} summary", (section, replace(section, key="two", figures=())), provenance)


def curves(name: str = "LSTM") -> Curves:
    """Two lines with bands, a mark on the first, a rule along each axis."""
    lags = np.arange(21.0)
    drawn = tuple(
        Curve(name, lags, -slope * lags, -slope * lags - 0.1, -slope * lags + 0.1, n)
        for n, slope in ((0, 0.2), (1, 0.3))
    )
    panel = Panel(drawn, name, name, name, (Mark(19, -3.8, name),), (Rule("x", 2, name), Rule("y", -2, name)))
    return Curves((panel,), y_scale="log10")


def maps(name: str = "f") -> Maps:
    """A gate and a state with an input below them."""
    values = np.linspace(0, 1, 100).reshape(5, 20)
    below = (Curve(name, np.arange(20.0), np.sin(np.arange(20.0))),)
    return Maps((Map(name, name, values, "gate"), Map(name, name, values - 0.5, "signed")), below, name, name, name)


def lag_curve_of(name: str = "encoder.l0", *, rate: float = -0.4, lags: int = 20, sequences: int = 10) -> LagCurve:
    """A gradient that falls by about `rate` nats a step, a little differently in each sequence."""
    slopes = rate * (1 + 0.05 * np.linspace(-1, 1, sequences))
    log_norm = slopes[:, None] * np.arange(lags + 1)
    return LagCurve(name, "lstm", "forward", name, np.full(sequences, lags), {"pair": log_norm})


def fresh_window_of(name: str = "encoder.l0", *, rate: float = -0.4, sequences: int = 10) -> FreshWindow:
    """A parameter gradient that goes flat, and a gradient at the window's start that falls."""
    windows = np.array([1, 2, 5, 10, 20])
    norms = 0.12 * (1 - np.exp(rate * windows))
    initial = rate * windows[:, None] * (1 + 0.05 * np.linspace(-1, 1, sequences))
    return FreshWindow(windows, 0.5 + 0.1 / windows, name, {name: norms, ALL: norms}, {name: initial})


def forecast_of(error: float = 1.2e-5) -> Forecast:
    return Forecast(np.geomspace(0.5, 2 * error, 30), error, np.sin(np.arange(12.0))[None] * np.ones((3, 1)))


@cache
def trace_of(cell: type[nn.RNNBase] = nn.LSTM, name: str = "encoder.l0") -> Trace:
    """Four sequences of different lengths in a layer of five units."""
    torch.manual_seed(0)
    module = cell(2, 5)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(9, 4, 2), torch.tensor([9, 7, 7, 3]))
    with torch.no_grad(), Recorder(module) as rec:
        module(packed)
    trace = rec.traces["l0"]
    return replace(trace, layer=replace(trace.layer, name=name))


def excerpt_of(cell: type[nn.RNNBase] = nn.LSTM, name: str = "encoder.l0") -> Excerpt:
    return excerpt(trace_of(cell, name), range(4))


@cache
def remedies_of() -> Remedies:
    """Of a model that is small and saturated, so that something helps."""
    torch.manual_seed(0)
    return remedies(Model(nn.LSTM(FEATURES, UNITS, batch_first=True)), data(), None, squares, 5)


def _remedies(name: str) -> Remedies:
    found = remedies_of()
    return replace(
        found,
        remedies=tuple(replace(one, layer=name) for one in found.remedies),
        truncation=tuple(replace(one, layer=name) for one in found.truncation),
        norms=tuple(replace(one, of=name) for one in found.norms),
        left_out=(name,),
    )


def _measured(measure: str, name: str, *, of: str = "LSTM stack") -> dict[str, Any]:
    """What was measured of one or two layers, under other names."""
    found = analysis_of(of).measured(measure).values()
    return dict(zip((name, f"{name} 2"), found, strict=False))


SECTION_EXAMPLES: Mapping[Callable[..., Section], Callable[[str], Section]] = {
    verdicts_section: lambda name: verdicts_section(
        [
            Verdict(level, "A signal 19 steps back arrives with 0.5 of the strength.", name, name, name)
            for level in Level
        ]
    ),
    prediction_section: lambda name: prediction_section(
        {name: forecast_of(), f"{name} 2": forecast_of(3e-4)},
        inputs=np.zeros((3, 8)),
        truth=np.ones((3, 12)),
        held_out=40,
        references={name: 0.0079},
    ),
    lag_curve_section: lambda name: lag_curve_section(
        {
            f"before {name}": {name: lag_curve_of(name), f"{name} 2": lag_curve_of(name, rate=-0.6)},
            f"after {name}": {name: lag_curve_of(name, rate=-0.3), f"{name} 2": lag_curve_of(name, rate=0.1)},
        },
        lag=19,
        needed_lag=2,
    ),
    fresh_window_section: lambda name: fresh_window_section(
        {f"before {name}": {name: fresh_window_of(name), f"{name} 2": fresh_window_of(name, rate=-0.6)}}
    ),
    gates_section: lambda name: gates_section(
        {
            name: excerpt_of(nn.LSTM, name),
            f"{name} 2": excerpt_of(nn.GRU, name),
            f"{name} 3": excerpt_of(nn.RNN, name),
        },
        place=1,
        inputs={name: np.arange(7.0)},
    ),
    not_measured_section: lambda name: not_measured_section([NotMeasured(name, name, f"{name} of 3 steps.")]),
    truncation_section: lambda name: truncation_section(_measured("truncation", name)),
    path_split_section: lambda name: path_split_section(_measured("path_split", name), lag=5),
    contributions_section: lambda name: contributions_section(_measured("contributions", name), lag=5),
    gate_statistics_section: lambda name: gate_statistics_section(_measured("gate_statistics", name), needed_lag=5),
    lyapunov_section: lambda name: lyapunov_section(
        _measured("lyapunov", name), curves={name: lag_curve_of(name), f"{name} 2": lag_curve_of(name)}
    ),
    singular_values_section: lambda name: singular_values_section(_measured("singular_values", name), lag=5),
    zero_state_section: lambda name: zero_state_section(_measured("zero_state", name), lag=5),
    weights_section: lambda name: weights_section(_measured("weights", name)),
    state_geometry_section: lambda name: state_geometry_section(_measured("state_geometry", name)),
    fixed_points_section: lambda name: fixed_points_section(_measured("fixed_points", name, of="GRU")),
    onset_section: lambda name: onset_section(_measured("onset", name, of="exploding")),
    remedies_section: lambda name: remedies_section(_remedies(name)),
    gradient_norms_section: lambda name: gradient_norms_section(
        [gradient_norms([0.1, 0.2, 0.3, 4.0], of=name), gradient_norms([1e-3, 0.0, math.inf], of=f"{name} 2")]
    ),
    provenance_section: lambda name: provenance_section({name: name, "seed": "0"}, lead="Made with seed 0."),
}
"""A section of each kind, in which every name is the given one."""
