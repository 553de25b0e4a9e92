"""What replay does where the memory that it scans drifts from the kernel's, and what it costs in memory."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import gatescope as gs


def long_memory(dtype: torch.dtype, *, bidirectional: bool = False) -> nn.LSTM:
    """An LSTM that forgets 1 in 400 per step, so that what its kernel rounds away adds up."""
    lstm = nn.LSTM(16, 32, bidirectional=bidirectional)
    with torch.no_grad():
        for suffix in ("l0", "l0_reverse")[: 1 + bidirectional]:
            getattr(lstm, f"bias_ih_{suffix}")[32:64] += 6
    return lstm.to(dtype)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_where_the_scan_drifts_the_users_own_kernel_says_what_c_was(dtype: torch.dtype, bidirectional: bool) -> None:
    lstm = long_memory(dtype, bidirectional=bidirectional)
    x = torch.randn(300, 2, 16).to(dtype)
    with gs.Recorder(lstm) as rec:
        _, (_, c_n) = lstm(x)
    for k, trace in enumerate(rec.traces.values()):
        assert trace.method == "stepwise"
        assert trace.residual < 1e-2
        last = trace.in_processing_order(trace.states["c"])[-1]
        torch.testing.assert_close(last, c_n[k].detach().float(), rtol=0, atol=1e-2 * float(c_n[k].abs().max()))


def test_where_it_does_not_drift_replay_is_enough() -> None:
    lstm = long_memory(torch.float32)
    with gs.Recorder(lstm) as rec:
        lstm(torch.randn(300, 2, 16))
    assert rec.traces["l0"].method == "replay"
    assert rec.traces["l0"].residual < 1e-4


def test_the_residual_is_the_largest_difference_over_the_largest_h() -> None:
    """A kernel of another network: its h differs from ours by what the residual says."""

    class Nudged(nn.RNN):
        def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            output, h_n = super().forward(*args)
            return output * (1 + 1e-5), h_n * (1 + 1e-5)

    rnn = Nudged(3, 4)
    with torch.no_grad():
        rnn.weight_hh_l0.zero_()
    with gs.Recorder(rnn) as rec:
        rnn(torch.randn(50, 2, 3))
    assert rec.traces["l0"].residual == pytest.approx(1e-5, rel=0.05)


PEAK = """
import gc, re
import torch
from torch import nn
import gatescope as gs

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

def recorded(x):
    with gs.Recorder(module) as rec:
        output = module(x)
    return output, rec.traces["l0"]

torch.set_num_threads(1)
module, x = nn.{kind}(128, 256), torch.randn(400, 32, 128)
with torch.no_grad():
    recorded(x[:2])
    gc.collect()
    before = memory("VmRSS")
    kept = {work}(x)
peak = memory("VmHWM") - before
arrays = [] if "{work}" == "module" else [kept[1].x, *kept[1].gates.values(), *kept[1].states.values()]
print(peak, sum(a.numel() * a.element_size() for a in arrays))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc, which Linux alone has")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_the_peak_of_memory_is_one_and_a_half_times_the_arrays_returned(kind: str) -> None:
    def measured(work: str) -> tuple[int, int]:
        script = PEAK.format(kind=kind, work=work)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
        peak, returned = map(int, done.stdout.split())
        return peak, returned

    peak, returned = measured("recorded")
    own, _ = measured("module")
    assert peak > 0.9 * returned  # the arrays themselves are seen
    assert peak - own <= 1.5 * returned
