"""What an analysis found, before anything else: in one line, in verdicts, and in how far each gradient reaches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..analysis.analysis import AnalysedLayer, Analysis
from ..analysis.in_words import BELOW
from ..remedies.remedy import Remedies
from ..verdicts import Horizon, Verdict
from .names import shortened
from .numbers import counted, listed
from .section import Cell, Notes, Section, Table
from .sections.provenance import SENTENCE
from .sections.remedies import best_remedy
from .sections.verdicts import level_name, tone, verdicts_section, without_lags


def summary(analysis: Analysis) -> str:
    """Each layer's first verdict, and of what data."""
    first: dict[str, Verdict] = {}
    layers = {layer.name for layer in analysis.layers}
    for verdict in analysis.verdicts:
        if verdict.layer in layers:  # and not of the weights of all
            first.setdefault(verdict.layer, verdict)
    by_level: dict[str, list[str]] = {}
    for layer, verdict in first.items():
        by_level.setdefault(level_name(verdict.level), []).append(shortened(layer))
    found = [f"{level} in {listed(names)}." for level, names in by_level.items()] or ["Nothing was judged."]
    needed = "No needed lag was given" if analysis.lag is None else f"The task needs lag {analysis.lag}"
    data = shortened(analysis.provenance.get("data", "unknown"), SENTENCE)
    return f"{needed}. {' '.join(found)} Data {data}."


def found_section(analysis: Analysis, why: Mapping[str, Sequence[str]]) -> Section:
    """The alarms first, what the verdicts come from, and how far each layer's gradient reaches."""
    verdicts = sorted(analysis.verdicts, key=lambda one: tone(one.level) != "alarm")
    silent = without_lags(analysis.verdicts)
    reaching = {name: found for name, found in analysis.horizons.items() if found and name not in silent}
    lead = next((_reach(name, found) for name, found in reaching.items()), "")
    causes = [Notes(f"Why, in {shortened(layer)}", tuple(said)) for layer, said in why.items() if said]
    cures = [
        best_remedy(tried, layer.name)
        for tried in analysis.measurements
        if isinstance(tried, Remedies)
        for layer in analysis.layers
        if tried.of(layer.name)
    ]
    section = verdicts_section(verdicts, lead=lead, prose=cures)
    return replace(section, notes=tuple(causes), tables=(_horizons(analysis),))


def _reach(layer: str, found: Sequence[Horizon]) -> str:
    below = [f"{name} at lag {one.lag}" for name, one in zip(BELOW, found, strict=True) if one.lag is not None]
    not_below = [name for name, one in zip(BELOW, found, strict=True) if one.lag is None]
    within = f" below {not_below[0]} within {counted(found[0].longest, 'step')}" if not_below else ""
    if not below:
        return f"In {shortened(layer)} the gradient does not fall{within}."
    return f"In {shortened(layer)} the gradient falls below {listed(below)}{', and not' * bool(within)}{within}."


def _horizons(analysis: Analysis) -> Table:
    silent = without_lags(analysis.verdicts)

    def row(layer: AnalysedLayer) -> tuple[Cell, ...]:
        found = () if layer.name in silent else analysis.horizons.get(layer.name, ())
        ends: list[str | None] = [*map(str, found)] or [None] * len(BELOW)
        return (layer.name, layer.cell, layer.hidden_size, layer.direction, *ends)

    return Table(
        caption="The first lag at which less of the gradient is left, with its 95 % interval",
        columns=("layer", "cell", "units", "direction", *(f"below {name}" for name in BELOW)),
        rows=tuple(map(row, analysis.layers)),
    )
