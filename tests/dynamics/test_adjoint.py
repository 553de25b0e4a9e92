"""What the sweep keeps, and what it does with what arrives at ends that differ."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import gatescope as gs
from gatescope.dynamics.adjoint import Arriving, sweep
from gatescope.dynamics.blocks import blocks
from gatescope.trace import Adjoint, Trace


def recorded(module: nn.Module, x: torch.Tensor) -> Trace:
    with torch.no_grad(), gs.Recorder(module) as rec:
        module(x)
    (trace,) = rec.traces.values()
    return trace


def tensors(adjoint: Adjoint) -> dict[tuple[str, str], torch.Tensor]:
    return {(kind, name): v for kind, named in adjoint.normalised.items() for name, v in named.items()}


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_without_the_preactivations_the_states_felt_the_same(kind: str) -> None:
    module = getattr(nn, kind)(3, 4, dtype=torch.float64)
    trace = recorded(module, torch.randn(9, 2, 3, dtype=torch.float64))
    arriving = Arriving(at_end={"h": torch.randn(2, 4, dtype=torch.float64)})
    whole, states = sweep(trace, arriving), sweep(trace, arriving, preactivations=False)
    assert states.normalised["preactivations"] == {}
    assert torch.equal(whole.log_scale, states.log_scale)
    for key, values in tensors(states).items():
        assert torch.equal(values, tensors(whole)[key])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_time_that_is_worked_through_in_stretches_is_one_time(kind: str) -> None:
    """The gradient at the initial state has gone through every stretch; torch's own kernel says what it is."""
    module = getattr(nn, kind)(3, 64, dtype=torch.float64)
    x, states = torch.randn(400, 16, 3, dtype=torch.float64), torch.randn(2, 1, 16, 64, dtype=torch.float64)
    leaves = [state.clone().requires_grad_() for state in (states if kind == "LSTM" else states[:1])]
    felt = 1e6 * torch.randn(16, 64, dtype=torch.float64)
    with gs.Recorder(module) as rec:
        output, _ = module(x, tuple(leaves) if kind == "LSTM" else leaves[0])
    trace = rec.traces["l0"]
    assert len(blocks(trace.layer, trace.x)) > 1
    truth = torch.autograd.grad(output[-1], leaves, felt)
    ours = sweep(trace, Arriving(at_end={"h": felt})).initial
    for name, gradient in zip(trace.layer.cell.states, truth, strict=True):
        torch.testing.assert_close(ours[name], gradient[0], rtol=0, atol=1e-9 * float(gradient.abs().max()))


def test_what_is_infinite_at_one_sequences_end_does_not_reach_another_sequence() -> None:
    """Each sequence ends at a step of its own, where the others go on."""
    lstm = nn.LSTM(3, 4, dtype=torch.float64)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(7, 3, 3, dtype=torch.float64), torch.tensor([7, 5, 2]))
    trace = recorded(lstm, packed)  # type: ignore[arg-type]
    felt = torch.randn(3, 4, dtype=torch.float64)
    clean = sweep(trace, Arriving(at_end={"h": felt}))
    felt[2, 1] = torch.inf
    struck = sweep(trace, Arriving(at_end={"h": felt}))
    for key, values in tensors(struck).items():
        assert torch.equal(values[:, :2], tensors(clean)[key][:, :2])
    assert torch.equal(struck.log_scale[:, :2], clean.log_scale[:, :2])
    assert struck.normalised["state"]["h"][1, 2, 1] == torch.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_that_shrinks_below_the_root_of_the_smallest_number_is_followed(dtype: torch.dtype) -> None:
    """Where the square of every entry underflows, the norm is still that of the entries."""
    shrinking = torch.finfo(dtype).tiny ** 0.75
    rnn = nn.RNN(2, 4, nonlinearity="relu", dtype=dtype)
    with torch.no_grad():
        for weight in rnn.parameters():
            weight.fill_(1.0)
        rnn.weight_hh_l0.copy_(shrinking * torch.eye(4, dtype=dtype))
    trace = recorded(rnn, torch.ones(1000, 2, 2, dtype=dtype))
    adjoint = sweep(trace, Arriving(at_end={"h": torch.ones(2, 4, dtype=dtype)}))
    lag = torch.arange(1000, dtype=torch.float64).flip(0)[:, None]
    expected = lag * rnn.weight_hh_l0[0, 0].double().log() + torch.tensor(2.0).double().log()
    torch.testing.assert_close(adjoint.log_norm("h"), expected.expand(-1, 2), rtol=1e-6, atol=1e-5)


PEAK = """
import re
import torch
from torch import nn
import gatescope as gs
from gatescope.dynamics.adjoint import Arriving, sweep

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

torch.set_num_threads(1)
module, x, felt = nn.{kind}(128, 256), torch.randn(400, 32, 128), torch.ones(32, 256)
def recorded(x):
    with torch.no_grad(), gs.Recorder(module) as rec:
        module(x)
    return rec.traces["l0"]
sweep(recorded(x[:2]), Arriving(at_end={{"h": felt}}))
trace = recorded(x)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
adjoint = sweep(trace, Arriving(at_end={{"h": felt}}))
arrays = {{v.data_ptr(): v.numel() * v.element_size() for of in adjoint.normalised.values() for v in of.values()}}
print(memory("VmHWM") - before, sum(arrays.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc, which Linux alone has")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_the_peak_of_memory_is_little_more_than_the_adjoints_kept(kind: str) -> None:
    script = PEAK.format(kind=kind)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    peak, kept = map(int, done.stdout.split())
    assert peak <= 1.2 * kept + (16 << 20)  # beside the arrays, some stretches of time and torch's own
