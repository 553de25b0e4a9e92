"""What every unit's gates and states did at every step of one sequence."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...trace import Trace
from ..names import shortened
from ..numbers import listed, number
from ..plot import Curve, Map, Maps
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


def gates_section(
    traces: Mapping[str, Trace],
    *,
    sequence: int = 0,
    inputs: Mapping[str, Float[np.ndarray, "time"]] | None = None,
    key: str = "gates",
    title: str = "The gates over time",
) -> Section:
    """One figure a network: its gates and states as maps of unit over step, `inputs` on the same time axis below."""
    shown = {name: _maps(trace, sequence) for name, trace in traces.items()}
    below = tuple(
        Curve(name, np.arange(float(len(values))), values, colour=place)
        for place, (name, values) in enumerate((inputs or {}).items())
    )
    named_below = f"below: {listed([shortened(name, 24) for name in inputs or {}])}" if below else ""
    return Section(
        key=key,
        title=title,
        lead=_lead(shown, traces),
        figures=tuple(
            Figure(
                key=f"{key}-{place}",
                plot=Maps(maps, below, named_below, y_label=f"{len(maps[0].values)} units"),
                alt=f"Heatmaps of the {shortened(name)}, unit by step. {_means(maps)}",
                caption=_caption(name, traces[name], sequence, maps),
            )
            for place, (name, maps) in enumerate(shown.items())
        ),
        tables=(_table(shown),),
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


def _maps(trace: Trace, sequence: int) -> tuple[Map, ...]:
    length = int(trace.lengths[sequence])
    quantities = {**{name: trace.gates[name] for name in trace.layer.cell.gates}, **trace.states}
    values = {name: _of_one(tensor, sequence, length) for name, tensor in quantities.items()}
    order = np.argsort(-values[next(name for name in KEEPS if name in values)].mean(axis=1), kind="stable")
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


def _of_one(tensor: Tensor, sequence: int, length: int) -> Float[np.ndarray, "unit step"]:
    return tensor[:length, sequence].detach().double().cpu().numpy().T


def _is_gate(values: Float[np.ndarray, "unit step"]) -> bool:
    return bool(((values >= 0) & (values <= 1) | np.isnan(values)).all())


def _lead(shown: Mapping[str, tuple[Map, ...]], traces: Mapping[str, Trace]) -> str:
    name, maps = next(iter(shown.items()))
    keeping = next(one for keeper in KEEPS for one in maps if one.name == keeper)
    units, steps = keeping.values.shape
    return (
        f"In the {shortened(name)} the {TITLES[keeping.name]} stands at {number(keeping.mean)} on average over these "
        f"{units} units and {steps} steps of layer {shortened(traces[name].name)}."
    )


def _means(maps: tuple[Map, ...]) -> str:
    return "Means: " + listed([f"{one.name} {number(one.mean)}" for one in maps]) + "."


def _caption(name: str, trace: Trace, sequence: int, maps: tuple[Map, ...]) -> str:
    keeping = next(keeper for keeper in KEEPS if any(one.name == keeper for one in maps))
    return (
        f"{shortened(name)}, layer {shortened(trace.name)}, sequence {sequence}: {len(maps[0].values)} units, sorted "
        f"by their mean {keeping}, the highest on top. Replay residual {number(trace.residual)}."
    )


def _table(shown: Mapping[str, tuple[Map, ...]]) -> Table:
    def row(name: str, one: Map) -> tuple[Cell, ...]:
        low, high = (float(end) for end in (np.nanmin(one.values), np.nanmax(one.values)))
        return (name, f"{one.name}  {one.title}".strip(), one.mean, low, high)

    return Table(
        caption="Mean and range of what the maps show",
        columns=("network", "quantity", "mean", "lowest", "highest"),
        rows=tuple(row(name, one) for name, maps in shown.items() for one in maps),
    )
