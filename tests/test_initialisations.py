"""The initialisations: what the gates are afterwards, in every layer and direction, and their distributions."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.initialisations import chrono, forget_bias, identity, orthogonal, ugi

SUFFIXES = ("l0", "l0_reverse", "l1", "l1_reverse")
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


def stack(kind: str, hidden_size: int = 8) -> nn.RNNBase:
    return MODULES[kind](3, hidden_size, 2, bidirectional=True)


def rows(kind: str, parameter: Tensor) -> dict[str, Tensor]:
    names = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}[kind]
    return dict(zip(names, parameter.detach().chunk(len(names)), strict=True))


def bias(module: nn.Module, suffix: str) -> Tensor:
    return (module.get_parameter(f"bias_ih_{suffix}") + module.get_parameter(f"bias_hh_{suffix}")).detach()


def drawn(initialise: Callable[[nn.LSTM], None], module: nn.LSTM, times: int) -> Tensor:
    """The forget gates at zero input and state of many draws."""
    gates = []
    for _ in range(times):
        initialise(module)
        gates += [rows("lstm", bias(module, suffix).double())["f"].sigmoid() for suffix in SUFFIXES]
    return torch.cat(gates)


def largest_gap(values: Tensor, low: float, high: float) -> float:
    """Kolmogorov and Smirnov's distance to the uniform distribution on [low, high]."""
    position = (values.sort().values - low) / (high - low)
    grid = torch.arange(len(values) + 1).double() / len(values)
    return float(torch.maximum(position - grid[:-1], grid[1:] - position).max())


@pytest.mark.parametrize(("kind", "gate"), [("lstm", "f"), ("gru", "z")])
def test_forget_bias_sets_the_gate_that_keeps_and_only_that_gate(kind: str, gate: str) -> None:
    module, before = stack(kind), stack(kind)
    before.load_state_dict(module.state_dict())
    forget_bias(module, 1.0)
    for suffix in SUFFIXES:
        now, then = rows(kind, bias(module, suffix)), rows(kind, bias(before, suffix))
        for name in now:
            expected = torch.ones(8) if name == gate else then[name]
            torch.testing.assert_close(now[name], expected, rtol=0, atol=0)
        assert not rows(kind, module.get_parameter(f"bias_hh_{suffix}"))[gate].any()


def test_forget_bias_is_one_unless_told_otherwise_and_leaves_the_weights() -> None:
    module = nn.LSTM(3, 8)
    weight = module.weight_hh_l0.clone()
    forget_bias(module)
    assert rows("lstm", bias(module, "l0"))["f"].unique().tolist() == [1.0]
    forget_bias(module, 3.0)
    assert rows("lstm", bias(module, "l0"))["f"].unique().tolist() == [3.0]
    assert torch.equal(module.weight_hh_l0, weight)
    assert module.bias_ih_l0.requires_grad
    assert module.bias_ih_l0.grad_fn is None


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_gru_and_an_lstm_initialised_to_remember_keep_their_state(kind: str) -> None:
    """The sign convention, seen from outside: after a hundred steps without input the memory is still there."""
    cell = CELLS[kind](1, 16)
    for initialise, left in ((lambda m: chrono(m, 10_000.0), 0.9), (lambda m: forget_bias(m, 9.0), 0.98)):
        initialise(cell)
        with torch.no_grad():
            cell.weight_hh.zero_()
            if kind == "lstm":
                rows(kind, cell.bias_ih)["i"].fill_(-30)
            state = torch.ones(1, 16)
            for _ in range(100):
                out = cell(torch.zeros(1, 1), (torch.zeros(1, 16), state) if kind == "lstm" else state)
                state = out[1] if kind == "lstm" else out
        # a GRU pulls its state towards its candidate, tanh(b_n), which is at least −1
        assert float(state.median()) > (left if kind == "lstm" else left - 0.15)


@pytest.mark.parametrize(
    ("t_max", "mean", "above"), [(20, 11.0, 10 / 18), (100, 51.0, 0.9184), (1000, 501.0, 990 / 998)]
)
def test_chrono_spreads_the_memories_evenly_from_two_steps_to_t_max(t_max: int, mean: float, above: float) -> None:
    generator = torch.Generator().manual_seed(0)
    module = nn.LSTM(1, 500, 2, bidirectional=True)
    f = drawn(lambda m: chrono(m, t_max, generator=generator), module, 500)
    memory = 1 / (1 - f)
    assert len(memory) == 1_000_000
    assert float(memory.mean()) == pytest.approx(mean, abs=1e-3 * (t_max - 2))
    assert float(memory.min()) == pytest.approx(2, abs=1e-3)
    assert float(memory.max()) == pytest.approx(t_max, rel=1e-3)
    assert largest_gap(memory, 2, t_max) < 0.002  # 1 % of a million uniform draws exceed 0.0016
    assert float((f > 0.9).double().mean()) == pytest.approx(above, abs=0.002)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_chrono_ties_the_input_gate_and_clears_every_other_bias(kind: str) -> None:
    module = stack(kind)
    chrono(module, 50)
    for suffix in SUFFIXES:
        gates = rows(kind, module.get_parameter(f"bias_ih_{suffix}"))
        assert not module.get_parameter(f"bias_hh_{suffix}").any()
        keep = gates.pop("f" if kind == "lstm" else "z")
        assert (keep > 0).all()
        assert keep.unique().numel() == 8
        if kind == "lstm":
            assert torch.equal(gates.pop("i"), -keep)
        assert not any(gate.any() for gate in gates.values())


def test_uniform_gates_are_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    f = drawn(lambda m: ugi(m, generator=generator), nn.LSTM(1, 64, 2, bidirectional=True), 800)
    assert float((f > 0.9).double().mean()) == pytest.approx(0.08710, abs=0.002)
    assert math.log(63) / (1 - 2 / 64) == pytest.approx(4.2768, abs=5e-5)
    assert float((1 / (1 - f)).mean()) == pytest.approx(4.2768, abs=0.02)
    assert largest_gap(f, 1 / 64, 63 / 64) < 0.004  # 1 % of 200 000 uniform draws exceed 0.0036


def test_uniform_gates_of_a_gru_are_its_update_gates() -> None:
    module = stack("gru", hidden_size=400)
    others = {suffix: rows("gru", bias(module, suffix)) for suffix in SUFFIXES}
    ugi(module)
    for suffix in SUFFIXES:
        gates = rows("gru", bias(module, suffix))
        assert largest_gap(gates["z"].double().sigmoid(), 1 / 400, 399 / 400) < 0.12  # 1e-5 of the draws exceed it
        assert torch.equal(gates["r"], others[suffix]["r"])
        assert torch.equal(gates["n"], others[suffix]["n"])


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_orthogonal_blocks_change_no_length(kind: str) -> None:
    module = stack(kind).double()
    orthogonal(module, generator=torch.Generator().manual_seed(0))
    for suffix in SUFFIXES:
        for block in rows(kind, module.get_parameter(f"weight_hh_{suffix}")).values():
            torch.testing.assert_close(block @ block.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-6)


def test_orthogonal_blocks_of_a_projected_lstm_have_orthonormal_columns() -> None:
    module = nn.LSTM(3, 8, proj_size=2)
    orthogonal(module)
    for block in rows("lstm", module.weight_hh_l0).values():
        torch.testing.assert_close(block.T @ block, torch.eye(2), rtol=0, atol=1e-6)


def test_identity_makes_a_relu_rnn_copy_its_state() -> None:
    module = nn.RNN(3, 8, 2, nonlinearity="relu", bidirectional=True)
    identity(module)
    h = torch.rand(4, 1, 8)
    torch.testing.assert_close(module(torch.zeros(30, 1, 3), h)[1][:2], h[:2], rtol=0, atol=0)
    assert not any(bias(module, suffix).any() for suffix in SUFFIXES)


@pytest.mark.parametrize("initialise", [lambda m, g: chrono(m, 9, generator=g), lambda m, g: ugi(m, generator=g)])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_generator_decides_and_the_global_one_is_not_touched(
    initialise: Callable[[nn.Module, torch.Generator], None], kind: str
) -> None:
    first, again, other = stack(kind), stack(kind), stack(kind)
    untouched = torch.get_rng_state()
    for module, seed in ((first, 1), (again, 1), (other, 2)):
        initialise(module, torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), untouched)
    assert torch.equal(bias(first, "l1")[8:16], bias(again, "l1")[8:16])
    assert not torch.equal(bias(first, "l1")[8:16], bias(other, "l1")[8:16])


def test_orthogonal_follows_its_generator() -> None:
    first, again = nn.RNN(3, 8), nn.RNN(3, 8)
    for module in (first, again):
        orthogonal(module, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.weight_hh_l0, again.weight_hh_l0)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("initialise", [forget_bias, lambda m: chrono(m, 9), ugi])
def test_a_cell_is_initialised_like_a_layer(kind: str, initialise: Callable[[nn.Module], None]) -> None:
    cell = CELLS[kind](3, 8)
    before = cell.bias_ih.clone()
    initialise(cell)
    assert not torch.equal(cell.bias_ih, before)


@pytest.mark.parametrize("initialise", [forget_bias, lambda m: chrono(m, 9), ugi])
def test_a_module_without_biases_is_refused_in_a_sentence(initialise: Callable[[nn.Module], None]) -> None:
    with pytest.raises(InputError, match="this LSTM has bias=False; build it with bias=True"):
        initialise(nn.LSTM(3, 8, bias=False))


@pytest.mark.parametrize("initialise", [forget_bias, lambda m: chrono(m, 9), ugi])
def test_a_plain_rnn_has_no_forget_gate(initialise: Callable[[nn.Module], None]) -> None:
    with pytest.raises(InputError, match="RNN has none"):
        initialise(nn.RNN(3, 8))


def test_identity_refuses_a_gated_cell() -> None:
    with pytest.raises(InputError, match=r"made for nn\.RNN"):
        identity(nn.GRU(3, 8))


@pytest.mark.parametrize("initialise", [forget_bias, lambda m: chrono(m, 9), ugi, orthogonal, identity])
def test_another_kind_of_module_is_refused(initialise: Callable[[nn.Module], None]) -> None:
    class Bare(nn.RNNBase):
        def __init__(self) -> None:
            super().__init__("LSTM", 3, 8)

    with pytest.raises(InputError, match="was given a Bare"):
        initialise(Bare())


@pytest.mark.parametrize("t_max", [2, 1, math.nan])
def test_chrono_needs_a_range_of_memories(t_max: float) -> None:
    with pytest.raises(InputError, match="above 2"):
        chrono(nn.LSTM(3, 8), t_max)


def test_uniform_gates_need_more_than_two_units() -> None:
    with pytest.raises(InputError, match="more than 2 units"):
        ugi(nn.LSTM(3, 2))
