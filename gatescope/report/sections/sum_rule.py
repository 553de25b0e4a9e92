"""Whether the exponents of a full spectrum add up to what the steps' determinants say, layer by layer."""

from collections.abc import Mapping

import numpy as np

from ...measures.sum_rule import SumRule
from ..names import shortened
from ..numbers import listed, number
from ..section import Cell, Method, Section, Table


def sum_rule_section(
    measured: Mapping[str, SumRule], *, key: str = "sum-rule", title: str = "Do the exponents add up?"
) -> Section:
    """Both sides and the largest difference between them, a row a layer."""
    said = [f"{number(_largest(one))} in {shortened(name)}" for name, one in measured.items()]
    lead = f"All exponents together differ from the mean log determinant of a step by at most {listed(said)}, in nats."
    return Section(key, title, lead, tables=(_table(measured),), method=METHOD)


METHOD = Method(
    sentences=(
        "A check of two calculations: the exponents by QR decompositions, the determinants by closed forms.",
        "The two are equal for every sequence and any weights, over the same steps, but for rounding.",
    ),
    formula="Σ λ_i = mean of ln |det J_t|",
)


def _largest(one: SumRule) -> float:
    return float(np.abs(one.difference).max())


def _table(measured: Mapping[str, SumRule]) -> Table:
    def row(name: str, one: SumRule) -> tuple[Cell, ...]:
        return (name, number(float(one.exponents.mean())), number(float(one.volumes.mean())), _largest(one), one.n)

    return Table(
        caption="Both sides in nats a step, means over sequences",
        columns=("layer", "sum of exponents", "log determinant", "largest difference", "sequences"),
        rows=tuple(row(name, one) for name, one in measured.items()),
    )
