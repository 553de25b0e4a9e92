"""Maps with more cells than a page shows: the mean of neighbours, and never more than that."""

import numpy as np
import pytest

from gatescope.report.pooling import STEPS, UNITS, cell_of, pooled


def test_what_a_page_can_show_stays_as_it_is() -> None:
    values = np.random.default_rng(0).random((UNITS, STEPS))
    assert pooled(values) is values
    assert cell_of(UNITS, STEPS) == (1, 1)


@pytest.mark.parametrize(("units", "steps"), [(65, 10), (10, 241), (256, 1000), (1024, 10_000), (1, 1)])
def test_a_large_map_becomes_one_that_a_page_can_show(units: int, steps: int) -> None:
    rows, columns = pooled(np.ones((units, steps))).shape
    assert rows <= UNITS
    assert columns <= STEPS


def test_a_cell_is_the_mean_of_its_neighbours() -> None:
    values = np.arange(2 * UNITS, dtype=float)[:, None] * np.ones((1, 3))
    assert pooled(values) == pytest.approx(np.arange(UNITS)[:, None] * 2 + 0.5 * np.ones((1, 3)))
    steps = np.arange(3 * STEPS, dtype=float)[None]
    assert pooled(steps) == pytest.approx(np.arange(STEPS)[None] * 3 + 1)


def test_the_last_cell_holds_what_is_left() -> None:
    values = np.arange(2 * STEPS - 1, dtype=float)[None]
    assert pooled(values)[0, -1] == values[0, -1]


def test_what_is_no_number_is_left_out_of_the_mean() -> None:
    values = np.ones((1, 2 * STEPS))
    values[0, 0] = np.nan
    values[0, 2:4] = np.nan
    assert pooled(values)[0, 0] == 1
    assert np.isnan(pooled(values)[0, 1])
