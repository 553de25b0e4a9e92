"""An excerpt holds a few sequences of a trace, within its budget, and says what it left out."""

import numpy as np
import pytest
import torch
from torch import nn

import gatescope as gs
from gatescope.analysis.excerpt import excerpt

ROUNDED = 2.0**-11  # of float16


def trace_of(module: nn.RNNBase, x: torch.Tensor, lengths: list[int] | None = None) -> gs.Trace:
    given = x
    if lengths is not None:
        given = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    with torch.no_grad(), gs.Recorder(module) as rec:
        module(given)
    return rec.traces["l0"]


def test_it_shows_the_numbers_of_the_trace_to_eleven_bits() -> None:
    trace = trace_of(nn.LSTM(3, 4), torch.randn(10, 5, 3))
    shown = excerpt(trace, [3, 0])
    assert shown.sequences == (3, 0)
    for name, values in {**shown.gates, **shown.states}.items():
        truth = {**trace.gates, **trace.states}[name][:, [3, 0]].transpose(0, 1).numpy()
        assert values.dtype == np.float16
        assert np.allclose(values, truth, rtol=ROUNDED, atol=1e-6)
    assert np.allclose(shown.x, trace.x[:, [3, 0]].transpose(0, 1).numpy(), rtol=ROUNDED, atol=1e-6)
    assert shown.reductions == ("2 of 5 sequences: 3, 0", "numbers rounded to float16 (11 bits, a relative 5e-04)")


def test_after_a_sequences_end_there_is_nothing() -> None:
    trace = trace_of(nn.GRU(3, 4), torch.randn(10, 3, 3), [10, 4, 7])
    shown = excerpt(trace, [1, 2])
    assert shown.lengths.tolist() == [4, 7]
    assert shown.gates["z"].shape == (2, 7, 4)
    assert np.isnan(shown.gates["z"][0, 4:]).all()
    assert np.isfinite(shown.gates["z"][0, :4]).all()


@pytest.mark.parametrize("steps", [1000, 1003])
def test_what_does_not_fit_is_binned_in_time_and_it_says_so(steps: int) -> None:
    trace = trace_of(nn.LSTM(3, 4), torch.randn(steps, 1, 3))
    shown = excerpt(trace, [0], budget=10_000)
    stored = sum(v.nbytes for v in (*shown.gates.values(), *shown.states.values(), shown.x))
    assert 5_000 < stored <= 10_000
    assert f"means over bins of {shown.bin} of {steps} steps" in shown.reductions
    first = trace.gates["f"][: shown.bin, 0].mean(0).numpy()
    last = trace.gates["f"][(steps - 1) // shown.bin * shown.bin :, 0].mean(0).numpy()
    assert np.allclose(shown.gates["f"][0, 0], first, rtol=ROUNDED)
    assert np.allclose(shown.gates["f"][0, -1], last, rtol=ROUNDED)


def test_of_very_wide_inputs_the_first_features_are_shown() -> None:
    shown = excerpt(trace_of(nn.GRU(500, 2), torch.randn(4, 1, 500)), [0])
    assert shown.x.shape == (1, 4, 8)
    assert "the first 8 of 500 input features" in shown.reductions


def test_sequences_that_are_not_there_are_left_out() -> None:
    trace = trace_of(nn.GRU(3, 4), torch.randn(4, 1, 3))
    assert excerpt(trace, [0, 1]).sequences == (0,)
