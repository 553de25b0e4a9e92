"""A trace and an adjoint say what they hold: as labelled arrays, as tables, and in one line."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs


@pytest.fixture
def rec() -> gs.Recorder:
    lstm = nn.LSTM(3, 4, proj_size=2, bidirectional=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(6, 3, 3), [6, 2, 4], enforce_sorted=False)
    with gs.Recorder(nn.ModuleDict({"encoder": lstm})) as rec:
        output, _ = lstm(packed)
        output.data.square().sum().backward()
    return rec


@pytest.mark.parametrize("name", ["encoder.l0", "encoder.l0_reverse"])
def test_xarray_has_the_fields_dims_units_and_ranges_and_nan_after_the_end(rec: gs.Recorder, name: str) -> None:
    data = rec.traces[name].to_xarray()
    assert data["f"].dims == ("time", "sequence", "unit")
    assert data["h"].dims == ("time", "sequence", "projection")
    assert data["x"].dims == ("time", "sequence", "feature")
    assert data["f"].attrs == {"long_name": "forget gate", "units": "1", "valid_range": [0.0, 1.0]}
    assert data.attrs["cell"] == "lstm"
    assert data.attrs["direction"] == rec.traces[name].layer.direction
    assert data.attrs["residual"] == rec.traces[name].residual
    assert data["length"].values.tolist() == [6, 2, 4]
    assert data["c"].sel(sequence=1).isnull().all("unit").values.tolist() == [False] * 2 + [True] * 4
    np.testing.assert_array_equal(data["f"].sel(sequence=2)[:4], rec.traces[name].gates["f"][:4, 2])


def test_a_frame_has_one_row_a_number_and_none_after_the_end(rec: gs.Recorder) -> None:
    trace = rec.traces["encoder.l0"]
    table = trace.to_frame()
    assert list(table.columns) == ["layer", "direction", "quantity", "time", "sequence", "unit", "value"]
    assert len(table) == (6 + 2 + 4) * (3 + 5 * 4 + 2)
    row = table.query("quantity == 'c' and time == 3 and sequence == 2 and unit == 1")
    assert row["value"].item() == trace.states["c"][3, 2, 1].item()
    assert table.query("sequence == 1")["time"].max() == 1


def test_an_adjoint_as_xarray_and_as_a_frame(rec: gs.Recorder) -> None:
    adjoint = rec.adjoints["encoder.l0_reverse"]
    data = adjoint.to_xarray()
    assert data["total_c"].dims == ("time", "sequence", "unit")
    assert data["state_h"].dims == ("time", "sequence", "projection")
    assert data["log_norm_pair"].dims == ("time", "sequence")
    assert data["log_norm_pair"].attrs["units"] == "nat"
    np.testing.assert_array_equal(data["preactivation_f"].sel(sequence=0), adjoint.preactivations["f"][:, 0])
    table = adjoint.to_frame()
    assert list(table.columns) == ["layer", "direction", "quantity", "time", "sequence", "value"]
    assert set(table["quantity"]) == {"log_norm_pair", "log_norm_h", "log_norm_c"}
    assert len(table) == 3 * 12


def test_the_log_norm_is_the_logarithm_of_the_norm(rec: gs.Recorder) -> None:
    for adjoint in rec.adjoints.values():
        for name in ("h", "c"):
            torch.testing.assert_close(adjoint.log_norm(name).exp().float(), adjoint.total[name].norm(dim=-1))
            torch.testing.assert_close(adjoint.log_norm_initial(name).exp().float(), adjoint.initial[name].norm(dim=-1))
        torch.testing.assert_close(
            adjoint.log_norm("f", of="preactivations").exp().float(), adjoint.preactivations["f"].norm(dim=-1)
        )
        pair = torch.hypot(adjoint.state["h"].norm(dim=-1), adjoint.state["c"].norm(dim=-1))
        torch.testing.assert_close(adjoint.log_norm("pair").exp().float(), pair)


def test_one_line_tells_the_shapes_the_cell_and_the_residual(rec: gs.Recorder) -> None:
    trace = rec.traces["encoder.l0"]
    assert repr(trace).startswith(
        "Trace(encoder.l0: lstm, forward; 6 steps x 3 sequences, 3 features -> 4 units; gates i f g o, "
        "states h c; replay"
    )
    assert f"residual {trace.residual:.1e}" in repr(trace)
    assert repr(rec.adjoints["encoder.l0"]) == (
        "Adjoint(encoder.l0: lstm, forward; 6 steps x 3 sequences; total h c; preactivations i f g o; float32)"
    )
    assert repr(rec.adjoints["encoder.l0"].total) == "{h, c: [6, 3, unit]}"


def test_the_adjoint_of_the_state_pair_holds_h_fixed_and_the_total_does_not(rec: gs.Recorder) -> None:
    adjoint = rec.adjoints["encoder.l0"]
    assert torch.equal(adjoint.total["h"], adjoint.state["h"])
    assert not torch.allclose(adjoint.total["c"], adjoint.state["c"])


def test_nothing_arrives_after_a_sequences_end(rec: gs.Recorder) -> None:
    for adjoint in rec.adjoints.values():
        assert (adjoint.log_norm("pair")[~adjoint.valid] == -math.inf).all()
        assert (adjoint.preactivations["f"][~adjoint.valid] == 0).all()
