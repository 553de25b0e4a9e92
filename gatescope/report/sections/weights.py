"""What the weights alone say of a layer: sizes, singular values, radii, bounds and time constants."""

from collections.abc import Mapping

import numpy as np

from ...measures.weights import LayerWeights
from ..names import shortened
from ..numbers import number
from ..plot import Curve, Curves, Mark, Panel, Rule
from ..section import Cell, Figure, Method, Section, Table
from .contributions import COLOURS, PANELS
from .gates import TITLES


def weights_section(
    measured: Mapping[str, LayerWeights],
    *,
    key: str = "weights",
    title: str = "The weights",
) -> Section:
    """One panel a layer, one curve a gate: the singular values of its recurrent block."""
    panels = tuple(_panel(name, measured[name], said=not place) for place, name in enumerate([*measured][:PANELS]))
    left_out = f" The first {PANELS} of {len(measured)} layers are drawn." if len(measured) > PANELS else ""
    figure = Figure(
        key=f"{key}-figure",
        plot=Curves(panels, columns=(2, 1)),
        alt=f"Falling curves of singular values, a curve a gate. {_lead(measured)}",
        caption=f"Singular values of each gate's block of W_hh, from the largest down.{left_out}",
    )
    remembering = {name: one for name, one in measured.items() if one.memory_gate}
    tables = (_blocks(measured), *([_at_rest(remembering)] if remembering else []))
    return Section(
        key, title, _lead(measured), prose=_bounds(measured), figures=(figure,), tables=tables, method=METHOD
    )


METHOD = Method(
    sentences=(
        "Norms are Frobenius norms of a gate's rows.",
        "The recurrent block leads from the state back to the gate: W_hh, times W_hr where there is a projection.",
        "The spectral radius is the largest modulus of its eigenvalues.",
        "At rest, with input and state at zero, the memory gate stands at g = sigmoid(b_ih + b_hh).",
        "For a plain RNN the largest singular value bounds what one step can do to a gradient; a bound is no rate.",
    ),
    formula="time constant = −1 / ln g,   leak time = 1 / (1 − g)",
    sources=("Pascanu, Mikolov & Bengio 2013", "Tallec & Ollivier 2018"),
)


def _spoken(one: LayerWeights) -> str:
    return one.memory_gate or next(iter(one.blocks))


def _panel(name: str, one: LayerWeights, *, said: bool) -> Panel:
    largest = float(one.blocks[_spoken(one)].singular_values[0])
    colours = {gate: COLOURS.get(gate, place) for place, gate in enumerate(one.blocks)}
    return Panel(
        tuple(
            Curve(gate, np.arange(1.0, len(block.singular_values) + 1), block.singular_values, colour=colours[gate])
            for gate, block in one.blocks.items()
        ),
        title=shortened(name, 40),
        x_label="singular value, from the largest",
        y_label="size (1)",
        marks=(Mark(1.0, largest, number(largest) if said else "", colours[_spoken(one)]),),
        rules=(Rule("y", 1.0, "keeps its size"),),
    )


def _lead(measured: Mapping[str, LayerWeights]) -> str:
    name, one = next(iter(measured.items()))
    block = one.blocks[_spoken(one)]
    of = f"the {TITLES[one.memory_gate]} of " if one.memory_gate else ""
    return (
        f"The recurrent weights of {of}{shortened(name)} have a largest singular value of "
        f"{number(float(block.singular_values[0]))} and a spectral radius of {number(block.spectral_radius)}."
    )


def _bounds(measured: Mapping[str, LayerWeights]) -> tuple[str, ...]:
    return tuple(
        f"In {shortened(name)} no step lets a gradient grow by more than {number(one.step_bound)} nats: a bound."
        for name, one in measured.items()
        if one.step_bound is not None
    )


def _blocks(measured: Mapping[str, LayerWeights]) -> Table:
    def row(name: str, one: LayerWeights, gate: str) -> tuple[Cell, ...]:
        block = one.blocks[gate]
        ends = (float(block.singular_values[0]), float(block.singular_values[-1]))
        norms = (block.input_norm, block.recurrent_norm)
        return (name, gate, *norms, *ends, block.spectral_radius, float(block.bias.mean()))

    return Table(
        caption="The weights of each gate",
        columns=(
            "layer",
            "gate",
            "norm of W_ih",
            "norm of W_hh",
            "largest singular value",
            "smallest",
            "spectral radius",
            "mean bias",
        ),
        rows=tuple(row(name, one, gate) for name, one in measured.items() for gate in one.blocks),
    )


def _at_rest(measured: Mapping[str, LayerWeights]) -> Table:
    def row(name: str, one: LayerWeights) -> tuple[Cell, ...]:
        numbers = (one.open_at_rest, one.time_constant, one.leak_time)
        medians = (None if values is None else float(np.median(values)) for values in numbers)
        longest = None if one.time_constant is None else float(one.time_constant.max())
        return (name, one.memory_gate, *medians, longest)

    return Table(
        caption="The memory gate at rest: the median unit, and the longest time constant",
        columns=(
            "layer",
            "gate",
            "open",
            "time constant (steps)",
            "leak time (steps)",
            "longest time constant (steps)",
        ),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )
