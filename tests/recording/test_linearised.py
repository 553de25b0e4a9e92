"""The law of linearised calls: in float64, in parts, or one source after the other, they are what autograd says.

This is one file because each of its sentences is held against the same unrolled loops.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.errors import InputError
from gatescope.recording.arrivals import random_readout
from gatescope.recording.driving import drive
from gatescope.recording.linearised import LinearisedCall, linearised_calls
from oracles import textbook, true_adjoints
from problems import LOSSES, PROBLEMS, Problem

EXACT = 1e-10  # float64 sums in another order
SEVERAL = [problem for problem in PROBLEMS if problem.sequences > 1]


def call_of(problem: Problem, loss: str, **options: object) -> LinearisedCall:
    module = problem.module()
    with gs.Recorder(module) as rec:
        problem.loss(loss, *problem.call(module)).backward()
    (call,) = linearised_calls(rec, **options)
    return call


def apart(ours: Tensor, truth: Tensor, scale: float) -> float:
    assert ours.dtype == torch.float64
    return float((ours - truth).abs().max()) / (scale or 1.0)


def assert_same(found: dict[str, gs.Adjoint], truth: dict[str, dict[str, dict[str, Tensor]]], tolerance: float) -> None:
    for name, adjoint in found.items():
        scale = max(float(v.abs().max()) for part in truth[name].values() for v in part.values())
        for part in ("total", "state", "initial"):
            for key, values in getattr(adjoint, part).items():
                assert apart(values, truth[name][part][key], scale) < tolerance, (name, part, key)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_a_float32_recording_is_linearised_in_float64_along_its_own_states(problem: Problem) -> None:
    run = problem.unrolled()
    truth = true_adjoints(run, LOSSES["every step"](run.output, run.states, run.lengths))
    call = call_of(replace(problem, dtype=torch.float32), "every step")
    found = {adjoint.name: adjoint for adjoint in call.adjoints()}
    assert list(found) == call.names[::-1]
    assert_same(found, truth, 1e-5)  # the recorded states are float32's
    for trace in call.traces():
        assert trace.gates.keys() == {*trace.layer.cell.gates, *trace.layer.cell.kept}
        for values in {**trace.gates, **trace.states}.values():
            assert not values[~trace.valid].any()


@pytest.mark.parametrize("problem", SEVERAL, ids=str)
def test_sequences_taken_in_parts_are_those_taken_at_once(problem: Problem) -> None:
    call = call_of(problem, "through a further layer")
    whole = {adjoint.name: adjoint for adjoint in call.adjoints()}
    parts = [
        {adjoint.name: adjoint for adjoint in call.adjoints(part)}
        for part in (slice(0, 2), slice(2, problem.sequences))
    ]
    for name, adjoint in whole.items():
        joined = torch.cat([part[name].log_norm("pair") for part in parts], 1)
        assert torch.allclose(joined, adjoint.log_norm("pair"), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_each_source_by_itself_is_what_autograd_says_of_a_loss_of_that_step_alone(problem: Problem) -> None:
    run, call = problem.unrolled(), call_of(problem, "every step")
    assert call.mixes_lags == (problem.time > 1)
    rows, weights = torch.arange(problem.sequences), _weights_of_every_step(run.output)
    for back in {0, problem.time // 2}:
        source = (run.lengths - 1 - back).clamp(min=0)
        loss = (run.output[source, rows] * weights[source, rows]).sum()
        truth = true_adjoints(run, loss)
        assert_same({adjoint.name: adjoint for adjoint in call.adjoints(source=source)}, truth, EXACT)


@pytest.mark.parametrize("loss", ["through a further layer", "h_n and c_n"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_all_sources_add_up_to_the_whole_gradient(problem: Problem, loss: str) -> None:
    call = call_of(problem, loss)
    whole = {adjoint.name: adjoint for adjoint in call.adjoints()}
    ends = problem.lengths()
    summed = {name: {key: torch.zeros_like(v) for key, v in adjoint.total.items()} for name, adjoint in whole.items()}
    for step in range(problem.time):
        source = torch.full_like(ends, step)  # past an end nothing enters
        for adjoint in call.adjoints(source=source):
            for key, values in adjoint.total.items():
                summed[adjoint.name][key] += values
    for name, adjoint in whole.items():
        for key, values in adjoint.total.items():
            assert apart(summed[name][key], values, float(values.abs().max())) < EXACT


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_a_loss_of_final_states_is_read_at_one_step_but_two_where_both_directions_meet_in_a_layer_below(
    problem: Problem,
) -> None:
    call = call_of(problem, "h_n and c_n")
    assert call.mixes_lags == (problem.layers > 1 and problem.bidirectional and problem.time > 1)
    assert call.reads_ends_alone
    assert all(call.reads_the_end(direction) for direction in call.directions)


def test_what_reads_only_the_last_step_of_a_bidirectional_layer_does_not_read_the_end_of_the_reverse_one() -> None:
    call = call_of(Problem("lstm", bidirectional=True, layers=2), "last step")
    assert not call.mixes_lags
    assert call.reads_the_end("forward")
    assert not call.reads_the_end("reverse")


class Two(nn.Module):
    """Two modules, the second reading the first, as one stack of two layers."""

    def __init__(self, stack: nn.LSTM) -> None:
        super().__init__()
        self.lower, self.upper = nn.LSTM(3, 4, dtype=torch.float64), nn.LSTM(4, 4, dtype=torch.float64)
        for depth, module in enumerate((self.lower, self.upper)):
            weights = {name: stack.get_parameter(name.replace("l0", f"l{depth}")) for name in module.state_dict()}
            module.load_state_dict(weights)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.upper(self.lower(x)[0])[0]
        return out


@pytest.mark.parametrize("read", ["last step", "every step"])
def test_modules_that_read_each_other_are_a_stack_where_the_loss_reads_one_step(read: str) -> None:
    stack, x = nn.LSTM(3, 4, 2, dtype=torch.float64), torch.randn(7, 3, 3, dtype=torch.float64)
    two = Two(stack)

    def loss(out: Tensor | tuple[Tensor, Tensor], _: object) -> Tensor:
        steps = out[0] if isinstance(out, tuple) else out
        return LOSSES[read](steps, steps, torch.full((3,), 7))

    found = [linearised_calls(drive(model, x, 0, loss).recorder) for model in (stack, two)]
    ((whole,), (lower, upper)) = found
    assert lower.mixes_lags == upper.mixes_lags == whole.mixes_lags == (read == "every step")
    assert lower.reader is (upper if read == "last step" else None)
    for one, other in zip([*lower.adjoints(), *upper.adjoints()], [*whole.adjoints()][::-1], strict=True):
        assert torch.allclose(one.log_norm("pair"), other.log_norm("pair"), rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
def test_where_both_ends_are_read_each_direction_is_followed_from_its_own_end_alone(kind: str) -> None:
    problem = Problem(kind, layers=2, bidirectional=True)
    run, call = problem.unrolled(), call_of(problem, "h_n and c_n", readout=3)
    readout = random_readout(problem.sequences, problem.hidden_size, seed=3)
    ends = {"forward": run.layers["l1"].final["h"], "reverse": run.layers["l1_reverse"].final["h"]}
    for d, (direction, end) in enumerate(ends.items()):
        truth = true_adjoints(run, (end * readout[d]).sum())
        found = {a.name: a for a in call.of_the_last_step() if a.layer.direction == direction}
        assert len(found) == 2
        assert_same(found, truth, EXACT)


def test_neither_a_parallel_module_nor_one_that_is_passed_by_is_a_reader() -> None:
    a, b, x = nn.GRU(3, 4), nn.GRU(3, 4), torch.randn(7, 3, 3)

    class Both(nn.Module):
        def __init__(self, by: str) -> None:
            super().__init__()
            self.a, self.b, self.by = a, b if by == "parallel" else nn.GRU(4, 4), by

        def forward(self, x: Tensor) -> Tensor:
            lower = self.a(x)[0]
            upper = self.b(x if self.by == "parallel" else lower)[0][-1]
            return upper if self.by == "stack" else upper + lower.mean(0)

    for by in ("parallel", "passed by", "stack"):
        lower, upper = linearised_calls(drive(Both(by), x, 0, lambda out, _: out.sum()).recorder)
        assert (lower.reader is upper) == (by == "stack")
        assert lower.mixes_lags == (by != "stack")


class Fed(nn.Module):
    """A loop that is fed what it gave, and remembers by that alone."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.RNNCell(4, 5, dtype=torch.float64), nn.Linear(5, 1, dtype=torch.float64)
        nn.init.zeros_(self.cell.weight_hh)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        h, y, states = x.new_zeros(len(x), 5), x.new_zeros(len(x), 1), []
        for now in x.unbind(1):
            h = self.cell(torch.cat([now, y], -1), h)
            h.requires_grad and h.retain_grad()
            states.append(h)
            y = self.head(h)
        return y, states


def test_of_a_loop_that_feeds_itself_the_gradient_is_the_whole_that_autograd_saw() -> None:
    model, x = Fed(), torch.randn(6, 9, 3, dtype=torch.float64)
    (call,) = linearised_calls(drive(model, x, 0, lambda out, _: out[0].square().sum()).recorder)
    assert (call.feeds_itself, call.entangled, call.mixes_lags, set(call.read)) == (True, False, False, {8})
    out, states = model(x)
    out.square().sum().backward()
    (adjoint,) = call.adjoints()
    truth = torch.stack([state.grad for state in states])
    assert apart(adjoint.total["h"], truth, float(truth.abs().max())) < EXACT
    assert float(truth[0].abs().max()) > 0


def test_a_loop_that_feeds_itself_and_is_read_at_many_steps_is_entangled() -> None:
    def every(out: tuple[Tensor, list[Tensor]], _: object) -> Tensor:
        return torch.stack(out[1]).square().sum()

    (call,) = linearised_calls(drive(Fed(), torch.randn(6, 9, 3, dtype=torch.float64), 0, every).recorder)
    assert call.entangled


def test_a_slice_of_all_steps_of_a_loop_reads_the_steps_that_it_keeps() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            state, outs = None, []
            for now in x:
                state = self.cell(now, state)
                outs.append(state[0])
            return torch.stack(outs)[5]

    (call,) = linearised_calls(drive(Loop(), torch.randn(8, 3, 3), 0, lambda out, _: out.sum()).recorder)
    assert call.enters.any(1).nonzero().flatten().tolist() == [5]
    assert not call.mixes_lags


def test_a_module_that_is_read_by_a_decoder_of_another_length_is_a_source_at_every_step() -> None:
    encoder, decoder = nn.GRU(3, 4), nn.GRU(4, 4)
    model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    with gs.Recorder(model) as rec:
        seen, _ = encoder(torch.randn(7, 3, 3))
        decoder(seen.mean(0, keepdim=True).expand(2, -1, -1))[0][-1].sum().backward()
    first, second = linearised_calls(rec)
    assert first.mixes_lags
    assert not second.mixes_lags


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("read", [(7,), (2, 5, 7)])
def test_a_loop_of_cells_says_where_its_loss_enters(
    cell: type[nn.Module], dtype: torch.dtype, read: tuple[int, ...]
) -> None:
    module, x = cell(3, 4).to(dtype), torch.randn(8, 5, 3, dtype=dtype)
    with gs.Recorder(module) as rec:
        state, outs = None, []
        for now in x:
            state = module(now, state)
            outs.append(state[0] if isinstance(state, tuple) else state)
        (torch.stack([outs[t] for t in read]) * torch.randn(len(read), 5, 4, dtype=dtype)).sum().backward()
    (call,) = linearised_calls(rec)
    assert call.enters.any(1).nonzero().flatten().tolist() == list(read)
    assert call.mixes_lags == (len(read) > 1)
    (whole,) = call.adjoints()
    wanted = rec.adjoints["cell"]
    tolerance = EXACT if dtype == torch.float64 else 1e-5
    for key, values in whole.total.items():
        assert apart(values, wanted.total[key].double(), float(values.abs().max())) < tolerance
    sources = [torch.full((5,), t) for t in read]
    summed = sum(next(call.adjoints(source=source)).total["h"] for source in sources)
    assert apart(summed, whole.total["h"], float(summed.abs().max())) < tolerance


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
def test_padding_that_the_model_ran_through_is_cut_off_and_the_rest_stays_as_it_was(kind: str) -> None:
    problem, lengths = Problem(kind, bidirectional=True), torch.tensor([7, 4, 1])
    padded, rows, module = problem.unrolled(), torch.arange(3), problem.module()
    weights = torch.randn(7, 3, 8, dtype=torch.float64) * (torch.arange(7)[:, None] < lengths)[..., None]
    with gs.Recorder(module) as rec:
        (module(problem.input())[0] * weights).sum().backward()
    (call,) = linearised_calls(rec, lengths=lengths)

    def begins(layer: str) -> dict[str, Tensor]:
        run, ragged = padded.layers[layer], (lengths < 7)[:, None]
        if layer == "l0":
            return dict(run.initial)
        return {name: v[lengths.clamp(max=6), rows].where(ragged, run.initial[name]) for name, v in run.states.items()}

    names = padded.layers["l0"].states
    h_0, *c_0 = [torch.stack([begins(layer)[name] for layer in padded.layers]).detach() for name in names]
    run = textbook(
        problem.cell, module.state_dict(), problem.input(), initial=(h_0, c_0[0]) if c_0 else h_0, lengths=lengths
    )
    assert_same(
        {adjoint.name: adjoint for adjoint in call.adjoints()}, true_adjoints(run, (run.output * weights).sum()), EXACT
    )
    for trace in call.traces():
        assert torch.equal(trace.lengths, lengths)
        for name, values in trace.states.items():
            assert apart(values, run.layers[trace.name].states[name], 1) < EXACT
            assert apart(trace.initial[name], run.layers[trace.name].initial[name], 1) < EXACT


def test_what_the_loss_reads_after_an_end_is_felt_at_the_end_since_the_model_ran_on() -> None:
    problem, lengths = Problem("lstm"), torch.tensor([7, 4, 1])
    call, run = call_of(problem, "last step", lengths=lengths), problem.unrolled()
    valid = torch.arange(7)[:, None] < lengths
    truth = true_adjoints(run, LOSSES["last step"](run.output, run.states, run.lengths))["l0"]["total"]
    (adjoint,) = call.adjoints()
    for name, values in adjoint.total.items():
        assert apart(values, truth[name] * valid[..., None], 1) < EXACT
    assert not call.mixes_lags
    assert call.reads_the_end("forward")


def test_lengths_that_do_not_fit_are_refused_in_a_sentence() -> None:
    call = call_of(Problem("gru"), "last step", lengths=torch.tensor([7, 4]))
    with pytest.raises(InputError, match=r"given as \[7, 4\], and there are 3 sequences"):
        list(call.traces())


def _weights_of_every_step(output: Tensor) -> Tensor:
    """dL/d output of the loss `every step`."""
    leaf = output.detach().clone().requires_grad_()
    steps = torch.full((output.shape[1],), output.shape[0])
    (weights,) = torch.autograd.grad(LOSSES["every step"](leaf, leaf, steps), leaf)
    return weights
