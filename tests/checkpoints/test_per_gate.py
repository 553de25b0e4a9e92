"""Hand-made cells with a matrix for every gate: the textbook in this file runs them as their authors did."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints.made import checkpoint_of, outputs

FEATURES, UNITS, STEPS, SEQUENCES = 5, 7, 10, 3
CLOSE = 1e-6  # float32 in another order of summation, over ten steps

LSTM_NAMES: dict[str, Callable[[str, str], str]] = {
    "W_xf and W_hf": lambda side, gate: f"W_{side}{gate}",
    "Wxf and Whf": lambda side, gate: f"W{side}{gate}",
    "W_f and U_f": lambda side, gate: f"{'W' if side == 'x' else 'U'}_{gate}",
    "x2f and h2f": lambda side, gate: f"{side}2{gate}",
    "in words": lambda side, gate: f"{_WORDS[gate]}_{'input' if side == 'x' else 'hidden'}",
    "words and letters": lambda side, gate: f"{_WORDS[gate]}_{side}",
}
_WORDS = {"i": "input_gate", "f": "forget_gate", "g": "cell_gate", "o": "output_gate"}


@pytest.mark.parametrize("names", LSTM_NAMES)
def test_an_lstm_of_linears_is_found_whatever_its_letters(names: str) -> None:
    named = LSTM_NAMES[names]
    arrays, bias = {}, torch.randn(2, 4, UNITS)
    w = {(side, gate): _matrix(side) for side in "xh" for gate in "ifgo"}
    for (side, gate), matrix in w.items():
        arrays[f"net.cell.{named(side, gate)}.weight"] = matrix
        arrays[f"net.cell.{named(side, gate)}.bias"] = bias["xh".index(side), "ifgo".index(gate)]
    found = checkpoint_of(arrays)
    (layer,) = found.layers
    assert (layer.name, layer.cell, layer.input_size, layer.hidden_size) == ("net.cell", "lstm", FEATURES, UNITS)
    assert "a matrix 7 × 5 and a matrix 7 × 7 for each of 4 blocks" in layer.why
    assert set(layer.parameters) == set(arrays)
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    torch.testing.assert_close(outputs(layer, x), _lstm(x, w, bias.sum(0)), rtol=CLOSE, atol=CLOSE)


def test_bare_matrices_right_of_the_vector_are_turned() -> None:
    w = {(side, gate): _matrix(side) for side in "xh" for gate in "ifgo"}
    bias = torch.randn(4, UNITS)
    arrays = {f"W_{side}{gate if gate != 'g' else 'c'}": matrix.T for (side, gate), matrix in w.items()}
    arrays |= {f"b_{gate if gate != 'g' else 'c'}": bias["ifgo".index(gate)] for gate in "ifgo"}
    arrays |= {"fc.weight": torch.randn(2, UNITS)}
    (layer,) = checkpoint_of(arrays).layers
    assert layer.name == "cell"
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    torch.testing.assert_close(outputs(layer, x), _lstm(x, w, bias), rtol=CLOSE, atol=CLOSE)


def test_square_bare_matrices_are_a_maybe() -> None:
    arrays = {f"W_{side}{gate}": torch.randn(UNITS, UNITS) for side in "xh" for gate in "ifgo"}
    found = checkpoint_of(arrays)
    assert not found.layers
    assert "left or right of the vector" in found.maybe[0].why


def test_peepholes_make_another_cell() -> None:
    arrays = {f"c.W_{side}{gate}.weight": _matrix(side) for side in "xh" for gate in "ifgo"}
    found = checkpoint_of(arrays | {f"c.W_c{gate}": torch.randn(UNITS) for gate in "ifo"})
    assert not found.layers
    assert "peepholes" in found.maybe[0].why


@pytest.mark.parametrize("order", ["xh", "hx"])
def test_a_row_of_input_and_hidden_state_is_a_maybe_until_you_say_which_comes_first(order: str) -> None:
    w = {(side, gate): _matrix(side) for side in "xh" for gate in "ifgo"}
    bias = torch.randn(4, UNITS)
    arrays = {}
    for gate in "ifgo":
        arrays[f"{_WORDS[gate]}.weight"] = torch.cat([w[side, gate] for side in order], 1)
        arrays[f"{_WORDS[gate]}.bias"] = bias["ifgo".index(gate)]
    found = checkpoint_of(arrays)
    assert not found.layers
    (maybe,) = found.maybe
    assert "nothing says which of them comes first" in maybe.why
    assert maybe.flag == "--map cell=lstm:xh or --map cell=lstm:hx"
    (layer,) = checkpoint_of(arrays, settled={"cell": f"lstm:{order}"}).layers
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    torch.testing.assert_close(outputs(layer, x), _lstm(x, w, bias), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("renews", [True, False])
def test_a_gru_is_a_maybe_until_you_say_which(before: bool, renews: bool) -> None:
    w = {(side, gate): _matrix(side) for side in "xh" for gate in "rzn"}
    arrays = {f"W_{side}{'h' if gate == 'n' else gate}.weight": matrix for (side, gate), matrix in w.items()}
    found = checkpoint_of(arrays)
    assert not found.layers
    assert "where the reset gate acts, nor whether its gate z keeps or renews the state" in found.maybe[0].why
    said = ("gru-reset-before" if before else "gru") + (":z-renews" if renews else "")
    assert f"--map cell={said}" in found.maybe[0].flag
    (layer,) = checkpoint_of(arrays, settled={"cell": said}).layers
    assert layer.cell == said.partition(":")[0]
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    expected = _gru(x, w, before=before, renews=renews)
    torch.testing.assert_close(outputs(layer, x), expected, rtol=CLOSE, atol=CLOSE)


def test_a_gru_in_the_letters_of_torchs_formula_is_torchs() -> None:
    w = {(side, gate): _matrix(side) for side in "xh" for gate in "rzn"}
    arrays = {f"W_{'i' if side == 'x' else 'h'}{gate}.weight": matrix for (side, gate), matrix in w.items()}
    (layer,) = checkpoint_of(arrays).layers
    assert layer.cell == "gru"
    x = torch.randn(STEPS, SEQUENCES, FEATURES)
    torch.testing.assert_close(outputs(layer, x), _gru(x, w, before=False, renews=False), rtol=CLOSE, atol=CLOSE)


def test_a_simple_rnn_by_letters_is_found() -> None:
    wx, wh, bias = torch.randn(UNITS, FEATURES), torch.randn(UNITS, UNITS) / 4, torch.randn(UNITS)
    arrays = {"Wxh": wx, "Whh": wh, "Why": torch.randn(2, UNITS), "bh": bias, "by": torch.randn(2)}
    (layer,) = checkpoint_of(arrays, nonlinearity="tanh").layers
    assert layer.cell == "rnn-tanh"
    h, x = torch.zeros(SEQUENCES, UNITS), torch.randn(STEPS, SEQUENCES, FEATURES)
    expected = torch.stack([h := torch.tanh(x_t @ wx.T + h @ wh.T + bias) for x_t in x])
    torch.testing.assert_close(outputs(layer, x), expected, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    "arrays",
    [
        {"conv_gate.weight": np.zeros((7, 7, 3)), "input_layer.weight": np.zeros((7, 5))},
        {f"attention.W_{letter}.weight": np.zeros((7, 7)) for letter in "qkvo"},
        {f"moe.gate_{place}.weight": np.zeros((7, 12)) for place in range(4)},
        {"mlp.gate_proj.weight": np.zeros((7, 12)), "mlp.up_proj.weight": np.zeros((7, 12))},
        {"input.weight": np.zeros((7, 12)), "output.weight": np.zeros((7, 12)), "hidden.weight": np.zeros((7, 7))},
        {"net.W_xf.weight": np.zeros((7, 5)), "net.W_hf.weight": np.zeros((7, 7))},
    ],
)
def test_what_only_has_such_a_name_is_not_even_a_maybe(arrays: dict[str, np.ndarray]) -> None:
    found = checkpoint_of(arrays)
    assert not found.layers
    assert not found.maybe


def _matrix(side: str) -> Tensor:
    return torch.randn(UNITS, FEATURES if side == "x" else UNITS) / 3


def _lstm(x: Tensor, w: dict[tuple[str, str], Tensor], bias: Tensor) -> Tensor:
    h = c = torch.zeros(x.shape[1], UNITS)
    given = []
    for x_t in x:
        a = {gate: x_t @ w["x", gate].T + h @ w["h", gate].T + bias["ifgo".index(gate)] for gate in "ifgo"}
        c = torch.sigmoid(a["f"]) * c + torch.sigmoid(a["i"]) * torch.tanh(a["g"])
        h = torch.sigmoid(a["o"]) * torch.tanh(c)
        given.append(h)
    return torch.stack(given)


def _gru(x: Tensor, w: dict[tuple[str, str], Tensor], *, before: bool, renews: bool) -> Tensor:
    h = torch.zeros(x.shape[1], UNITS)
    given = []
    for x_t in x:
        r = torch.sigmoid(x_t @ w["x", "r"].T + h @ w["h", "r"].T)
        z = torch.sigmoid(x_t @ w["x", "z"].T + h @ w["h", "z"].T)
        recurrent = (r * h) @ w["h", "n"].T if before else r * (h @ w["h", "n"].T)
        n = torch.tanh(x_t @ w["x", "n"].T + recurrent)
        h = (1 - z) * h + z * n if renews else (1 - z) * n + z * h
        given.append(h)
    return torch.stack(given)
