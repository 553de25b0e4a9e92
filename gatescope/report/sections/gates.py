"""What every unit's gates and states did at every step of one sequence."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ...analysis.excerpt import Excerpt
from ..names import shortened
from ..numbers import counted, listed, number
from ..plot import Curve, Map, Maps
from ..pooling import cell_of
from ..section import Cell, Figure, Method, Section, Table

TITLES = {
    "f": "forget gate",
    "i": "input gate",
    "o": "output gate",
    "r": "reset gate",
    "z": "update gate",
    "g": "candidate",
    "n": "candidate",
    "c": "cell state",
    "h": "hidden state",
}
ORDER = tuple(TITLES)
KEEPS = ("f", "z", "h")
"""What decides how long a unit remembers, the first that a cell has: units are sorted by its mean."""
FEATURES = 1
"""So many features of the input stand below the maps: more would hide each other."""


def gates_section(
    excerpts: Mapping[str, Excerpt],
    *,
    place: int = 0,
    kind: str = "network",
    inputs: Mapping[str, Float[np.ndarray, "time"]] | None = None,
    key: str = "gates",
    title: str = "The gates over time",
) -> Section:
    """One figure a network: its gates and states as maps of unit over step, the input on the same time axis below.

    `place` is that of the sequence within each excerpt, `inputs` what stands below instead of the layer's own input,
    and `kind` what the names are names of.
    """
    shown = {name: _maps(one, place) for name, one in excerpts.items()}
    return Section(
        key=key,
        title=title,
        lead=_lead(shown, excerpts, place, kind),
        figures=tuple(
            Figure(
                key=f"{key}-{at}",
                plot=_plot(excerpts[name], maps, inputs or _inputs(excerpts[name], place)),
                alt=f"Heatmaps of the {shortened(name)}, unit by step. {_means(maps)}",
                caption=_caption(name, excerpts[name], place, maps),
            )
            for at, (name, maps) in enumerate(shown.items())
        ),
        tables=(_table(shown, kind),),
        method=METHOD,
    )


METHOD = Method(
    sentences=(
        "The network's own fused kernel ran; its gates were computed again from its inputs and its hidden states.",
        "They explain those hidden states to the replay residual that is given under each figure.",
        "Units keep their place in all maps of one network.",
        "They are sorted by the mean of the forget gate f in an LSTM, of the update gate z in a GRU, of h elsewhere.",
        "Gates run from 0 (closed) to 1 (open); states and candidates have a scale of their own, symmetric around 0.",
    ),
    formula=(
        "LSTM   c_t = f ⊙ c_{t−1} + i ⊙ g,   h_t = o ⊙ tanh c_t\n"
        "GRU    h_t = (1 − z) ⊙ n + z ⊙ h_{t−1},   n = tanh(W_in x + b_in + r ⊙ (W_hn h_{t−1} + b_hn))"
    ),
    sources=("Hochreiter & Schmidhuber 1997", "Gers, Schmidhuber & Cummins 2000", "Cho et al. 2014"),
)


def _plot(one: Excerpt, maps: tuple[Map, ...], inputs: Mapping[str, Float[np.ndarray, "time"]]) -> Maps:
    below = tuple(
        Curve(name, np.arange(len(values)) * one.bin + (one.bin - 1) / 2, values, colour=place)
        for place, (name, values) in enumerate(inputs.items())
    )
    names = f"below: {listed([shortened(name, 24) for name in inputs])}"
    if len(inputs) == FEATURES < one.x.shape[2]:
        names += f" of {one.x.shape[2]}"
    return Maps(maps, below, names, y_label=f"{len(maps[0].values)} units", bin=one.bin)


def _inputs(one: Excerpt, place: int) -> dict[str, Float[np.ndarray, "time"]]:
    """The first features of the layer's own input."""
    features = _of_one(one.x, one, place)
    return {
        f"input {feature}" if len(features) > 1 else "input": features[feature]
        for feature in range(len(features))[:FEATURES]
    }


def _maps(one: Excerpt, place: int) -> tuple[Map, ...]:
    values = {name: _of_one(series, one, place) for name, series in {**one.gates, **one.states}.items()}
    keeping = values[next(name for name in KEEPS if name in values)]
    order = np.argsort(-keeping.mean(axis=1), kind="stable")
    names = sorted(values, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return tuple(
        Map(
            name,
            TITLES.get(name, ""),
            values[name][order] if len(values[name]) == len(order) else values[name],
            "gate" if _is_gate(values[name]) and name not in ("g", "n", "c", "h") else "signed",
        )
        for name in names
    )


def _of_one(
    series: Float[np.ndarray, "sequence time unit"], one: Excerpt, place: int
) -> Float[np.ndarray, "unit step"]:
    columns = -(-int(one.lengths[place]) // one.bin)
    return series[place, :columns].astype(float).T


def _is_gate(values: Float[np.ndarray, "unit step"]) -> bool:
    return bool(((values >= 0) & (values <= 1) | np.isnan(values)).all())


def _lead(shown: Mapping[str, tuple[Map, ...]], excerpts: Mapping[str, Excerpt], place: int, kind: str) -> str:
    name, maps = next(iter(shown.items()))
    keeping = next(one for keeper in KEEPS for one in maps if one.name == keeper)
    one = excerpts[name]
    where, of = (
        (f"the {shortened(name)}", f" of layer {shortened(one.layer)}") if kind == "network" else (shortened(name), "")
    )
    if np.isnan(keeping.mean):
        return f"In {where} no number of the {TITLES[keeping.name]} is finite in sequence {one.sequences[place]}{of}."
    over = f"{counted(len(keeping.values), 'unit')} and {counted(int(one.lengths[place]), 'step')}"
    return f"In {where} the {TITLES[keeping.name]} stands at {number(keeping.mean)} on average over these {over}{of}."


def _means(maps: tuple[Map, ...]) -> str:
    return "Means: " + listed([f"{one.name} {number(one.mean)}" for one in maps]) + "."


def _caption(name: str, one: Excerpt, place: int, maps: tuple[Map, ...]) -> str:
    keeping = next(keeper for keeper in KEEPS if any(map_of.name == keeper for map_of in maps))
    layer = "" if one.layer == name else f", layer {shortened(one.layer)}"
    units, steps = cell_of(*maps[0].values.shape)
    drawn = [counted(units, "unit")] * (units > 1) + [counted(steps * one.bin, "step")] * (steps > 1)
    reduced = [*one.reductions, *([f"each point drawn is the mean over {listed(drawn)}"] if drawn else [])]
    return (
        f"{shortened(name)}{layer}, sequence {one.sequences[place]}: {counted(len(maps[0].values), 'unit')}, sorted by "
        f"their mean {keeping}, the highest on top. Replay residual {number(one.residual)}."
        + (f" Reduced: {'; '.join(reduced)}." if reduced else "")
    )


def _table(shown: Mapping[str, tuple[Map, ...]], kind: str) -> Table:
    def row(name: str, one: Map) -> tuple[Cell, ...]:
        finite = one.values[np.isfinite(one.values)]
        ends = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
        return (name, f"{one.name}  {one.title}".strip(), one.mean, *ends)

    return Table(
        caption="Mean and range of what the maps show",
        columns=(kind, "quantity", "mean", "lowest", "highest"),
        rows=tuple(row(name, one) for name, maps in shown.items() for one in maps),
    )
