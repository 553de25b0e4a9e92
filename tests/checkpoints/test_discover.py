"""Which arrays are recurrent layers: torch itself says what the network gives, and what we find must give the same."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import weight_norm as old_weight_norm

from checkpoints.made import checkpoint_of, outputs, stack_outputs, torchs_outputs
from gatescope.checkpoints import torch_convention
from gatescope.errors import CheckpointError, InputError
from gatescope.layers import layer_of_cell, stack_of

MODULES = {
    "lstm": lambda: nn.LSTM(5, 7, 2),
    "both ways": lambda: nn.LSTM(5, 7, 2, bidirectional=True),
    "projected": lambda: nn.LSTM(5, 8, 2, proj_size=2, bidirectional=True),
    "gru": lambda: nn.GRU(5, 7, 2, bidirectional=True),
    "without bias": lambda: nn.GRU(5, 7, bias=False),
    "tanh": lambda: nn.RNN(5, 7, 2),
    "relu": lambda: nn.RNN(5, 7, nonlinearity="relu"),
    "lstm cell": lambda: nn.LSTMCell(5, 7),
    "gru cell": lambda: nn.GRUCell(5, 7, bias=False),
    "relu cell": lambda: nn.RNNCell(5, 7, nonlinearity="relu"),
}
X = 1e-6  # float32 in another order of summation, over ten steps


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("path", ["", "encoder.rnn"])
def test_torchs_own_modules_are_found_and_give_what_torch_gives(kind: str, path: str) -> None:
    module = MODULES[kind]()
    found = checkpoint_of(
        {f"{path}.{name}" if path else name: value for name, value in module.state_dict().items()},
        nonlinearity=getattr(module, "nonlinearity", None),
    )
    x = torch.randn(10, 3, 5)
    torch.testing.assert_close(stack_outputs(found.layers, x), torchs_outputs(module, x), rtol=X, atol=X)
    assert not found.maybe
    live = (
        [one for depth in stack_of(module, path) for one in depth]
        if isinstance(module, nn.RNNBase)
        else [layer_of_cell(module, path)]
    )
    assert [layer.name for layer in found.layers] == [layer.name for layer in live]
    assert [layer.cell for layer in found.layers] == [layer.cell.kind for layer in live]
    assert [layer.direction for layer in found.layers] == [layer.direction for layer in live]
    for layer, one in zip(found.layers, live, strict=True):
        assert (layer.input_size, layer.hidden_size) == (one.input_size, one.hidden_size)
        assert layer.proj_size == getattr(module, "proj_size", 0)
        assert layer.bias is module.bias
        assert list(layer.weights()) == [name for name in one.weights if name in layer.weights()]


def test_a_layer_says_which_arrays_it_is_made_of_and_why() -> None:
    (layer,) = checkpoint_of(_below("module.encoder.", nn.LSTM(5, 7).state_dict())).layers
    assert layer.name == "encoder.l0"
    assert layer.parameters == tuple(
        f"module.encoder.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    assert layer.why == "weight_hh is 28 × 7, which is 4 blocks of 7 rows"
    assert "sources" not in repr(layer)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("module.rnn", "rnn"), ("_orig_mod.model.rnn", "rnn"), ("model._orig_mod.rnn", "rnn"), ("rnn._module", "rnn"),
        ("state_dict.model.rnn", "rnn"), ("model_state_dict.module.rnn", "rnn"), ("model", ""),
        ("a.model.rnn", "a.model.rnn"), ("net.rnn", "net.rnn"),
    ],
)  # fmt: skip
def test_what_wraps_a_network_is_no_part_of_a_layers_name(module: str, name: str) -> None:
    (layer,) = checkpoint_of(_below(f"{module}.", nn.GRU(5, 7).state_dict())).layers
    assert layer.name == (f"{name}.l0" if name else "l0")


def test_two_layers_that_would_be_shown_alike_keep_their_names_of_the_file() -> None:
    arrays = _below("model.rnn.", nn.GRU(5, 7).state_dict()) | _below("state_dict.rnn.", nn.GRU(5, 6).state_dict())
    assert [layer.name for layer in checkpoint_of(arrays).layers] == ["model.rnn.l0", "state_dict.rnn.l0"]


def test_names_lie_and_shapes_decide() -> None:
    arrays = _below("my_lstm_cell.", nn.GRUCell(5, 7).state_dict()) | {"conv_gate.weight": np.zeros((28, 7, 3))}
    (layer,) = checkpoint_of(arrays).layers
    assert (layer.name, layer.cell) == ("my_lstm_cell", "gru")


def test_a_projection_does_not_mislead_the_count_of_gates() -> None:
    """28 rows and 7 columns of weight_hh would be four blocks of seven."""
    (layer,) = checkpoint_of(nn.LSTM(5, 14, proj_size=7).state_dict()).layers
    assert (layer.cell, layer.hidden_size, layer.proj_size) == ("lstm", 14, 7)


def test_a_simple_rnn_of_which_nothing_says_tanh_or_relu_is_told_apart_by_who_knows() -> None:
    arrays = _below("rnn.", nn.RNN(5, 7).state_dict())
    (layer,) = checkpoint_of(arrays).layers
    assert layer.cell == "rnn"
    assert "--nonlinearity says it" in layer.why
    with pytest.raises(InputError, match=r"rnn\.l0: the file does not say.*nonlinearity='tanh' or 'relu'"):
        layer.layer()
    assert checkpoint_of(arrays, nonlinearity="relu").layers[0].cell == "rnn-relu"
    hints = {"rnn": {"class": "torch.nn.modules.rnn.RNN", "nonlinearity": "tanh", "batch_first": True}}
    (layer,) = checkpoint_of(arrays, nonlinearity="relu", hints=hints).layers
    assert (layer.cell, layer.batch_first) == ("rnn-tanh", True)
    assert "the file says tanh" in layer.why
    assert checkpoint_of(arrays, hints={"rnn": {"mode": "RNN_RELU"}}).layers[0].cell == "rnn-relu"


@pytest.mark.parametrize(
    "normed",
    [
        lambda rnn: parametrizations.weight_norm(rnn, "weight_hh_l0"),
        lambda rnn: parametrizations.weight_norm(rnn, "weight_hh_l0", dim=1),
        lambda rnn: old_weight_norm(rnn, "weight_hh_l0"),
        lambda rnn: old_weight_norm(rnn, "weight_hh_l0", dim=None),
        lambda rnn: prune.random_unstructured(rnn, "weight_hh_l0", amount=0.5),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_kept_in_parts_is_put_together(normed) -> None:  # type: ignore[no-untyped-def]
    rnn = nn.LSTM(5, 7)
    normed(rnn)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(1.5)  # so that neither part is what it was at first
    state = rnn.state_dict()
    assert "weight_hh_l0" not in state
    (layer,) = checkpoint_of(_below("rnn.", state)).layers
    with torch.no_grad():
        rnn(torch.zeros(1, 1, 5))  # the old style computes the weight before a call
    expected = rnn.weight_hh_l0.detach()
    torch.testing.assert_close(torch.from_numpy(layer.weights()["weight_hh"]), expected, rtol=1e-6, atol=1e-7)
    assert "weight_hh: " in layer.why
    assert not any(name == "rnn.weight_hh_l0" for name in layer.parameters)


def test_a_parametrization_that_nobody_can_undo_is_a_maybe() -> None:
    rnn = parametrizations.orthogonal(nn.LSTM(5, 7), "weight_hh_l0")
    found = checkpoint_of(_below("rnn.", rnn.state_dict()))
    assert not found.layers
    assert "what the network makes of that the file does not say" in found.maybe[0].why


@pytest.mark.parametrize(("raw", "inner"), [("rnn.", "rnn."), ("rnn.", "rnn.module.")])
def test_weight_drop_gives_the_raw_weight(raw: str, inner: str) -> None:
    rnn = nn.LSTM(5, 7)
    arrays = _below(inner, rnn.state_dict())
    arrays[f"{raw}weight_hh_l0_raw"] = rnn.weight_hh_l0.detach() * 2
    (layer,) = checkpoint_of(arrays).layers
    np.testing.assert_array_equal(layer.weights()["weight_hh"], rnn.weight_hh_l0.detach().numpy() * 2)
    assert "weight drop" in layer.why


def test_of_the_same_network_twice_the_trained_one_is_taken_and_a_key_takes_the_other() -> None:
    trained, averaged = nn.LSTM(5, 7), nn.LSTM(5, 7)
    arrays = _below("ema.rnn.", averaged.state_dict()) | _below("model.rnn.", trained.state_dict())
    found = checkpoint_of(arrays)
    (layer,) = found.layers
    assert layer.name == "rnn.l0"
    assert layer.parameters[0] == "model.rnn.weight_ih_l0"
    assert any("under 'ema' and under 'model'" in said and "key='ema'" in said for said in found.warnings)
    (other,) = checkpoint_of(arrays, key="ema").layers
    assert (other.name, other.parameters[0]) == ("rnn.l0", "ema.rnn.weight_ih_l0")


def test_cells_that_feed_each_other_are_a_stack() -> None:
    cells = nn.ModuleList([nn.LSTMCell(5, 7), nn.LSTMCell(7, 7), nn.LSTMCell(5, 7)])
    layers = checkpoint_of(_below("rnn.layers.", cells.state_dict())).layers
    assert [(layer.name, layer.index) for layer in layers] == [
        *(("rnn.layers.0", 0), ("rnn.layers.1", 1), ("rnn.layers.2", 0)),
    ]


def test_two_networks_in_one_file_are_both_found() -> None:
    arrays = _below("generator.rnn.", nn.GRU(5, 7).state_dict()) | _below("critic.rnn.", nn.GRU(5, 7).state_dict())
    assert [layer.name for layer in checkpoint_of(arrays).layers] == ["generator.rnn.l0", "critic.rnn.l0"]


def test_the_state_of_an_optimiser_is_no_network() -> None:
    arrays = _below("model.rnn.", nn.GRU(5, 7).state_dict()) | _below("optimizer.state.", nn.GRU(5, 7).state_dict())
    assert [layer.name for layer in checkpoint_of(arrays).layers] == ["rnn.l0"]


def test_a_shared_module_is_one_layer_with_two_names() -> None:
    arrays = _below("a.", nn.GRU(5, 7).state_dict())
    found = checkpoint_of(arrays)
    both = {**found.arrays, **{name.replace("a.", "b."): array for name, array in found.arrays.items()}}
    (layer,) = checkpoint_of({}).__class__("x", "made", both).layers
    assert (layer.name, layer.aliases) == ("a.l0", ("b.l0",))
    assert layer.layer().aliases == ("b.l0",)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"a.weight_hh_l0": np.zeros((28, 7))}, "weight_ih is missing beside it"),
        ({"a.weight_ih_l0": np.zeros((14, 5)), "a.weight_hh_l0": np.zeros((14, 7))}, "make 2 blocks"),
        ({"a.weight_ih_l0": np.zeros((21, 5)), "a.weight_hh_l0": np.zeros((28, 7))}, "weight_ih has 21"),
        ({"a.weight_ih_l0": np.zeros((28, 5, 1)), "a.weight_hh_l0": np.zeros((28, 7))}, "28 × 5 × 1"),
        ({"a.weight_ih_l0": np.zeros((0, 5)), "a.weight_hh_l0": np.zeros((0, 0))}, "its shapes are"),
        ({"a.weight_ih": np.zeros((28, 5)), "a.weight_hh": np.zeros((28, 7)), "a.norm.weight": np.zeros(28)}, "norm"),
    ],
)
def test_arrays_that_contradict_each_other_are_a_maybe(arrays: dict[str, np.ndarray], why: str) -> None:
    found = checkpoint_of(arrays)
    assert not found.layers
    assert why in found.maybe[0].why


def test_weights_that_are_no_floating_point_numbers_are_refused() -> None:
    (layer,) = checkpoint_of({name: value.to(torch.int8) for name, value in nn.LSTM(5, 7).state_dict().items()}).layers
    with pytest.raises(CheckpointError, match="weight_ih holds int8"):
        layer.layer()


def test_not_a_number_among_the_weights_is_read_as_it_is() -> None:
    state = {**nn.LSTM(5, 7).state_dict(), "bias_ih_l0": torch.full((28,), torch.nan)}
    (layer,) = checkpoint_of(state).layers
    assert np.isnan(layer.weights()["bias_ih"]).all()
    assert outputs(layer, torch.zeros(2, 1, 5)).isnan().all()


@pytest.mark.parametrize("name", ["../../etc/passwd", "</script>", "a\nb\x1b[31m", "\u202e", "x" * 5000, "", "."])
def test_hostile_names_are_names_and_nothing_else(name: str) -> None:
    arrays = _below(f"{name}.", nn.GRU(5, 7).state_dict()) | {name: np.zeros(3)}
    found = checkpoint_of(arrays, hints={name: {"class": name}})
    assert len(found.layers) + len(found.maybe) <= 1
    assert len(found.layers) == (len(name) < 1000)


def test_short_names_as_numpy_programs_have_them() -> None:
    gru = nn.GRU(5, 7)
    short = {"weight_ih_l0": "enc_w_ih", "weight_hh_l0": "enc_w_hh", "bias_ih_l0": "enc_b_ih", "bias_hh_l0": "enc_b_hh"}
    arrays = {short[name]: value for name, value in gru.state_dict().items()} | {"fc_w": np.zeros((3, 7))}
    (layer,) = checkpoint_of(arrays).layers
    assert (layer.name, layer.cell) == ("enc", "gru")
    x = torch.randn(10, 3, 5)
    torch.testing.assert_close(outputs(layer, x), torchs_outputs(gru, x), rtol=X, atol=X)


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def test_the_work_grows_with_the_number_of_names_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    of_another_kind = torch_convention._is_of_another_kind

    def counted(*said: object) -> bool:
        looked_at.append(said)
        return of_another_kind(*said)

    monkeypatch.setattr(torch_convention, "_is_of_another_kind", counted)
    cell = nn.GRUCell(1, 1).state_dict()
    many = {f"m{k}.{name}": value for k in range(200) for name, value in {**cell, "other": torch.ones(1)}.items()}
    found = checkpoint_of(many)
    assert len(found.maybe) == 200
    assert len(looked_at) == 200  # once for each array that is not a cell's own


def test_the_neighbours_of_a_module_are_not_its_own() -> None:
    cell = nn.GRUCell(2, 3).state_dict()
    beside = {"a-b.x": torch.ones(1), "a/b": torch.ones(1), "ab.x": torch.ones(1), "a0.x": torch.ones(1)}
    found = checkpoint_of({**{f"a.{name}": value for name, value in cell.items()}, **beside})
    assert [layer.name for layer in found.layers] == ["a"]
    inside = checkpoint_of({**{f"a.{name}": value for name, value in cell.items()}, "a.sub.x": torch.ones(1)})
    assert not inside.layers
