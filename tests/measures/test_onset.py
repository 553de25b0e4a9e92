"""Where it begins: rises against autograd in an unrolled loop, and NaNs and infinities where we put them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs
from gatescope.errors import GatescopeWarning, InputError
from gatescope.measures import MEASURES
from gatescope.measures.onset import NonFiniteGradient, Onset, onset
from gatescope.recording.recorder import Recorder
from oracles import permutation_rnn, textbook, true_adjoints
from problems import KINDS, LOSSES, Problem

WILD = [
    Problem(kind, bidirectional=True, layout="packed-unsorted", batch=9, proj_size=3 if kind == "lstm-proj" else 0)
    for kind in KINDS
]


def shaken(problem: Problem) -> nn.RNN | nn.LSTM | nn.GRU:
    """With recurrent weights so large that gradients grow."""
    module = problem.module()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.mul_(10 if name.startswith("weight_hh") else 0.1)
    return module


def measured(
    module: nn.Module, *, factor: float, read: Callable[..., torch.Tensor], x: torch.Tensor, layer: str = "l0"
) -> Onset:
    with Recorder(module) as rec:
        read(*module(x)).backward()
    return onset(rec.adjoints[layer], factor=factor, loss="the last state")


def last(output: torch.Tensor, _: object) -> torch.Tensor:
    return output[-1].sum()


def test_it_is_listed_among_the_measures() -> None:
    assert Onset in MEASURES


@pytest.mark.parametrize("problem", WILD, ids=str)
def test_rises_and_shares_are_those_of_autograd_in_a_loop(problem: Problem) -> None:
    module = shaken(problem)
    run = textbook(problem.cell, module.state_dict(), problem.input(), lengths=problem.lengths())
    oracle = true_adjoints(run, LOSSES["h_n and c_n"](run.output, run.states, run.lengths))
    with Recorder(module) as rec:
        problem.loss("h_n and c_n", *problem.call(module)).backward()
    risen = 0
    for name, adjoint in rec.adjoints.items():
        found = onset(adjoint, factor=1.2, loss="the final states")
        felt, gates = oracle[name], adjoint.layer.cell.blocks
        for sequence, length in enumerate(problem.lengths().tolist()):
            order = list(range(length)) if name.endswith("_reverse") else list(reversed(range(length)))
            pair = [torch.cat([values[t, sequence] for values in felt["state"].values()]).norm() for t in order]
            pair.append(torch.cat([values[sequence] for values in felt["initial"].values()]).norm())
            growth = [float((norm / pair[0]).log()) for norm in pair]
            above = [lag for lag, one in enumerate(growth) if one > math.log(1.2)]
            assert found.lag[sequence] == (above[0] if above else -1)
            if not above:
                assert math.isnan(found.log_growth[sequence])
                continue
            risen += 1
            assert found.log_growth[sequence] == pytest.approx(growth[above[0]], rel=1e-9)
            through = order[above[0] - 1]
            squares = {gate: float(felt["preactivations"][gate][through, sequence].square().sum()) for gate in gates}
            for gate, square in squares.items():
                assert found.share[gate][sequence] == pytest.approx(square / sum(squares.values()), rel=1e-9)
            if found.first.sequence == sequence:
                assert found.first.lag == above[0] == found.lag[found.lag >= 0].min()
                assert found.first.step == through
                assert found.first.gate == max(squares, key=lambda gate: squares[gate])
                assert found.first.share == pytest.approx(max(squares.values()) / sum(squares.values()), rel=1e-9)
        assert found.rising == (found.lag >= 0).sum()
    assert risen >= 4


def test_a_gradient_that_grows_by_a_tenth_a_step_is_a_hundredfold_after_49() -> None:
    form = permutation_rnn(1.1)
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    found = onset(rec.adjoints["l0"], factor=100, loss="the last state, weighted")
    assert found.lag.tolist() == [49] * 4
    np.testing.assert_allclose(found.log_growth, 49 * math.log(1.1), rtol=1e-10)
    assert found.rising == found.n == 4
    assert found.first[:2] == (49, 199 - 48)
    assert (found.first.gate, found.first.share) == ("h", 1.0)
    assert (found.forward, found.backward) == (None, None)


def test_of_several_rises_at_one_lag_the_steepest_is_the_first() -> None:
    rnn = nn.RNN(1, 2, nonlinearity="relu", bias=False, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_ih_l0.fill_(1.0)
        rnn.weight_hh_l0.copy_(torch.diag(torch.tensor([3.0, 4.0])))
    x = torch.ones(5, 3, 1, dtype=torch.float64)
    x[4, 0] = -1e9  # its last units are off: nothing comes back through them
    unit = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = measured(rnn, factor=2.0, read=lambda output, _: (output[-1] * unit).sum(), x=x)
    assert found.lag.tolist() == [-1, 1, 1]
    assert found.first.sequence == 2
    assert found.rising == 2


def test_a_rise_past_every_gate_is_of_none() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight_ih = nn.Parameter(torch.ones(3, 2))
            self.weight_hh = nn.Parameter(torch.ones(3, 3))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return 2 * h + 0 * (x @ self.weight_ih.T + h @ self.weight_hh.T)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Doubling()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = x.new_zeros(4, 3)
            for step in x:
                h = self.cell(step, h)
            return h

    spec = gs.Cell.from_step(
        "doubling", gates=(), step=lambda w, affine, prev: ({}, {"h": 2 * prev["h"] + 0 * (affine[0] + affine[1])})
    )
    model = Loop()
    with Recorder(model, cells={Doubling: spec}) as rec:
        model(torch.randn(6, 4, 2)).sum().backward()
    found = onset(rec.adjoints["cell"], factor=3.0, loss="the last state")
    assert found.first[:2] == (2, 4)
    assert (found.first.gate, found.first.share) == (None, 0.0)


def test_where_nothing_grows_there_is_no_first() -> None:
    form = permutation_rnn(0.9)
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    found = onset(rec.adjoints["l0"], factor=2.0, loss="the last state, weighted")
    assert found.first is None
    assert found.rising == 0
    assert found.lag.tolist() == [-1] * 4
    assert found.to_frame().empty
    assert np.isnan(found.share["h"]).all()


def test_one_step_is_enough_and_so_is_none_of_signal() -> None:
    module = nn.LSTM(2, 3, dtype=torch.float64)
    short = measured(module, factor=2.0, read=last, x=torch.randn(1, 4, 2, dtype=torch.float64))
    assert short.rising == 0
    early = measured(
        module, factor=2.0, read=lambda output, _: output[2].sum(), x=torch.randn(6, 4, 2, dtype=torch.float64)
    )
    assert early.rising == 0  # at lag 0 there is nothing that could have grown


@pytest.mark.parametrize("factor", [1.0, 0.0, -2.0, math.nan])
def test_a_factor_that_is_no_growth_is_refused(factor: float) -> None:
    form = permutation_rnn(0.9, steps=3)
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    with pytest.raises(InputError, match="choose one above 1"):
        onset(rec.adjoints["l0"], factor=factor, loss="")


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_nan_in_the_input_is_found_forwards_where_it_enters_and_backwards_where_it_is_met(
    cell: type[nn.RNNBase],
) -> None:
    x = torch.randn(8, 3, 2)
    x[5, 1, 0] = math.nan
    with pytest.warns(GatescopeWarning, match=r"at step 5 of sequence 1|NaN or infinite"):
        found = measured(cell(2, 4), factor=100, read=last, x=x)
    assert (found.forward.step, found.forward.sequence) == (5, 1)
    assert found.forward.layer == "l0"
    blocks = {nn.LSTM: "i", nn.GRU: "r", nn.RNN: "h"}
    assert found.backward == NonFiniteGradient(f"gate {blocks[cell]}", 0, 7, 1, 1)
    frame = found.to_frame()
    assert frame["quantity"].tolist() == [
        f"non-finite {found.forward.quantity}",
        f"non-finite gradient of gate {blocks[cell]}",
    ]
    assert frame["time"].tolist() == [5, 7]
    assert frame["lag"].isna().tolist() == [True, False]
    assert frame["value"].isna().all()


def test_a_gradient_that_arrives_as_nan_is_named_as_the_state() -> None:
    weights = torch.ones(3, 4)
    weights[2, 1] = math.nan
    with pytest.warns(GatescopeWarning, match="NaN or infinite"):
        found = measured(
            nn.GRU(2, 4), factor=100, read=lambda output, _: (output[-1] * weights).sum(), x=torch.randn(8, 3, 2)
        )
    assert found.forward is None
    assert found.backward == NonFiniteGradient("state", 0, 7, 2, 1)


def test_in_a_reverse_layer_the_first_place_is_counted_from_its_own_end() -> None:
    module = nn.GRU(2, 4, bidirectional=True)
    weights = torch.ones(9, 3, 4)
    weights[2, 1, 0] = math.inf
    with pytest.warns(GatescopeWarning, match="NaN or infinite"):
        found = measured(
            module,
            factor=100,
            read=lambda output, _: (output[..., 4:] * weights).sum(),
            x=torch.randn(9, 3, 2),
            layer="l0_reverse",
        )
    assert (found.backward.lag, found.backward.step, found.backward.sequence) == (2, 2, 1)


def test_a_gradient_that_breaks_at_the_initial_state_has_no_step() -> None:
    """A relu RNN whose pre-activations are tame and whose weights are not."""
    rnn = nn.RNN(1, 2, nonlinearity="relu", bias=False)
    with torch.no_grad():
        rnn.weight_ih_l0.fill_(1.0)
        rnn.weight_hh_l0.copy_(torch.tensor([[3e38, 3e38], [3e38, 3e38]]))
    found = measured(rnn, factor=100, read=last, x=torch.ones(1, 2, 1))
    assert found.forward is None
    assert found.backward == NonFiniteGradient("state", 1, None, 0, 2)
    assert found.first[:2] == (1, 0)  # what is infinite has risen too
    frame = found.to_frame()
    assert frame[frame.lag == 1]["time"].isna().all()


def test_the_frame_is_tidy() -> None:
    form = permutation_rnn(1.1)
    with Recorder(form.module) as rec:
        form.loss(form.module(form.x)[0]).backward()
    frame = onset(rec.adjoints["l0"], factor=100, loss="the last state, weighted").to_frame()
    columns = ["layer", "direction", "measure", "quantity", "lag", "time", "sequence", "value", "unit"]
    assert list(frame.columns) == columns
    assert len(frame) == 2 * 4
    growth = frame[frame.quantity == "log growth"]
    assert growth[["lag", "time"]].drop_duplicates().to_numpy().tolist() == [[49, 150]]
    share = frame[frame.quantity == "share of h"]
    assert share[["lag", "time", "value"]].drop_duplicates().to_numpy().tolist() == [[48, 151, 1.0]]
    assert growth["sequence"].tolist() == [0, 1, 2, 3]
    assert set(growth["unit"]) == {"nats"}
