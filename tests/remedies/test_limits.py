"""Truncation lengths against a loop with a real detach, clip thresholds against the gradient of each sequence."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.measures.gradient_norms import gradient_norms
from gatescope.remedies.limits import clip_thresholds
from gatescope.remedies.remedies import remedies
from remedies.models import last_output


def test_the_truncation_length_is_the_first_whose_gradient_is_near_enough() -> None:
    """Against a loop in which the state is detached K steps before the end."""
    cell = nn.LSTMCell(3, 6, dtype=torch.float64)
    module = nn.LSTM(3, 6, dtype=torch.float64)
    module.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x, y = torch.randn(20, 8, 3, dtype=torch.float64), torch.randn(8, 6, dtype=torch.float64)

    def gradient(steps: int) -> Tensor:
        state = (torch.zeros(8, 6, dtype=torch.float64),) * 2
        for step, x_t in enumerate(x):
            if step == len(x) - steps:
                state = tuple(one.detach() for one in state)
            state = cell(x_t, state)
        grads = torch.autograd.grad((state[0] * y).sum(), list(cell.parameters()))
        return torch.cat([grad.flatten() for grad in grads])

    whole = gradient(20)
    bias = [1.0] + [float((gradient(k) - whole).norm() / whole.norm()) for k in range(1, 21)]
    for length in remedies(module, x, y, last_output).truncation:
        assert length.steps == next(k for k, one in enumerate(bias) if one <= length.bias)
        assert length.longest == 20
        assert f"{length.steps} of 20 steps" in str(length)


def test_a_loss_at_every_step_is_truncated_as_if_it_read_the_last_alone() -> None:
    module, x, y = nn.GRU(3, 6), torch.randn(20, 8, 3), torch.randn(20, 8, 6)

    def every_step(output: tuple[Tensor, Any], y: Tensor) -> Tensor:
        return (output[0] * y).sum()

    whole = remedies(module, x, y, every_step).truncation
    last = remedies(module, x, y[-1], last_output).truncation
    assert [length.steps for length in whole] == [length.steps for length in last]
    assert {length.loss for length in whole} == {"every_step, of the last step that it reads alone"}


def test_clip_thresholds_come_from_the_gradient_of_each_sequence() -> None:
    module = nn.LSTM(3, 6, dtype=torch.float64)
    x, y = torch.randn(15, 10, 3, dtype=torch.float64), torch.randn(10, 6, dtype=torch.float64)
    norms = []
    for b in range(10):
        loss = last_output(module(x[:, b : b + 1]), y[b : b + 1])
        grads = torch.autograd.grad(loss, list(module.parameters()))
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))
    (found,) = remedies(module, x, y, last_output).norms
    for clip in clip_thresholds(found):
        assert clip.threshold == pytest.approx(clip.times_mean * np.mean(norms), rel=1e-9)
        assert clip.touched == np.mean(np.array(norms) > clip.threshold)
        assert clip.below_median == (clip.threshold < np.median(norms))
        assert ("below the median" in str(clip)) == clip.below_median


def test_clipping_is_not_said_of_a_random_readout_or_of_no_gradient() -> None:
    found = remedies(nn.LSTM(3, 8), torch.randn(20, 8, 3))
    assert not found.norms
    assert any(why.startswith("clipping: ") for why in found.left_out)
    assert clip_thresholds(gradient_norms([0.0, 0.0], of="nothing")) == ()
    assert clip_thresholds(gradient_norms([math.nan], of="nothing")) == ()
