"""ONNX: onnx's own reference evaluator runs each graph, and what is read from it must give the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatescope as gs
from checkpoints.made import outputs
from gatescope.errors import CheckpointError, MissingExtraError

onnx = pytest.importorskip("onnx", reason="onnx is missing; install it with: pip install 'gatescope[onnx]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

FEATURES, UNITS, STEPS, SEQUENCES = 5, 7, 6, 3
BLOCKS = {"LSTM": 4, "GRU": 3, "RNN": 1}
CLOSE = 1e-6  # float32 in another order of summation, over six steps


@pytest.mark.parametrize(
    ("op", "said", "cell"),
    [
        ("LSTM", {}, "lstm"),
        ("LSTM", {"clip": 0.3}, "lstm"),
        ("GRU", {}, "gru-reset-before"),
        ("GRU", {"linear_before_reset": 0}, "gru-reset-before"),
        ("GRU", {"linear_before_reset": 1}, "gru"),
        ("RNN", {}, "rnn-tanh"),
        ("RNN", {"activations": ["Tanh"]}, "rnn-tanh"),
    ],
)
def test_a_node_gives_what_onnx_says_it_gives(op: str, said: dict[str, Any], cell: str, tmp_path: Path) -> None:
    graph, values = _graph(op, **said)
    path = _saved(graph, tmp_path)
    (layer,) = gs.read(path).layers
    assert (layer.name, layer.cell, layer.input_size, layer.hidden_size) == ("net.rnn.l0", cell, FEATURES, UNITS)
    assert layer.parameters == ("W", "R", "B")
    assert (layer.clip is not None) == ("clip" in said)
    if "clip" in said:
        return  # the reference evaluator ignores the clip
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    expected = ReferenceEvaluator(str(path)).run(None, {"X": x.numpy()})[0][:, 0]
    torch.testing.assert_close(outputs(layer, x).numpy(), expected, rtol=CLOSE, atol=CLOSE)
    assert values.keys() == {"W", "R", "B"}


@pytest.mark.parametrize("op", BLOCKS)
def test_each_direction_of_a_node_has_its_own_weights(op: str, tmp_path: Path) -> None:
    """The evaluator knows one direction alone, so each is given to it by itself, the second with time turned."""
    graph, values = _graph(op, direction="bidirectional", **({"linear_before_reset": 1} if op == "GRU" else {}))
    layers = gs.read(_saved(graph, tmp_path)).layers
    assert [(one.name, one.direction) for one in layers] == [
        ("net.rnn.l0", "forward"), ("net.rnn.l0_reverse", "reverse"),
    ]  # fmt: skip
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    for place, layer in enumerate(layers):
        one = {name: value[place : place + 1] for name, value in values.items()}
        alone, _ = _graph(op, values=one, **({"linear_before_reset": 1} if op == "GRU" else {}))
        seen = x.flip(0) if place else x
        expected = ReferenceEvaluator(_model(alone)).run(None, {"X": seen.numpy()})[0][:, 0]
        given = outputs(layer, x)
        torch.testing.assert_close((given.flip(0) if place else given).numpy(), expected, rtol=CLOSE, atol=CLOSE)


def test_a_clip_is_applied_to_what_enters_the_activations(tmp_path: Path) -> None:
    graph, values = _graph("LSTM", clip=0.3)
    (layer,) = gs.read(_saved(graph, tmp_path)).layers
    assert layer.clip is not None
    assert layer.clip.preactivation == pytest.approx(0.3)
    drawn = np.random.default_rng(0).standard_normal((SEQUENCES, FEATURES)).astype("f4")
    x = np.repeat(3 * drawn[None], 4 * STEPS, 0)  # the same again and again, until the cell state itself is clipped
    w, r, b = values["W"][0], values["R"][0], values["B"][0]
    h = c = np.zeros((SEQUENCES, UNITS), "f4")
    for x_t in x:
        a = np.clip(x_t @ w.T + h @ r.T + b[: 4 * UNITS] + b[4 * UNITS :], -0.3, 0.3)
        i, o, f, g = np.split(a, 4, 1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(np.clip(c, -0.3, 0.3))
    assert np.abs(c).max() > 0.3
    torch.testing.assert_close(outputs(layer, torch.from_numpy(x))[-1].numpy(), h, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    ("op", "said", "why"),
    [
        ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "its activations are"),
        ("RNN", {"activations": ["Softsign"]}, "its activations are"),
        ("LSTM", {"input_forget": 1}, "coupled"),
    ],
)
def test_a_cell_that_gatescope_does_not_have_is_a_maybe(
    op: str, said: dict[str, Any], why: str, tmp_path: Path
) -> None:
    found = gs.read(_saved(_graph(op, **said)[0], tmp_path))
    assert not found.layers
    assert why in found.maybe[0].why


def test_peepholes_are_a_maybe(tmp_path: Path) -> None:
    graph, _ = _graph("LSTM")
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 3 * UNITS), "f4"), "P"))
    graph.node[0].input.extend(["", "", "", "P"])
    assert "peepholes" in gs.read(_saved(graph, tmp_path)).maybe[0].why


def test_weights_that_pass_through_other_nodes_into_a_branch_are_found(tmp_path: Path) -> None:
    """As exporters write a cell: gates reordered by slices, a direction added, all of it inside an If."""
    graph, values = _graph("LSTM")
    node = graph.node.pop()
    torchs = {name: value[0] for name, value in values.items()}
    outer = [numpy_helper.from_array(value, f"outer_{name}") for name, value in torchs.items()]
    half = 2 * UNITS
    constants = {"zero": [0], "half": [half], "end": [4 * UNITS], "axis": [0]}
    inside = [
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value)))
            for name, value in constants.items()
        ),
        helper.make_node("Slice", ["outer_W", "zero", "half", "axis"], ["W1"]),
        helper.make_node("Slice", ["outer_W", "half", "end", "axis"], ["W2"]),
        helper.make_node("Concat", ["W1", "W2"], ["Wc"], axis=0),
        helper.make_node("Unsqueeze", ["Wc", "axis"], ["W"]),
        helper.make_node("Unsqueeze", ["outer_R", "axis"], ["R"]),
        helper.make_node("Identity", ["outer_B"], ["B1"]),
        helper.make_node("Unsqueeze", ["B1", "axis"], ["B"]),
        node,
    ]
    branch = helper.make_graph(inside, "branch", [], [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)])
    condition = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    yes = numpy_helper.from_array(np.array(True), "yes")
    whole = helper.make_graph([condition], "g", list(graph.input), list(graph.output), [*outer, yes])
    layers = gs.read(_saved(whole, tmp_path)).layers
    assert layers[0].parameters == ("outer_W", "outer_R", "outer_B")
    plain, _ = _graph("LSTM", values=values)
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    expected = ReferenceEvaluator(_model(plain)).run(None, {"X": x.numpy()})[0][:, 0]
    torch.testing.assert_close(outputs(layers[0], x).numpy(), expected, rtol=CLOSE, atol=CLOSE)


def test_external_data_is_read_from_the_files_own_folder(tmp_path: Path) -> None:
    graph, values = _graph("GRU")
    onnx.save(_model(graph), tmp_path / "a.onnx", save_as_external_data=True, location="a.bin", size_threshold=0)
    (layer,) = gs.read(tmp_path / "a.onnx").layers
    np.testing.assert_array_equal(layer.weights()["weight_ih"][UNITS : 2 * UNITS], values["W"][0, :UNITS])


@pytest.mark.parametrize("place", ["../a.bin", "/etc/passwd", "sub/a.bin", "", "..", "a\\b"])
def test_external_data_elsewhere_is_refused(place: str, tmp_path: Path) -> None:
    graph, _ = _graph("GRU")
    tensor = graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    with pytest.raises(CheckpointError, match="outside the file's own folder"):
        gs.read(_saved(graph, tmp_path))


def test_external_data_behind_a_link_is_refused(tmp_path: Path) -> None:
    graph, _ = _graph("GRU")
    onnx.save(_model(graph), tmp_path / "a.onnx", save_as_external_data=True, location="a.bin", size_threshold=0)
    (tmp_path / "a.bin").rename(tmp_path / "b.bin")
    (tmp_path / "a.bin").symlink_to(tmp_path / "b.bin")
    with pytest.raises(CheckpointError, match="behind a link"):
        gs.read(tmp_path / "a.onnx")


def test_a_small_file_of_very_many_messages_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    nodes = b"\x0a\x00" * 2_000_000
    size = len(nodes)
    length = bytes([(size & 0x7F) | 0x80, (size >> 7 & 0x7F) | 0x80, (size >> 14 & 0x7F) | 0x80, size >> 21])
    (tmp_path / "a").write_bytes(b"\x08\x08\x3a" + length + nodes)
    with pytest.raises(CheckpointError, match="more than 1000000 fields"):
        gs.read(tmp_path / "a")


def test_nodes_that_double_their_input_over_and_over_are_not_followed(tmp_path: Path) -> None:
    graph, _ = _graph("LSTM")
    node = graph.node.pop()
    graph.initializer[0].name = "W0"
    doubled = [helper.make_node("Concat", [f"W{n}"] * 2, [f"W{n + 1}"], axis=0) for n in range(60)]
    node.input[1] = "W60"
    graph.node.extend([*doubled, node])
    found = gs.read(_saved(graph, tmp_path))
    assert not found.layers
    assert "computed as it runs" in found.maybe[0].why


def test_a_damaged_file_is_refused_or_read_but_nothing_else(tmp_path: Path) -> None:
    whole = _model(_graph("LSTM")[0]).SerializeToString()
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(0, 400, 3):
            data[place] = random.integers(256)
        (tmp_path / "a").write_bytes(data[: random.integers(1, len(data) + 1)] if random.random() < 0.3 else data)
        try:
            for layer in gs.read(tmp_path / "a").layers:
                layer.weights()
        except CheckpointError:
            continue


def test_without_onnx_the_message_is_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(_graph("LSTM")[0], tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gatescope\[onnx\]'"):
        gs.read(path)


HOLDS = {
    "dtln/model_1.onnx": [("lstm", 257, 128, "forward"), ("lstm", 128, 128, "forward")],
    "gtcrn/gtcrn_simple.onnx": [
        *[("gru", 8, 16, "forward")] * 3,
        *([("gru", 8, 4, "forward"), ("gru", 8, 4, "reverse")] * 2 + [("gru", 8, 8, "forward")] * 2) * 2,
        *[("gru", 8, 16, "forward")] * 3,
    ],
    "silero_vad/silero_vad_16k_op15.onnx": [("lstm", 128, 128, "forward")],
}


@pytest.mark.parametrize("file", HOLDS)
def test_a_published_graph_holds_the_layers_that_it_is_known_for(file: str, real: Path) -> None:
    layers = gs.read(real / "checkpoints" / file).layers
    assert [(one.cell, one.input_size, one.hidden_size, one.direction) for one in layers] == HOLDS[file]
    assert all(layer.bias for layer in layers)


def test_a_published_graph_whose_lstms_are_unrolled_is_two_maybes(real: Path) -> None:
    found = gs.read(real / "checkpoints/dtln/model_2.onnx")
    assert not found.layers
    assert [len(maybe.names) for maybe in found.maybe] == [3, 3]
    assert all("an LSTM whose step is unrolled" in maybe.why for maybe in found.maybe)


def test_a_graph_has_the_weights_of_the_network_that_it_was_exported_from(real: Path) -> None:
    """Silero's network is published as TorchScript too."""
    (here,) = gs.read(real / "checkpoints/silero_vad/silero_vad_16k_op15.onnx").layers
    there = gs.read(real / "checkpoints/silero_vad/silero_vad.jit").layers[0]
    for name, weight in there.weights().items():
        np.testing.assert_array_equal(here.weights()[name], weight)


def _graph(op: str, *, values: dict[str, np.ndarray] | None = None, **said: Any) -> tuple[Any, dict[str, np.ndarray]]:
    random, rows = np.random.default_rng(1), BLOCKS[op] * UNITS
    directions = 2 if said.get("direction") == "bidirectional" else 1
    shapes = {"W": (directions, rows, FEATURES), "R": (directions, rows, UNITS), "B": (directions, 2 * rows)}
    values = values or {n: (random.standard_normal(s) / 3).astype("f4") for n, s in shapes.items()}
    node = helper.make_node(op, ["X", "W", "R", "B"], ["Y"], name=f"/net/rnn/{op}", hidden_size=UNITS, **said)
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [STEPS, SEQUENCES, FEATURES])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    initialisers = [numpy_helper.from_array(value, name) for name, value in values.items()]
    return helper.make_graph([node], "g", [x], [y], initialisers), values


def _model(graph: Any) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _saved(graph: Any, folder: Path) -> Path:
    onnx.save(_model(graph), folder / "model.onnx")
    return folder / "model.onnx"


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
