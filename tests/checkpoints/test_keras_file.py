"""Keras and other HDF5 files: a textbook of Keras' formulae runs what was written, and what is read gives the same.

This is one file because every kind of layer is held against that one textbook.
"""

import json
import resource
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatescope as gs
from checkpoints.made import outputs
from gatescope.errors import CheckpointError, MissingExtraError

h5py = pytest.importorskip("h5py", reason="h5py is missing; install it with: pip install 'gatescope[keras]'")

FEATURES, UNITS, STEPS, SEQUENCES = 5, 7, 6, 3
CLOSE = 1e-6  # float32 in another order of summation, over six steps
CONFIG = {"recurrent_activation": "sigmoid", "activation": "tanh"}
Weights = dict[str, np.ndarray]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "model_weights/"])
def test_an_lstm_gives_what_keras_formulae_give(bias: bool, prefix: str, tmp_path: Path) -> None:
    w = _weights(4, bias=(4 * UNITS,) if bias else None)
    (layer,) = gs.read(_saved(tmp_path, {f"{prefix}lstm_3/lstm_3/lstm_cell_3": w})).layers
    assert (layer.name, layer.cell, layer.bias) == ("lstm_3.l0", "lstm", bias)
    assert layer.parameters[0] == f"{prefix}lstm_3/lstm_3/lstm_cell_3/kernel:0"
    _agree(layer, _lstm(w))


def test_a_cudnn_lstm_is_the_lstm_whose_weights_keras_would_make_of_it(tmp_path: Path) -> None:
    w = _weights(4, bias=(8 * UNITS,))
    (layer,) = gs.read(_saved(tmp_path, {"rnn_1/rnn_1": w}, keras_version="2.1.5")).layers
    assert set(layer.sources) == {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    _agree(layer, _lstm(_from_cudnn(w, 4, np.add(*np.split(w["bias"], 2)))))


@pytest.mark.parametrize("after", [True, False])
def test_a_gru_shows_by_its_bias_where_it_resets(after: bool, tmp_path: Path) -> None:
    w = _weights(3, bias=(2, 3 * UNITS) if after else (3 * UNITS,))
    (layer,) = gs.read(_saved(tmp_path, {"gru/gru/gru_cell": w})).layers
    assert layer.cell == ("gru" if after else "gru-reset-before")
    _agree(layer, _gru(w, after=after))


def test_a_cudnn_gru_is_the_gru_whose_weights_keras_would_make_of_it(tmp_path: Path) -> None:
    w = _weights(3, bias=(6 * UNITS,))
    (layer,) = gs.read(_saved(tmp_path, {"gru/gru": w})).layers
    assert layer.cell == "gru"
    _agree(layer, _gru(_from_cudnn(w, 3, w["bias"].reshape(2, -1)), after=True))


def test_a_gru_without_bias_is_a_maybe_until_the_configuration_or_you_say_where_it_resets(tmp_path: Path) -> None:
    w = _weights(3, bias=None)
    path = _saved(tmp_path, {"gru/gru/gru_cell": w})
    assert gs.read(path).maybe[0].flag == "--map gru.l0=gru or --map gru.l0=gru-reset-before"
    for cell, after in (("gru", True), ("gru-reset-before", False)):
        (layer,) = gs.read(path, settled={"gru.l0": cell}).layers
        _agree(layer, _gru(w, after=after))
        said = _saved(tmp_path, {"gru/gru/gru_cell": w}, config=_config("GRU", "gru", reset_after=after), name="b.h5")
        assert gs.read(said).layers[0].cell == cell


@pytest.mark.parametrize("function", ["tanh", "relu"])
def test_a_simple_rnn_takes_its_nonlinearity_from_the_configuration(function: str, tmp_path: Path) -> None:
    w = _weights(1, bias=(UNITS,))
    config = _config("SimpleRNN", "rnn", recurrent=None, activation=function)
    (layer,) = gs.read(_saved(tmp_path, {"rnn/rnn/simple_rnn_cell": w}, config=config)).layers
    assert layer.cell == f"rnn-{function}"
    x, h = _input(), np.zeros((SEQUENCES, UNITS), "f4")
    given = []
    for x_t in x:
        a = x_t @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
        h = np.tanh(a) if function == "tanh" else np.maximum(a, 0)
        given.append(h)
    np.testing.assert_allclose(outputs(layer, torch.from_numpy(x)).numpy(), given, rtol=CLOSE, atol=CLOSE)


def test_the_two_directions_of_a_bidirectional_layer_are_paired(tmp_path: Path) -> None:
    w, v = _weights(4, bias=(4 * UNITS,)), _weights(4, bias=(4 * UNITS,), seed=2)
    groups = {
        "bidirectional/bidirectional/forward_lstm/lstm_cell": w,
        "bidirectional/bidirectional/backward_lstm/cell": v,
    }
    first, second = sorted(gs.read(_saved(tmp_path, groups)).layers, key=lambda layer: layer.direction)
    assert (first.name, first.direction) == ("bidirectional.l0", "forward")
    assert (second.name, second.direction) == ("bidirectional.l0_reverse", "reverse")
    _agree(first, _lstm(w))
    x = _input()
    np.testing.assert_allclose(
        outputs(second, torch.from_numpy(x)).flip(0).numpy(), _lstm(v)(x[::-1]), rtol=CLOSE, atol=CLOSE
    )


@pytest.mark.parametrize(
    ("config", "version", "why"),
    [
        ({"recurrent": "hard_sigmoid"}, "2.4.0", "its recurrent_activation is 'hard_sigmoid'"),
        ({"activation": "relu"}, "2.4.0", "its activation is 'relu'"),
        (None, "2.2.4", "Keras 2.2.4 used a hard sigmoid unless told otherwise"),
    ],
)
def test_other_activations_are_a_maybe(config: dict[str, str] | None, version: str, why: str, tmp_path: Path) -> None:
    said = None if config is None else _config("LSTM", "lstm", **config)
    groups = {"lstm/lstm/lstm_cell": _weights(4, bias=(4 * UNITS,))}
    found = gs.read(_saved(tmp_path, groups, config=said, keras_version=version))
    assert not found.layers
    assert why in found.maybe[0].why


def test_a_keras_3_archive_is_read_with_its_configuration(tmp_path: Path) -> None:
    w = _weights(3, bias=None)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for place, name in enumerate(("kernel", "recurrent_kernel")):
            file[f"layers/gru/cell/vars/{place}"] = w[name]
    config = {"class_name": "Functional", "config": {"name": "m", "layers": [_config("GRU", "gru", reset_after=False)]}}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps(config))
        file.write(tmp_path / "w.h5", "model.weights.h5")
    found = gs.read(tmp_path / "m.keras")
    assert found.format == "Keras 3"
    assert (found.layers[0].name, found.layers[0].cell) == ("gru.l0", "gru-reset-before")
    _agree(found.layers[0], _gru(w, after=False))


def test_tensorflow_1_keeps_one_matrix_and_adds_a_forget_bias_as_it_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    whole = (random.standard_normal((FEATURES + UNITS, 4 * UNITS)) / 3).astype("f4")
    bias = (random.standard_normal(4 * UNITS) / 3).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rnn/basic_lstm_cell/kernel"], file["rnn/basic_lstm_cell/bias"] = whole, bias
    (layer,) = gs.read(tmp_path / "a.h5").layers
    x, given = _input(), []
    h = c = np.zeros((SEQUENCES, UNITS), "f4")
    for x_t in x:
        i, j, f, o = np.split(np.concatenate([x_t, h], 1) @ whole + bias, 4, 1)
        c = c * _sigmoid(f + 1.0) + _sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * _sigmoid(o)
        given.append(h)
    np.testing.assert_allclose(outputs(layer, torch.from_numpy(x)).numpy(), given, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("link", ["soft", "external", "hard"])
def test_links_that_lead_elsewhere_or_twice_to_one_place_are_refused(link: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.zeros(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("g")
        external = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/a")
        file["b"] = {"soft": h5py.SoftLink("/g"), "external": external, "hard": group}[link]
        if link == "hard":
            group["round"] = file["/g"]
    with pytest.raises(CheckpointError, match=r"lies elsewhere in the file too|a link that leads elsewhere"):
        gs.read(tmp_path / "a.h5")


def test_numbers_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(80))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (10,), "f8", external=[(str(tmp_path / "secret"), 0, 80)])
    with pytest.raises(CheckpointError, match="a has its numbers in another file"):
        gs.read(tmp_path / "a.h5")
    layout = h5py.VirtualLayout((10,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "c.h5"), "a", (10,))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    with pytest.raises(CheckpointError, match="a has its numbers in another file"):
        gs.read(tmp_path / "b.h5")


def test_what_swells_or_is_never_stored_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (1 << 20,), "f8", compression="gzip", data=np.zeros(1 << 20))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("a", (1 << 40,), "f8", chunks=(1024,))
    for name in ("a.h5", "b.h5"):
        with pytest.raises(CheckpointError, match="a swells from"):
            gs.read(tmp_path / name)


def test_a_chunk_that_swells_to_more_than_a_chunk_is_refused_before_hdf5_unpacks_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("a", (1000,), "f8", chunks=(1000,), compression="gzip")
        array.id.write_direct_chunk((0,), zlib.compress(bytes(50 << 20)))
    with pytest.raises(CheckpointError, match="a chunk of a swells to more than 8004 bytes"):
        gs.read(tmp_path / "a.h5").arrays["a"].read()


def test_a_text_that_declares_gigabytes_is_not_asked_for(tmp_path: Path) -> None:
    """HDF5 would take the memory first and look afterwards."""
    path = _saved(tmp_path, {"lstm/lstm/lstm_cell": _weights(4, bias=(4 * UNITS,))})
    data = bytearray(path.read_bytes())
    behind = data.find(b"keras_version\0") + len("keras_version")
    place = data.find((5).to_bytes(4, "little"), behind)  # the length of 2.4.0
    data[place : place + 4] = (4 << 28).to_bytes(4, "little")
    (tmp_path / "b").write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert gs.read(tmp_path / "b").hints[""]["keras_version"] == "2.4.0"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10


@pytest.mark.parametrize("how", [{"shuffle": True}, {"fletcher32": True}, {"compression": "gzip", "fletcher32": True}])
def test_what_hdf5_itself_packs_is_read(how: dict[str, Any], tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((30, 40)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=values, chunks=(7, 9), **how)
    np.testing.assert_array_equal(gs.read(tmp_path / "a.h5").arrays["a"].read(), values)


def test_what_is_no_number_is_named_as_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"], file["numbers"] = "hello", np.arange(3)
    found = gs.read(tmp_path / "a.h5")
    assert list(found.arrays) == ["numbers"]
    assert [said.split(":")[0] for said in found.not_read] == ["text"]


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = _saved(tmp_path, {"lstm/lstm/lstm_cell": _weights(4, bias=(4 * UNITS,))}).read_bytes()
    for size in range(8, len(whole), 199):
        (tmp_path / "b").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="is damaged: HDF5 says of it"):
            gs.read(tmp_path / "b")


def test_without_h5py_the_message_is_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path, {"lstm/lstm/lstm_cell": _weights(4, bias=(4 * UNITS,))})
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gatescope\[keras\]'"):
        gs.read(path)


HOLDS = {
    "dtln/DTLN_norm_500h.h5": [
        ("lstm.l0", 257, 128, 0, "forward"), ("lstm_1.l0", 128, 128, 0, "forward"),
        ("lstm_2.l0", 256, 128, 0, "forward"), ("lstm_3.l0", 128, 128, 0, "forward"),
    ],
    "textgenrnn/textgenrnn_weights.hdf5": [("rnn_1.l0", 100, 128, 0, "forward"), ("rnn_2.l0", 128, 128, 0, "forward")],
    "allennlp/elmo_lm_weights.hdf5": [
        (f"RNN_{way}.RNN.MultiRNNCell.Cell{depth}.LSTMCell", 16, 64, 16, ("forward", "reverse")[way])
        for way in (0, 1) for depth in (0, 1)
    ],
    "allennlp/elmo_lm_embeddings_0.hdf5": [],
    "allennlp/elmo_elmo_token_embeddings.hdf5": [],
}  # fmt: skip


@pytest.mark.parametrize("file", HOLDS)
def test_a_published_file_holds_the_layers_that_it_is_known_for(file: str, real: Path) -> None:
    found = gs.read(real / "checkpoints" / file)
    assert [(one.name, one.input_size, one.hidden_size, one.proj_size, one.direction) for one in found.layers] == HOLDS[
        file
    ]
    assert all(one.cell == "lstm" and one.bias for one in found.layers)
    assert not found.maybe
    assert all((one.clip is not None) == file.startswith("allennlp/elmo_lm") for one in found.layers)


def test_textgenrnn_knows_english(real: Path) -> None:
    """Of 465 signs it gives the next one of a plain text 0.46 on average (geometric mean).

    With the CuDNN layers' memory read as that of Keras' own, or only half of it, it gives less than 0.001.
    """
    folder = real / "checkpoints/textgenrnn"
    found = gs.read(folder / "textgenrnn_weights.hdf5")
    w = {name: torch.from_numpy(array.read()) for name, array in found.arrays.items()}
    number = json.loads((folder / "textgenrnn_vocab.json").read_text())
    text = "What is the best way to learn how to play a game with your friends in the United States?"
    signs = torch.tensor([number[sign] for sign in text])
    starts = range(len(text) - 40)
    embedded = w["embedding/embedding/embeddings:0"][torch.stack([signs[at : at + 40] for at in starts], 1)]
    first = outputs(found.layers[0], embedded)
    every = torch.cat([embedded, first, outputs(found.layers[1], first)], -1)
    attention = (every @ w["attention/attention/attention_W:0"]).softmax(0)
    read = (attention * every).sum(0) @ w["output/output/kernel:0"] + w["output/output/bias:0"]
    likelihood = read.log_softmax(-1)[torch.arange(len(starts)), signs[40:]].mean().exp()
    assert likelihood > 0.3


def _weights(blocks: int, *, bias: tuple[int, ...] | None, seed: int = 1) -> Weights:
    random = np.random.default_rng(seed)
    shapes = {"kernel": (FEATURES, blocks * UNITS), "recurrent_kernel": (UNITS, blocks * UNITS)}
    shapes |= {} if bias is None else {"bias": bias}
    return {name: (random.standard_normal(shape) / 3).astype("f4") for name, shape in shapes.items()}


def _saved(
    folder: Path,
    groups: dict[str, Weights],
    *,
    config: dict[str, Any] | None = None,
    keras_version: str = "2.4.0",
    name: str = "a.h5",
) -> Path:
    with h5py.File(folder / name, "w") as file:
        file.attrs["keras_version"] = keras_version
        if config is not None:
            file.attrs["model_config"] = json.dumps(
                {"class_name": "Model", "config": {"name": "m", "layers": [config]}}
            )
        for group, weights in groups.items():
            for what, array in weights.items():
                file[f"{group}/{what}:0"] = array
    return folder / name


def _config(
    kind: str, name: str, *, activation: str = "tanh", recurrent: str | None = "sigmoid", **said: Any
) -> dict[str, Any]:
    gates = {} if recurrent is None else {"recurrent_activation": recurrent}
    return {"class_name": kind, "config": {"name": name, "activation": activation, **gates, **said}}


def _from_cudnn(w: Weights, blocks: int, bias: np.ndarray) -> Weights:
    """As Keras itself loads the weights of a CuDNN layer into a plain one (its `_convert_rnn_weights`)."""
    kernels = [k.T.reshape(k.shape, order="F") for k in np.hsplit(w["kernel"], blocks)]
    recurrent = [k.T for k in np.hsplit(w["recurrent_kernel"], blocks)]
    return {"kernel": np.hstack(kernels), "recurrent_kernel": np.hstack(recurrent), "bias": bias}


def _lstm(w: Weights) -> Any:
    def run(x: np.ndarray) -> np.ndarray:
        h = c = np.zeros((SEQUENCES, UNITS), "f4")
        given = []
        for x_t in x:
            i, f, g, o = np.split(x_t @ w["kernel"] + h @ w["recurrent_kernel"] + w.get("bias", 0), 4, 1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            given.append(h)
        return np.stack(given)

    return run


def _gru(w: Weights, *, after: bool) -> Any:
    def run(x: np.ndarray) -> np.ndarray:
        h, given = np.zeros((SEQUENCES, UNITS), "f4"), []
        bias = w.get("bias", np.zeros(3 * UNITS, "f4"))
        b, rb = bias if after and bias.ndim == 2 else (bias, np.zeros(3 * UNITS, "f4"))
        u_z, u_r, u_h = np.split(w["recurrent_kernel"], 3, 1)
        rb_z, rb_r, rb_h = np.split(rb, 3)
        for x_t in x:
            x_z, x_r, x_h = np.split(x_t @ w["kernel"] + b, 3, 1)
            z, r = _sigmoid(x_z + h @ u_z + rb_z), _sigmoid(x_r + h @ u_r + rb_r)
            hh = np.tanh(x_h + (r * (h @ u_h + rb_h) if after else (r * h) @ u_h))
            h = z * h + (1 - z) * hh
            given.append(h)
        return np.stack(given)

    return run


def _agree(layer: Any, run: Any) -> None:
    x = _input()
    np.testing.assert_allclose(outputs(layer, torch.from_numpy(x)).numpy(), run(x), rtol=CLOSE, atol=CLOSE)


def _input() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((STEPS, SEQUENCES, FEATURES)).astype("f4")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
