"""Remedies where there is little to compare: nothing is refused without words, and nothing helps by accident."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gatescope.errors import InputError
from gatescope.recording import linearised
from gatescope.remedies.remedies import remedies
from remedies.models import Model, data, last_output, mse, one, read_h_n


def test_a_direction_whose_end_is_not_read_is_left_out() -> None:
    model, (x, y) = Model(nn.LSTM(3, 8, bidirectional=True)), data()
    found = remedies(model, x, y, mse, lag=10)
    assert {r.layer for r in found.remedies} == {"encoder.l0"}
    assert any(why.startswith("encoder.l0_reverse") and "does not read" in why for why in found.left_out)
    assert {length.layer for length in found.truncation} == {"encoder.l0"}


def test_a_loss_at_every_step_is_compared_source_by_source() -> None:
    x, y = torch.randn(40, 8, 3), torch.randn(40, 8, 8)

    def every_step(output: tuple[Tensor, Any], y: Tensor) -> Tensor:
        return mse(output[0], y)

    found = remedies(nn.LSTM(3, 8, bidirectional=False), x, y, every_step, lag=10)
    assert found.best("l0") is not None
    assert found.truncation[0].loss == "every_step, of the last step that it reads alone"


def test_a_loss_that_does_not_reach_the_layer_leaves_nothing_to_compare() -> None:
    class Cut(Model):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(x)[0].detach()[-1])

    found = remedies(Cut(nn.LSTM(3, 8)), *data(), mse)
    assert not found.remedies
    assert any("no gradient" in why for why in found.left_out)
    assert "No change" in found.sentence("encoder.l0")


def test_a_lag_that_the_data_do_not_have_cannot_be_compared_and_says_so() -> None:
    found = remedies(nn.LSTM(3, 8), torch.randn(20, 8, 3), torch.randn(8, 8), last_output, lag=50)
    assert found.best("l0") is None
    for r in found.remedies:
        assert not r.tells
        assert math.isnan(r.difference.mean)
        assert "cannot be compared" in str(r)


def test_fewer_than_eight_sequences_help_nobody() -> None:
    found = remedies(nn.LSTM(3, 8), torch.randn(20, 4, 3), torch.randn(4, 8), last_output)
    assert found.best("l0") is None
    assert found.remedies
    assert all(r.abstains and r.horizon is None for r in found.remedies)
    assert "too little data" in str(found.remedies[0])


def test_a_gradient_that_is_cut_cannot_be_compared() -> None:
    """The relu of the identity network dies in most sequences; over the lag of 199 there is no number to compare."""
    found = one(remedies(nn.RNN(3, 32, nonlinearity="relu"), lag=199), "identity")
    assert not found.compares
    assert not found.helps
    assert "cut" in str(found)


def test_padded_sequences_are_compared_at_a_lag_that_enough_have() -> None:
    lengths = torch.tensor([30] * 8 + [2] * 4)
    found = remedies(nn.LSTM(3, 8), torch.randn(30, 12, 3), torch.randn(12, 8), read_h_n, lengths=lengths)
    for r in found.remedies:
        assert r.lag == 29
        assert r.difference.n == 8


def test_more_sequences_than_fit_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.LSTM(3, 8, dtype=torch.float64)
    x, y = torch.randn(20, 10, 3, dtype=torch.float64), torch.randn(10, 8, dtype=torch.float64)
    at_once = remedies(module, x, y, last_output, lag=10)
    monkeypatch.setattr(linearised, "MEMORY", 3 * 8 * 20 * (3 + 16 * 8))
    in_turn = remedies(module, x, y, last_output, lag=10)
    assert [length.n for length in in_turn.truncation] == [3, 3]  # of the first sequences, and it says so
    for few, many in zip(in_turn.remedies, at_once.remedies, strict=True):
        assert few.difference.n == 10
        assert few.difference.mean == pytest.approx(many.difference.mean, rel=1e-12)


@pytest.mark.parametrize("lag", [0, -3])
def test_a_lag_below_one_is_refused(lag: int) -> None:
    with pytest.raises(InputError, match="1 or more"):
        remedies(nn.LSTM(3, 8), lag=lag)


def test_a_loss_without_data_is_refused() -> None:
    with pytest.raises(InputError, match="without data"):
        remedies(nn.LSTM(3, 8), loss=mse)
