"""The section on gates over time."""

import numpy as np
import pytest
from torch import nn

from gatescope.report.plot import Maps
from gatescope.report.section import Section
from gatescope.report.sections.gates import gates_section
from report.examples import excerpt_of, trace_of


@pytest.mark.parametrize(("cell", "names"), [(nn.LSTM, "fiogch"), (nn.GRU, "rznh"), (nn.RNN, "h")])
def test_every_gate_and_state_of_the_cell_is_drawn(cell: type[nn.RNNBase], names: str) -> None:
    maps = _maps(gates_section({"one": excerpt_of(cell)}))
    assert "".join(one.name for one in maps.maps) == names
    kinds = {one.name: one.kind for one in maps.maps}
    assert all((kinds[name] == "gate") == (name in "fiorz") for name in names)


def test_only_the_steps_of_the_sequence_are_drawn() -> None:
    for sequence, length in enumerate([9, 7, 7, 3]):
        assert _maps(gates_section({"one": excerpt_of()}, place=sequence)).maps[0].values.shape == (5, length)


def test_units_have_one_order_in_all_maps_the_most_keeping_on_top() -> None:
    trace = trace_of(nn.GRU)
    z = trace.gates["z"][:9, 0].numpy().T
    order = np.argsort(-z.mean(1))
    for one in _maps(gates_section({"GRU": excerpt_of(nn.GRU)})).maps:
        values = {**trace.gates, **trace.states}[one.name][:9, 0].numpy().T
        assert one.values == pytest.approx(values[order], rel=2**-11)  # an excerpt holds float16


def test_the_lead_says_the_mean_of_the_gate_that_keeps() -> None:
    trace = trace_of()
    mean = trace.gates["f"][:9, 0].mean()
    assert f"In the LSTM the forget gate stands at {mean:.2f} on average" in gates_section({"LSTM": excerpt_of()}).lead


def test_the_caption_carries_the_proof() -> None:
    assert "Replay residual" in gates_section({"LSTM": excerpt_of()}).figures[0].caption


def _maps(section: Section) -> Maps:
    plot = section.figures[0].plot
    assert isinstance(plot, Maps)
    return plot
