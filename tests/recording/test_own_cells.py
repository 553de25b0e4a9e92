"""A cell of somebody's own, named by its step, is recorded like torch's."""

from typing import Any

import pytest
import torch
from torch import nn

import gatescope as gs


def step(w: Any, affine: Any, prev: Any) -> Any:
    """A peephole LSTM: the gates see the cell state."""
    i, f, g, o = (affine[0] + affine[1]).chunk(4, -1)
    i, f, g = (i + w["peep.i"] * prev["c"]).sigmoid(), (f + w["peep.f"] * prev["c"]).sigmoid(), g.tanh()
    c = f * prev["c"] + i * g
    o = (o + w["peep.o"] * c).sigmoid()
    return {"i": i, "f": f, "g": g, "o": o}, {"h": o * c.tanh(), "c": c}


class PeepholeCell(nn.Module):
    """As somebody wrote it, knowing nothing of gatescope; returns (output, state) as Keras cells do."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.from_x = nn.Linear(inputs, 4 * units)
        self.from_h = nn.Linear(units, 4 * units, bias=False)
        self.peep = nn.ParameterDict({gate: torch.randn(units) for gate in "ifo"})

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        h, c = state or (x.new_zeros(len(x), self.from_h.in_features),) * 2
        gates, new = step({f"peep.{k}": v for k, v in self.peep.items()}, (self.from_x(x), self.from_h(h)), {"c": c})
        del gates
        return new["h"], (new["h"], new["c"])


SPEC = gs.Cell.from_step(
    "peephole-lstm",
    gates=("i", "f", "g", "o"),
    memory=("c",),
    step=step,
    parameters={"weight_ih": "from_x.weight", "bias_ih": "from_x.bias", "weight_hh": "from_h.weight"},
)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = PeepholeCell(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, seen = None, []
        for x_t in x:
            out, state = self.cell(x_t, state)
            seen.append(out)
        return torch.stack(seen)


def test_its_gates_are_recorded_and_its_adjoints_are_autograds() -> None:
    model = Model().double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    kept: list[torch.Tensor] = []
    with gs.Recorder(model, cells={PeepholeCell: SPEC}) as rec:
        output = model(x)
        (output[-1].square().sum() + output[2].sum()).backward()
    trace, adjoint = rec.traces["cell"], rec.adjoints["cell"]
    assert trace.layer.cell.kind == "peephole-lstm"
    assert trace.residual < 1e-12
    assert set(trace.gates) >= {"i", "f", "g", "o"}

    c_prev = h_prev = torch.zeros(2, 4, dtype=torch.float64)
    peep = {f"peep.{k}": v for k, v in model.cell.peep.items()}
    states = []
    for t in range(7):
        affine = (model.cell.from_x(x[t]), model.cell.from_h(h_prev))
        gates, new = step(peep, affine, {"c": c_prev})
        torch.testing.assert_close(trace.gates["f"][t], gates["f"])
        for s in new.values():
            s.retain_grad()
        states.append(new)
        h_prev, c_prev = new["h"], new["c"]
        kept.append(affine[0])
        affine[0].retain_grad()
    (states[-1]["h"].square().sum() + states[2]["h"].sum()).backward()
    for t, new in enumerate(states):
        torch.testing.assert_close(adjoint.total["h"][t], new["h"].grad)
        torch.testing.assert_close(adjoint.total["c"][t], new["c"].grad)
        torch.testing.assert_close(adjoint.preactivations["input_affine"][t], kept[t].grad)


def test_a_cell_whose_weights_cannot_be_told_is_refused_with_what_is_missing() -> None:
    nameless = gs.Cell.from_step("peephole-lstm", gates=("i", "f", "g", "o"), memory=("c",), step=step)
    model = Model()
    with gs.Recorder(model, cells={PeepholeCell: nameless}) as rec:
        model(torch.randn(7, 2, 3))
    with pytest.raises(
        gs.GatescopeError, match=r"among which gatescope needs weight_hh and weight_ih; say in the cell"
    ):
        _ = rec.traces["cell"]


def test_a_step_that_is_not_what_the_module_does_is_refused() -> None:
    def wrong(w: Any, affine: Any, prev: Any) -> Any:
        gates, new = step(w, affine, prev)
        return gates, {**new, "h": new["h"] * 1.01}

    spec = gs.Cell.from_step(
        "peephole-lstm", gates=SPEC.gates, memory=SPEC.memory, step=wrong, parameters=SPEC.parameters
    )
    model = Model()
    with gs.Recorder(model, cells={PeepholeCell: spec}) as rec:
        model(torch.randn(7, 2, 3))
    with pytest.raises(gs.GatescopeError, match="what its weights give differs from"):
        _ = rec.traces["cell"]
