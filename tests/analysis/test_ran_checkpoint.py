"""A file alone is analysed: its layers are those of the live model, run on the same data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs
from gatescope.errors import CheckpointError, InputError


def saved(module: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    torch.save(module.state_dict(), path)
    return path


STACKS = [
    nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True),
    nn.LSTM(3, 5, proj_size=2, batch_first=True),
    nn.GRU(3, 5, 2, batch_first=True, bias=False),
    nn.GRU(3, 5, batch_first=True, bidirectional=True),
]


@pytest.mark.parametrize("module", STACKS, ids=str)
@pytest.mark.parametrize("lengths", [None, [20, 18, 20, 15, 13, 20, 11, 20, 12]])
def test_a_file_is_analysed_as_the_model_it_came_from(
    module: nn.RNNBase, lengths: list[int] | None, tmp_path: Path
) -> None:
    model = nn.ModuleDict({"encoder": module})
    x = torch.randn(9, 20, 3)
    found = gs.analyze(saved(model, tmp_path), x, lengths=lengths, lag=10)
    live = gs.analyze(module.double(), x.double(), lengths=lengths, lag=10)
    module.float()
    assert [layer.name for layer in found.layers] == [f"encoder.{layer.name}" for layer in live.layers]
    for name, curve in live.curves.items():
        there = found.curves[f"encoder.{name}"]
        assert np.allclose(there.log_norm["pair"], curve.log_norm["pair"], rtol=0, atol=1e-9, equal_nan=True)
        assert there.lengths.tolist() == curve.lengths.tolist()
    assert {one.dtype for one in found.layers} == {"float32"}
    assert found.provenance["file"] == "weights.pt, torch zip"
    assert len(found.provenance["sha256"]) == 64
    assert str(tmp_path) not in str(dict(found.provenance))


def test_without_data_every_stack_is_driven_by_noise_and_says_synthetic(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.LSTM(3, 4), "b": nn.GRU(2, 5), "c": nn.GRUCell(2, 3)})
    found = gs.analyze(saved(model, tmp_path))
    assert [layer.name for layer in found.layers] == ["a.l0", "b.l0", "c"]
    assert found.provenance["data"].startswith("synthetic")
    assert set(found.measured("weights")) == {"a.l0", "b.l0", "c"}
    again = gs.analyze(gs.read(saved(model, tmp_path)))
    assert found.save(tmp_path / "1").read_bytes() == again.save(tmp_path / "2").read_bytes()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bias", ["bias_ih_l0", "bias_hh_l0"])
def test_a_layer_with_one_bias_is_that_with_the_other_at_zero(
    kind: type[nn.RNNBase], bias: str, tmp_path: Path
) -> None:
    module = kind(3, 4, batch_first=True)
    with torch.no_grad():
        module.get_parameter(bias).zero_()
    x = torch.randn(9, 20, 3)
    both = gs.analyze(saved(module, tmp_path), x)
    one = tmp_path / "one.pt"
    torch.save({name: value for name, value in module.state_dict().items() if name != bias}, one)
    found = gs.analyze(one, x)
    assert np.allclose(found.curves["l0"].log_norm["pair"], both.curves["l0"].log_norm["pair"], rtol=0, atol=1e-12)


def test_an_rnn_of_which_nobody_said_tanh_or_relu_hides_no_other_layer(tmp_path: Path) -> None:
    path = saved(nn.ModuleDict({"a": nn.RNN(3, 4), "b": nn.GRU(2, 5)}), tmp_path)
    found = gs.analyze(path)
    assert [layer.name for layer in found.layers] == ["b.l0"]
    assert "tanh or relu" in found.not_measured[0].why
    both = gs.analyze(gs.read(path, nonlinearity="relu"))
    assert [layer.cell for layer in both.layers] == ["rnn-relu", "gru"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"x": torch.randn(9, 20, 7)}, "7 features, and no layer takes so many"),
        ({"x": torch.randn(9, 20, 3)}, "more than one layer takes so many"),
        ({"x": torch.randn(20, 3)}, r"a tensor of shape \[20, 3\]"),
        (
            {"x": torch.randn(9, 20, 3), "layer": "a", "lengths": [3]},
            "1 lengths from 3 to 3 were given for 9 sequences",
        ),
        ({"layer": "z"}, "asked for the layer z, and the layers in it are: a.l0, b.l0"),
        ({"x": torch.randn(9, 20, 3), "loss": nn.functional.mse_loss}, "no model for a loss to read"),
    ],
)
def test_what_does_not_fit_the_file_is_refused_in_a_sentence(
    given: dict[str, object], says: str, tmp_path: Path
) -> None:
    path = saved(nn.ModuleDict({"a": nn.LSTM(3, 4), "b": nn.GRU(3, 5)}), tmp_path)
    with pytest.raises(InputError, match=says):
        gs.analyze(path, **given)


def test_data_go_to_the_layer_that_was_named(tmp_path: Path) -> None:
    path = saved(nn.ModuleDict({"a": nn.LSTM(3, 4), "b": nn.GRU(3, 5)}), tmp_path)
    found = gs.analyze(path, torch.randn(9, 20, 3), layer="b")
    assert [layer.name for layer in found.layers] == ["b.l0"]


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("true",)


def test_a_file_that_would_run_a_program_elsewhere_is_refused_and_the_call_is_named(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"lstm": nn.LSTM(3, 4).state_dict(), "extra": Runs()}, path)
    with pytest.raises(CheckpointError, match=r"would call .*system"):
        gs.analyze(path)


def test_remedies_need_a_model(tmp_path: Path) -> None:
    found = gs.analyze(saved(nn.GRU(3, 4), tmp_path), extra=["remedies"])
    assert [(one.measure, "holds no model" in one.why) for one in found.not_measured] == [("remedies", True)]
