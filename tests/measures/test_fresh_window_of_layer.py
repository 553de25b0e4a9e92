"""Fresh windows of one layer by itself, against torch's own modules on the cut input, one window at a time."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.errors import InputError
from gatescope.measures.fresh_window import ALL
from gatescope.measures.fresh_window_of_layer import fresh_window_of_layer
from gatescope.recording.recorder import Recorder
from gatescope.trace import Adjoint
from oracles import Run, true_adjoints
from problems import KINDS, LOSSES, Problem

STACKS = [
    Problem(
        kind,
        layers=2,
        bidirectional=True,
        layout="packed-unsorted",
        given_initial=True,
        proj_size=2 if kind == "lstm-proj" else 0,
    )
    for kind in KINDS
] + [Problem("lstm", bias=False), Problem("gru", bidirectional=True, bias=False)]


def recorded(problem: Problem, loss: str) -> dict[str, Adjoint]:
    module = problem.module()
    with Recorder(module) as rec:
        problem.loss(loss, *problem.call(module)).backward()
    return dict(rec.adjoints)


def alone(problem: Problem, layer: str, inputs: int) -> nn.RNNBase:
    """Torch's own module with the weights of one layer, running forward."""
    options = {"hidden_size": problem.hidden_size, "bias": problem.bias, "dtype": torch.float64}
    if problem.proj_size:
        options["proj_size"] = problem.proj_size
    if problem.cell.startswith("rnn"):
        options["nonlinearity"] = problem.cell.removeprefix("rnn-")
    module = type(problem.module())(inputs, **options)
    weights = problem.module().state_dict()
    module.load_state_dict({name: weights[f"{name.removesuffix('_l0')}_{layer}"] for name in module.state_dict()})
    return module


def read_by(run: Run, layer: str) -> Tensor:
    """The input of a layer, in the oracle's run of its whole stack."""
    depth = int(layer.removesuffix("_reverse")[1:])
    below = [one.states["h"] for name, one in run.layers.items() if name.startswith(f"l{depth - 1}")]
    return (torch.cat(below, -1) if depth else run.x).detach()


@pytest.mark.parametrize("loss", ["h_n and c_n", "every step"])
@pytest.mark.parametrize("problem", STACKS, ids=str)
def test_each_window_is_what_torch_gives_when_it_runs_that_window_alone(problem: Problem, loss: str) -> None:
    run = problem.unrolled()
    oracle = true_adjoints(run, LOSSES[loss](run.output, run.states, run.lengths))
    windows = [1, 2, 4, 7]
    for name, adjoint in recorded(problem, loss).items():
        found = fresh_window_of_layer(adjoint, windows)
        reverse = name.endswith("_reverse")
        for place, window in enumerate(windows):
            module = alone(problem, name, adjoint.layer.input_size)
            total = torch.zeros((), dtype=torch.float64)
            for sequence, length in enumerate(problem.lengths().tolist()):
                if length < window:
                    assert math.isnan(found.initial[name][place, sequence])
                    continue
                x = read_by(run, name)[:length, sequence, None]
                x = x.flip(0)[-window:] if reverse else x[-window:]
                last = 0 if reverse else length - 1
                start = tuple(
                    torch.zeros(1, 1, units, dtype=torch.float64, requires_grad=True)
                    for units in (adjoint.layer.output_size, adjoint.layer.hidden_size)[: len(oracle[name]["state"])]
                )
                _, ends = module(x, start if len(start) > 1 else start[0])
                ends = ends if isinstance(ends, tuple) else (ends,)
                value = sum(
                    (
                        (oracle[name]["state"][state][last, sequence] * end[0, 0]).sum()
                        for state, end in zip(("h", "c"), ends, strict=False)
                    ),
                    torch.zeros(()),
                )
                at_start = torch.autograd.grad(value, start, retain_graph=True)
                norm = torch.cat([one.flatten() for one in at_start]).norm()
                assert math.exp(found.initial[name][place, sequence]) == pytest.approx(norm.item(), rel=1e-10)
                total = total + value
            assert found.loss[place] == pytest.approx(total.item(), rel=1e-10)
            gradients = torch.autograd.grad(total, list(module.parameters()))
            norm = torch.cat([one.flatten() for one in gradients]).norm()
            assert found.parameters[name][place] == pytest.approx(norm.item(), rel=1e-10)


def accumulating(a: float, steps: int, strength: float = 1.0) -> Adjoint:
    """h_t = a h_{t-1} + x_t with x = 1, whose last state, so many times, is the loss."""
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False, dtype=torch.float64)
    nn.init.ones_(rnn.weight_ih_l0)
    nn.init.constant_(rnn.weight_hh_l0, a)
    with Recorder(rnn) as rec:
        rnn(torch.ones(steps, 1, 1, dtype=torch.float64))[0][-1].mul(strength).sum().backward()
    return rec.adjoints["l0"]


@pytest.mark.parametrize("a", [0.5, 0.9, 0.98])
def test_a_scalar_relu_rnn_gives_its_closed_forms(a: float) -> None:
    windows = np.arange(1, 101)
    found = fresh_window_of_layer(accumulating(a, 100), windows.tolist())
    h = (1 - a**windows) / (1 - a)  # which is dh/dw_ih too
    by_a = (1 - a**windows - windows * a ** (windows - 1) * (1 - a)) / (1 - a) ** 2
    np.testing.assert_allclose(found.parameters["l0"], np.hypot(by_a, h), rtol=1e-8)
    np.testing.assert_allclose(found.loss, h, rtol=1e-12)
    np.testing.assert_allclose(found.initial["l0"][:, 0], windows * math.log(a), rtol=1e-10)


def test_two_of_these_numbers_stand_here_in_full() -> None:
    decaying = fresh_window_of_layer(accumulating(0.9, 30), [20])
    by_a = math.sqrt(decaying.parameters["l0"][0] ** 2 - decaying.loss[0] ** 2)
    assert by_a == pytest.approx(60.8253, abs=5e-5)
    summing = fresh_window_of_layer(accumulating(1.0, 100), [100])
    by_a = math.sqrt(summing.parameters["l0"][0] ** 2 - summing.loss[0] ** 2)
    assert by_a == pytest.approx(4950, rel=1e-8)
    assert summing.initial["l0"][0, 0] == pytest.approx(0, abs=1e-12)


def of_a_strength(problem: Problem, strengths: tuple[float, ...]) -> Adjoint:
    """The loss reads the last state of each sequence so strongly."""
    module = problem.module()
    with Recorder(module) as rec:
        output, _ = problem.call(module)
        (output[-1] * torch.tensor(strengths, dtype=torch.float64)[:, None]).sum().backward()
    return rec.adjoints["l0"]


def test_a_gradient_of_1e_minus_200_keeps_every_digit() -> None:
    problem = Problem("lstm", time=12)
    strong = fresh_window_of_layer(of_a_strength(problem, (1.0, 1.0, 1.0)), [1, 5, 12])
    faint = fresh_window_of_layer(of_a_strength(problem, (1e-200, 1e-200, 1e-200)), [1, 5, 12])
    log = math.log(1e-200)
    np.testing.assert_allclose(faint.initial["l0"] - log, strong.initial["l0"], rtol=1e-12)
    np.testing.assert_allclose(faint.parameters["l0"] / 1e-200, strong.parameters["l0"], rtol=1e-12)
    np.testing.assert_allclose(faint.loss / 1e-200, strong.loss, rtol=1e-12)


def test_a_start_too_far_to_be_a_float_is_a_logarithm() -> None:
    found = fresh_window_of_layer(accumulating(0.1, 400), [400])
    assert found.initial["l0"][0, 0] == pytest.approx(400 * math.log(0.1), rel=1e-12)


def test_what_explodes_beyond_a_float_is_infinite_and_its_start_a_logarithm() -> None:
    found = fresh_window_of_layer(accumulating(2.0, 100, strength=1e300), [100])
    assert found.initial["l0"][0, 0] == pytest.approx(100 * math.log(2) + math.log(1e300), rel=1e-12)
    assert (found.parameters["l0"][0], found.loss[0]) == (math.inf, math.inf)


def test_sequences_of_very_different_strength_share_one_sum() -> None:
    problem = Problem("gru", time=6)
    both = fresh_window_of_layer(of_a_strength(problem, (1.0, 1e-180, 0.0)), [2, 6])
    first = fresh_window_of_layer(of_a_strength(problem, (1.0, 0.0, 0.0)), [2, 6])
    second = fresh_window_of_layer(of_a_strength(problem, (0.0, 1e-180, 0.0)), [2, 6])
    np.testing.assert_allclose(both.parameters["l0"], first.parameters["l0"], rtol=1e-14)
    np.testing.assert_allclose(both.initial["l0"][:, 1], second.initial["l0"][:, 1], rtol=1e-14)
    assert both.initial["l0"][:, 2].tolist() == [-math.inf, -math.inf]
    assert second.parameters["l0"][0] > 0


def test_a_loss_that_sends_nothing_gives_zeros_and_no_error() -> None:
    found = fresh_window_of_layer(of_a_strength(Problem("lstm"), (0.0, 0.0, 0.0)), [1, 7])
    assert found.parameters["l0"].tolist() == [0.0, 0.0]
    assert found.loss.tolist() == [0.0, 0.0]
    assert (found.initial["l0"] == -math.inf).all()


def test_a_window_of_all_from_the_zero_state_is_the_recorded_gradient_again() -> None:
    adjoint = recorded(Problem("lstm", layout="packed-unsorted"), "h_n and c_n")["l0"]
    found = fresh_window_of_layer(adjoint, [1, 4, 7])
    whole = adjoint.log_norm_initial("pair").numpy()
    for sequence, (place, length) in enumerate(((0, 1), (2, 7), (1, 4))):
        assert adjoint.lengths[sequence] == length
        assert found.initial["l0"][place, sequence] == pytest.approx(whole[sequence], rel=1e-12)


def test_a_cell_of_ones_own_runs_its_own_step() -> None:
    """A leaky tanh RNN: h = (tanh a + h') / 2, for which torch has no kernel."""

    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight_ih = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))
            self.weight_hh = nn.Parameter(torch.randn(3, 3, dtype=torch.float64))

        def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
            h = x.new_zeros(len(x), 3) if h is None else h
            return (torch.tanh(x @ self.weight_ih.T + h @ self.weight_hh.T) + h) / 2

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Leaky()

        def forward(self, x: Tensor) -> Tensor:
            h = None
            for step in x:
                h = self.cell(step, h)
            return h

    spec = gs.Cell.from_step(
        "leaky", gates=(), step=lambda w, affine, prev: ({}, {"h": (torch.tanh(affine[0] + affine[1]) + prev["h"]) / 2})
    )
    model = Loop()
    x = torch.randn(6, 4, 2, dtype=torch.float64)
    with Recorder(model, cells={Leaky: spec}) as rec:
        model(x).sum().backward()
    with torch.inference_mode():  # where autograd, which is this cell's pullback, refuses to work
        found = fresh_window_of_layer(rec.adjoints["cell"], [3, 6])
    for place, window in enumerate((3, 6)):
        value = model(x[-window:]).sum()
        gradients = torch.autograd.grad(value, list(model.parameters()))
        norm = math.sqrt(sum(float(one.square().sum()) for one in gradients))
        assert found.loss[place] == pytest.approx(value.item(), rel=1e-12)
        assert found.parameters["cell"][place] == pytest.approx(norm, rel=1e-10)


def test_it_says_how_it_was_taken_and_of_which_sequences() -> None:
    adjoint = recorded(Problem("gru", layout="packed-unsorted"), "last step")["l0"]  # lengths 1, 7, 4
    found = fresh_window_of_layer(adjoint, [5, 2, 2])
    assert found.windows.tolist() == [2, 5]
    assert found.exists.tolist() == [[False, True, True], [False, True, False]]
    assert "the layer by itself, every window in one run" in found.how
    assert "recorded gradient at the last state, held fixed" in found.loss_name
    assert found.together.tolist() == found.parameters["l0"].tolist()


def test_the_frame_has_no_row_for_a_window_that_a_sequence_lacks_and_speaks_of_one_layer() -> None:
    adjoint = recorded(Problem("gru", layout="packed-unsorted"), "last step")["l0"]  # lengths 1, 7, 4
    frame = fresh_window_of_layer(adjoint, [2, 5]).to_frame()
    assert ALL not in set(frame["layer"])
    start = frame[frame.quantity == "initial state"]
    assert list(zip(start["window"], start["sequence"], strict=True)) == [(2, 1), (2, 2), (5, 1)]
    assert not start["value"].isna().any()
    assert len(frame) == 3 + 2 + 2


def test_what_torch_rounds_does_not_matter_nor_does_autocast() -> None:
    module = Problem("lstm", dtype=torch.float32).module()
    with Recorder(module) as rec:
        module(torch.randn(9, 2, 3))[0][-1].sum().backward()
    plain = fresh_window_of_layer(rec.adjoints["l0"], [4])
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        again = fresh_window_of_layer(rec.adjoints["l0"], [4])
    assert plain.loss.dtype == np.float64
    assert np.array_equal(plain.initial["l0"], again.initial["l0"])
    assert np.array_equal(plain.parameters["l0"], again.parameters["l0"])


@pytest.mark.cuda
def test_a_cuda_device_gives_the_numbers_of_the_cpu() -> None:
    module = Problem("lstm").module()
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    found = []
    for device in ("cpu", "cuda"):
        module.to(device)
        with Recorder(module) as rec:
            module(x.to(device))[0][-1].sum().backward()
        found.append(fresh_window_of_layer(rec.adjoints["l0"], [2, 9]))
    np.testing.assert_allclose(found[1].initial["l0"], found[0].initial["l0"], rtol=1e-8)
    np.testing.assert_allclose(found[1].parameters["l0"], found[0].parameters["l0"], rtol=1e-8)


@pytest.mark.parametrize("windows", [[], [0, 3], [8], [-1]])
def test_a_window_that_no_sequence_has_is_refused(windows: list[int]) -> None:
    adjoint = recorded(Problem("gru", layout="packed-unsorted"), "last step")["l0"]
    with pytest.raises(InputError, match="choose some from 1 to 7"):
        fresh_window_of_layer(adjoint, windows)
