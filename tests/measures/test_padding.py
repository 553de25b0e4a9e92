"""Constant tails: which are taken for padding, and which are not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.measures import MEASURES
from gatescope.measures.padding import Padding, padding


def padded(lengths: list[int], steps: int = 40, value: float = 0.0) -> torch.Tensor:
    x = torch.randn(steps, len(lengths), 2)
    for sequence, length in enumerate(lengths):
        x[length:, sequence] = value
    return x


def test_it_is_listed_among_the_measures() -> None:
    assert Padding in MEASURES


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_padded_batch_gives_its_lengths_back(value: float) -> None:
    found = padding(padded([40, 31, 12, 37, 1], value=value))
    assert found.lengths.tolist() == [40, 31, 12, 37, 1]
    assert (found.padded, found.n, found.steps) == (4, 5, 40)


def test_the_arrays_of_numpy_and_tokens_do_as_well() -> None:
    x = padded([40, 31, 12])
    assert padding(x.numpy()).lengths.tolist() == [40, 31, 12]
    tokens = torch.randint(1, 100, (40, 3, 1))
    tokens[22:, 1] = 0
    assert padding(tokens).lengths.tolist() == [40, 22, 40]


def test_ends_that_are_all_of_one_length_belong_to_the_task() -> None:
    assert padding(padded([31, 31, 31])).padded == 0
    assert padding(padded([31])).padded == 0
    assert padding(padded([31, 31, 30])).padded == 3


def test_a_constant_sequence_is_no_padding() -> None:
    assert padding(torch.ones(40, 3, 2)).padded == 0
    x = padded([40, 25, 40])
    x[:, 0] = 1.0
    assert padding(x).lengths.tolist() == [40, 25, 40]
    x = padded([40, 31, 31])
    x[:, 0] = 0.0
    assert padding(x).padded == 0  # all that ever change are alike


@pytest.mark.parametrize(("steps", "least"), [(20, 3), (60, 3), (61, 4), (200, 10)])
def test_a_tail_is_at_least_three_steps_and_a_twentieth_of_all(steps: int, least: int) -> None:
    assert padding(padded([steps, steps - least], steps)).padded == 1
    assert padding(padded([steps, steps - least + 1], steps)).padded == 0


def bits() -> torch.Tensor:
    return nn.functional.one_hot(torch.randint(2, (20, 32)), 2).float()


def tokens() -> torch.Tensor:
    return torch.randint(9, (40, 12, 1))


def held_notes() -> torch.Tensor:
    """Each of 88 notes, held for five steps on average."""
    change = torch.rand(100, 16, 1) < 0.2
    return (torch.randint(88, (100, 16, 1)) * change).cummax(0).values + change.cumsum(0) * 100


@pytest.mark.parametrize("coarse", [bits, tokens, held_notes])
def test_inputs_that_often_repeat_themselves_are_no_padding(coarse: Callable[[], torch.Tensor]) -> None:
    alarms = sum(padding(coarse()).padded > 0 for _ in range(200))
    assert alarms <= 8  # two are expected, of independent steps


def test_coarse_inputs_that_are_padded_are_seen_to_be() -> None:
    x = tokens()
    for sequence in range(12):
        x[40 - 3 * sequence :, sequence] = 0
    found = padding(x)
    assert found.padded >= 10
    assert found.lengths[11] == 7


def test_every_feature_is_to_be_still() -> None:
    x = padded([40, 25])
    x[30:, 1, 1] = torch.randn(10)
    assert padding(x).padded == 0


def test_steps_that_are_alike_before_the_end_are_none_of_it() -> None:
    x = padded([40, 35])
    x[10:20, 1] = 0.0  # the value of the padding, and other steps after it
    assert padding(x).lengths.tolist() == [40, 35]


def test_the_frame_is_tidy() -> None:
    frame = padding(padded([40, 31, 12])).to_frame()
    assert list(frame.columns) == ["measure", "quantity", "sequence", "value", "unit"]
    assert frame["value"].tolist() == [40, 31, 12]
    assert np.array_equal(frame["sequence"], [0, 1, 2])
