"""Growth of directions against products of matrices that are small enough to write down."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gatescope.dynamics.growth import grow, random_directions


def factors(number: int, size: int) -> Tensor:
    return torch.randn(number, size, size, dtype=torch.float64)


@pytest.mark.parametrize("t_ons", [1, 2, 3])
def test_growth_of_all_directions_is_that_of_the_whole_product(t_ons: int) -> None:
    """|R| of the QR decomposition of the product, however often it is taken in between."""
    matrices, first = factors(5, 3), torch.eye(3, dtype=torch.float64)[None]
    found = grow(lambda t, q: q @ matrices[t].mT, first, 5, t_ons=t_ons)
    product = matrices[4] @ matrices[3] @ matrices[2] @ matrices[1] @ matrices[0]
    wanted = torch.linalg.qr(product)[1].diagonal().abs().log()
    assert found.logs.sum(0)[0] == pytest.approx(wanted.numpy(), abs=1e-12)
    assert found.ends.tolist() == {1: [1, 2, 3, 4, 5], 2: [2, 4, 5], 3: [3, 5]}[t_ons]
    assert not found.lost.any()


def test_warm_up_turns_the_directions_and_is_not_kept() -> None:
    matrices, first = factors(5, 3), torch.eye(3, dtype=torch.float64)[None]
    whole = grow(lambda t, q: q @ matrices[t].mT, first, 5)
    late = grow(lambda t, q: q @ matrices[t].mT, first, 5, warm_up=3, t_ons=4)
    assert late.ends.tolist() == [2]
    assert late.logs[0] == pytest.approx(whole.logs[3:].sum(0), abs=1e-12)


def test_a_direction_of_which_nothing_is_left_is_lost_and_the_others_are_not() -> None:
    projection = torch.tensor([2.0, 1.0, 1e-30], dtype=torch.float64).diag()
    found = grow(lambda _, q: q @ projection, random_directions(3, 3)[None], 4)
    assert found.lost[:, 0].tolist() == [[False, False, True]] * 4


def test_random_directions_are_orthonormal_and_the_same_for_the_same_seed() -> None:
    found = random_directions(3, 7, seed=1)
    assert (found @ found.mT).numpy() == pytest.approx(np.eye(3), abs=1e-14)
    assert torch.equal(found, random_directions(3, 7, seed=1))
    assert not torch.equal(found, random_directions(3, 7, seed=2))
