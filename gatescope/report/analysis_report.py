"""An analysis as a report: the answer first, then the gradient, its causes, the spectra and the weights.

Which measures there are differs from analysis to analysis; a section stands for each that there is.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from ..analysis.analysis import AnalysedLayer, Analysis
from ..measures.contributions import Contributions
from ..measures.fixed_points import FixedPoints
from ..measures.fresh_window import FreshWindow
from ..measures.gate_statistics import GateStatistics
from ..measures.gradient_norms import GradientNorms
from ..measures.lag_curve import LagCurve
from ..measures.lyapunov import Lyapunov
from ..measures.onset import Onset
from ..measures.path_split import PathSplit
from ..measures.singular_values import SingularValues
from ..measures.state_geometry import StateGeometry
from ..measures.sum_rule import SumRule
from ..measures.truncation import Truncation
from ..measures.weights import LayerWeights
from ..measures.zero_state import ZeroState
from ..remedies.remedy import Remedies
from ..verdicts import Level
from .answer import found_section, summary
from .names import shortened
from .numbers import listed
from .section import Report, Section, Table
from .sections.contributions import contributions_section
from .sections.fixed_points import fixed_points_section
from .sections.fresh_window import fresh_window_section
from .sections.gate_statistics import gate_statistics_section
from .sections.gates import gates_section
from .sections.gradient_norms import gradient_norms_section
from .sections.lag_curve import lag_curve_section
from .sections.lyapunov import lyapunov_section
from .sections.not_measured import not_measured_section
from .sections.onset import onset_section
from .sections.path_split import path_split_section
from .sections.provenance import SENTENCE, provenance_section
from .sections.remedies import remedies_section
from .sections.singular_values import singular_values_section
from .sections.state_geometry import state_geometry_section
from .sections.sum_rule import sum_rule_section
from .sections.truncation import truncation_section
from .sections.verdicts import without_lags
from .sections.weights import weights_section
from .sections.zero_state import zero_state_section

MAPPED = 4
"""So many layers have their gates drawn; the others are in the file that `Analysis.save` writes."""
Measured = TypeVar("Measured")

NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


def analysis_report(analysis: Analysis, *, why: Mapping[str, Sequence[str]] = NOTHING) -> Report:
    """The page of an analysis; `why` says by layer, in sentences, what its verdict comes from."""
    return Report(
        title=_title(analysis.layers),
        summary=summary(analysis),
        sections=(found_section(analysis, why), *_sections(analysis)),
        provenance=_provenance(analysis),
    )


def spoken_lag(analysis: Analysis) -> int:
    """The lag that sentences speak of: what the task needs, or where a hundredth is left, or the last that has any."""
    steps = max((layer.steps for layer in analysis.layers), default=0)
    longest = max((int(curve.lengths.max()) for curve in analysis.curves.values()), default=steps)
    if analysis.lag is not None:
        return min(analysis.lag, longest)
    hundredths = (one.lag for found in analysis.horizons.values() for one in found if one.fraction == HUNDREDTH)
    reached = next((lag for lag in hundredths if lag is not None), None)
    felt = max(map(_last_felt, analysis.curves.values()), default=0)
    return (felt or longest) if reached is None else reached


def _last_felt(curve: LagCurve) -> int:
    """The last lag before the gradient of any sequence is cut."""
    cut = (curve.exists & ~np.isfinite(curve.log_norm["pair"])).any(0)
    return max(0, int(cut.argmax()) - 1) if cut.any() else int(curve.lengths.max())


HUNDREDTH = 0.01


def _sections(analysis: Analysis) -> Iterator[Section]:
    colours = {layer.name: place for place, layer in enumerate(analysis.layers)}
    if analysis.not_measured:
        yield not_measured_section(analysis.not_measured)
    silent = without_lags(analysis.verdicts)
    lag = spoken_lag(analysis)
    yield from _lags(analysis, lag, silent, colours)
    broken = {one.layer for one in analysis.verdicts if one.level is Level.NON_FINITE}
    if windows := {name: one for name, one in _windows(analysis).items() if name not in broken}:
        yield fresh_window_section({"": windows}, kind="layer", colours=colours)
    if truncations := _by_layer(analysis, Truncation, without=silent):
        yield truncation_section(truncations, colours=colours)
    if splits := _by_layer(analysis, PathSplit, without=silent):
        yield path_split_section(splits, lag=lag, colours=colours)
    if added := _by_layer(analysis, Contributions, without=silent):
        yield contributions_section(added, lag=lag)
    if statistics := _by_layer(analysis, GateStatistics):
        yield gate_statistics_section(statistics, needed_lag=analysis.lag, colours=colours)
    for tried in (one for one in analysis.measurements if isinstance(one, Remedies)):
        yield remedies_section(tried)
    excerpts = {one.layer: one for one in analysis.excerpts if one.sequences}
    if excerpts:
        yield gates_section({name: excerpts[name] for name in [*excerpts][:MAPPED]}, kind="layer")
    if exponents := _by_layer(analysis, Lyapunov):
        heard = {name: curve for name, curve in analysis.curves.items() if name not in silent}
        yield lyapunov_section(exponents, curves=heard, colours=colours)
    if sums := _by_layer(analysis, SumRule):
        yield sum_rule_section(sums)
    if products := _by_layer(analysis, SingularValues):
        yield singular_values_section(products, lag=lag, colours=colours)
    if rests := _by_layer(analysis, ZeroState):
        yield zero_state_section(rests, lag=lag, colours=colours)
    if weights := _by_layer(analysis, LayerWeights):
        yield weights_section(weights)
    if geometries := _by_layer(analysis, StateGeometry):
        yield state_geometry_section(geometries, colours=colours)
    if points := _by_layer(analysis, FixedPoints):
        yield fixed_points_section(points)
    if onsets := _by_layer(analysis, Onset):
        yield onset_section(onsets)
    if norms := [one for one in analysis.measurements if isinstance(one, GradientNorms)]:
        yield gradient_norms_section(norms)


def _title(layers: Sequence[AnalysedLayer]) -> str:
    if len(layers) == 1:
        return f"How far back does {shortened(layers[0].name)} feel?"
    return f"How far back do these {len(layers)} recurrent layers feel?"


def _by_layer(analysis: Analysis, kind: type[Measured], *, without: Collection[str] = ()) -> dict[str, Measured]:
    """The answers of one kind in the order of the layers."""
    found = {getattr(one, "layer", ""): one for one in analysis.measurements if isinstance(one, kind)}
    return {one.name: found[one.name] for one in analysis.layers if one.name in found and one.name not in without}


def _lags(analysis: Analysis, lag: int, silent: Collection[str], colours: Mapping[str, int]) -> Iterator[Section]:
    curves = {
        layer.name: analysis.curves[layer.name]
        for layer in analysis.layers
        if layer.name in analysis.curves and layer.name not in silent
    }
    reaching = {name: curve for name, curve in curves.items() if int(curve.lengths.max()) >= lag}
    if not reaching:
        return
    section = lag_curve_section(
        {"": {**reaching, **curves}}, lag=lag, needed_lag=analysis.lag, kind="layer", colours=colours
    )
    if not silent:
        yield section
        return
    left_out = listed([shortened(name) for name in colours if name in silent])
    without = (
        "Not drawn, here and where lags are counted below, since the loss sends nothing from there, or no number: "
        f"{left_out}."
    )
    yield replace(section, prose=(without,))


def _windows(analysis: Analysis) -> dict[str, FreshWindow]:
    """Of the whole model or of each layer by itself, by layer."""
    found = [one for one in analysis.measurements if isinstance(one, FreshWindow)]
    by_layer = {layer: one for one in found for layer in one.initial}
    return {layer.name: by_layer[layer.name] for layer in analysis.layers if layer.name in by_layer}


def _provenance(analysis: Analysis) -> Section:
    layers = Table(
        caption="The layers as they were analysed",
        columns=(
            "layer",
            "cell",
            "input",
            "units",
            "h",
            "sequences",
            "steps",
            "replay residual",
            "gates by",
            "also called",
        ),
        rows=tuple(
            (
                layer.name,
                layer.cell,
                layer.input_size,
                layer.hidden_size,
                layer.output_size,
                layer.sequences,
                layer.steps,
                layer.residual,
                layer.method,
                ", ".join(layer.aliases) or None,
            )
            for layer in analysis.layers
        ),
    )
    losses = Table(
        caption="Whose gradient was measured in each layer",
        columns=("layer", "loss"),
        rows=tuple((layer.name, layer.loss or "none: the loss sends no gradient here") for layer in analysis.layers),
        longest=SENTENCE,
    )
    reduced = Table(
        caption="What is kept of each layer's gates and states, and what of it this page draws",
        columns=("layer", "kept", "drawn"),
        rows=tuple(
            (
                one.layer,
                "; ".join(one.reductions) or "everything",
                "its first sequence" if place < MAPPED else "nothing",
            )
            for place, one in enumerate(analysis.excerpts)
        ),
        longest=SENTENCE,
    )
    versions = analysis.provenance.get("versions", "an unknown version of gatescope")
    return provenance_section(
        analysis.provenance,
        lead=f"Measured with {shortened(versions, SENTENCE)}; the same seed gives the same numbers.",
        tables=[layers, losses, *([reduced] if analysis.excerpts else [])],
    )
