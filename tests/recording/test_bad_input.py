"""What cannot be recorded is refused in one sentence that says where, what was seen, what was wanted and what to do."""

from typing import Any

import pytest
import torch
from torch import nn

import gatescope as gs
from gatescope.errors import InputError, NotRecordedError, ReplayError


class Model(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 4, **options)

    def forward(self, x: Any) -> Any:
        return self.encoder(x)[0]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.randn(5, 2, 7), r"encoder \(LSTM\) was given float32 input of shape \[5, 2, 7\], and wants 3 features"),
        (torch.randn(0, 2, 3), r"shape \[0, 2, 3\], which has no steps; leave empty sequences out"),
        (torch.ones(5, 2, 3, dtype=torch.long), r"int64 input .*wants float32; embed tokens first"),
        (torch.ones(5, 2, 3, dtype=torch.double), r"float64 input .*its weights are float32; convert one of them"),
        (torch.randn(5, 2, 3, device="meta"), r"on meta, and its weights are on cpu; move one of them"),
        (torch.randn(2, 5, 2, 3), r"shape \[2, 5, 2, 3\], and wants 2 or 3 dimensions; reshape it"),
    ],
)
def test_an_input_that_the_module_cannot_take(x: torch.Tensor, said: str) -> None:
    model = Model()
    with pytest.raises(InputError, match=said) as raised, gs.Recorder(model):
        model(x)
    assert "\n" not in str(raised.value)
    model(torch.randn(5, 2, 3))  # and the model is free again


def test_a_drop_in_refuses_the_same() -> None:
    with pytest.raises(InputError, match="RecordingLSTM was given float32 input of shape"):
        gs.RecordingLSTM(3, 4)(torch.randn(5, 2, 7))
    with pytest.raises(InputError, match="RecordingGRUCell was given float32 input of shape"):
        gs.RecordingGRUCell(3, 4)(torch.randn(2, 7))


def test_a_model_without_a_recurrent_module_is_told_what_was_looked_for() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with pytest.raises(InputError, match=r"Sequential holds no nn.LSTM, nn.GRU, .*\(seen: Linear, ReLU, Sequential\)"):
        gs.Recorder(model)


def test_every_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="every=0 was given"):
        gs.Recorder(Model(), every=0)


class DoublesItsOutput(nn.LSTM):
    def forward(self, *args: Any) -> Any:
        with torch.no_grad():
            output, states = super().forward(*args)
            return output.mul_(2), states


def test_an_output_changed_in_place_within_the_module_is_refused_because_the_weights_do_not_explain_it() -> None:
    lstm = DoublesItsOutput(3, 4)
    with gs.Recorder(nn.ModuleDict({"encoder": lstm})) as rec:
        lstm(torch.randn(5, 2, 3))
    with pytest.raises(ReplayError, match=r"encoder.l0: what its weights give differs from what it returned by .* %"):
        _ = rec.traces["encoder.l0"]


def test_an_output_whose_last_states_are_another_networks_is_refused() -> None:
    class Liar(nn.LSTM):
        def forward(self, *args: Any) -> Any:
            output, (h_n, c_n) = super().forward(*args)
            return output, (h_n, c_n + 1)

    lstm = Liar(3, 4)
    with gs.Recorder(lstm) as rec:
        lstm(torch.randn(5, 2, 3))
    with pytest.raises(ReplayError, match="l0"):
        _ = rec.traces["l0"]


@pytest.mark.cuda
def test_dropout_between_layers_on_an_accelerator_is_refused_with_the_option_that_helps() -> None:
    model = Model(num_layers=2, dropout=0.5).cuda()
    with pytest.raises(InputError, match=r'Recorder\(model, dropout="layerwise"\)'), gs.Recorder(model):
        model(torch.randn(5, 2, 3, device="cuda"))


def test_without_a_backward_the_adjoints_say_why_they_are_not_there() -> None:
    model = Model()
    with torch.no_grad(), gs.Recorder(model) as rec:
        model(torch.randn(5, 2, 3))
    assert not rec.adjoints
    with pytest.raises(NotRecordedError, match=r"no gradient came back to its outputs; call loss.backward\(\) inside"):
        rec.adjoints["encoder.l0"]


def test_without_a_call_the_traces_say_so() -> None:
    with gs.Recorder(Model()) as rec:
        pass
    with pytest.raises(
        NotRecordedError, match=r"encoder \(LSTM\) was not called inside the block; call it there, as model\(x\)"
    ):
        rec.traces["encoder.l0"]


def poisoned(step: int, value: float) -> torch.Tensor:
    x = torch.randn(6, 3, 3)
    x[step, 1, 2] = value
    return x


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("bidirectional", "name"), [(False, "encoder.l0"), (True, "encoder.l0")])
def test_a_number_that_is_not_finite_is_recorded_and_its_place_named(
    value: float, bidirectional: bool, name: str
) -> None:
    model = Model(num_layers=2, bidirectional=bidirectional)
    with gs.Recorder(model) as rec:
        model(poisoned(2, value))
    with pytest.warns(gs.errors.GatescopeWarning, match=r"at step 2 of sequence 1, first in layer encoder.l0, "):
        traces = dict(rec.traces)
    place = rec.nonfinite
    assert (place.layer, place.step, place.sequence) == (name, 2, 1)
    assert f"the input at step 2 is {value} (feature 2)" in str(place)
    h = traces["encoder.l0"].states["h"]
    assert h[:, [0, 2]].isfinite().all()
    assert h[:2, 1].isfinite().all()
    if value != value:  # a NaN stays
        assert place.quantity == "gate i"
        assert h[2:, 1].isnan().all()


def test_in_the_reverse_direction_the_first_place_is_where_the_layer_begins() -> None:
    gru = nn.GRU(3, 4, bidirectional=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(6, 3, 3), [6, 4, 2], enforce_sorted=False)
    h_0 = torch.zeros(2, 3, 4)
    h_0[1, 1, 3] = float("nan")
    with gs.Recorder(gru) as rec:
        gru(packed, h_0)
    with pytest.warns(
        gs.errors.GatescopeWarning, match=r"at step 3 of sequence 1, first in layer l0_reverse, gate r, .*h "
    ):
        dict(rec.traces)
    assert "the initial h holds nan" in str(rec.nonfinite)


def test_weights_that_are_not_finite_are_named_as_the_cause() -> None:
    model = Model()
    with torch.no_grad():
        model.encoder.weight_hh_l0[5, 1] = float("nan")
    with gs.Recorder(model) as rec:
        model(torch.randn(6, 3, 3))
    with pytest.warns(gs.errors.GatescopeWarning, match="weight_hh holds nan"):
        dict(rec.traces)


def test_an_overflow_is_told_from_a_bad_input() -> None:
    rnn = nn.RNN(3, 4, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.eye(4) * 1e9)
        rnn.bias_hh_l0.fill_(1.0)
    with gs.Recorder(rnn) as rec:
        rnn(torch.zeros(9, 1, 3))
    with pytest.warns(gs.errors.GatescopeWarning, match=r"inf at step 5.*the numbers overflowed float32"):
        dict(rec.traces)
