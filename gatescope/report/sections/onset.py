"""Where numbers first are not finite, and where a gradient first has grown, layer by layer."""

from collections.abc import Mapping

from ...measures.onset import Onset
from ..names import shortened
from ..numbers import counted, listed, number, number_from_log
from ..section import Cell, Method, Section, Table


def onset_section(measured: Mapping[str, Onset], *, key: str = "onset", title: str = "Where it begins") -> Section:
    """One row a layer: the first number that is not finite, forwards and backwards, and the first rise."""
    return Section(key, title, _lead(measured), tables=(_table(measured),), method=METHOD)


METHOD = Method(
    sentences=(
        "Forward: the first NaN or infinity among gates, states and input.",
        "Backward: the first of the gradient, from each sequence's last processed step on.",
        "A rise is where the gradient first stands so many times above that of the last step.",
        "The gradient at lag k came through the gates of lag k − 1, of which each has a share.",
    ),
    formula="k = min k with |s̃_{T−k}| > factor · |s̃_T|,   share of a gate = |δa|² / Σ |δa|²",
)


def _lead(measured: Mapping[str, Onset]) -> str:
    said = [text for name, one in measured.items() for text in _events(name, one)]
    if said:
        return f"First {listed(said)}."
    factor = next(iter(measured.values())).factor
    return f"Every number is finite, and no gradient rises above {number(factor)} times that of the last step."


def _events(name: str, one: Onset) -> list[str]:
    layer, events = shortened(name), []
    if one.forward is not None:
        events.append(f"{shortened(one.forward.quantity)} of {layer} is not finite from step {one.forward.step} on")
    if one.backward is not None:
        events.append(
            f"the gradient of {shortened(one.backward.quantity)} of {layer} is not finite at lag {one.backward.lag}"
        )
    if one.first is not None:
        by = f", most of it through {one.first.gate}" if one.first.gate else ""
        times = f"{number(one.factor)} times that of the last step"
        events.append(f"the gradient of {layer} rises above {times} at lag {one.first.lag}{by}")
    return events


def _table(measured: Mapping[str, Onset]) -> Table:
    def row(name: str, one: Onset) -> tuple[Cell, ...]:
        forward = backward = None
        if one.forward is not None:
            forward = f"{one.forward.quantity}, step {one.forward.step}, sequence {one.forward.sequence}"
        if one.backward is not None:
            backward = f"{one.backward.quantity}, lag {one.backward.lag}, sequence {one.backward.sequence}"
        first = one.first
        rise: tuple[Cell, ...] = (None, None, None, None)
        if first is not None:
            grown = number_from_log(float(one.log_growth[first.sequence]))
            rise = (first.lag, first.step, first.gate, grown)
        return (name, forward, backward, *rise, f"{one.rising} of {counted(one.n, 'sequence')}")

    return Table(
        caption="The first of each layer",
        columns=("layer", "not finite forward", "not finite backward", "rise: lag", "step", "gate", "factor", "rising"),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )
