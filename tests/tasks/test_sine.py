"""The sine task: what is known about it before training, against closed forms and predictors written out here."""

import math

import pytest
import torch

from gatescope.errors import InputError
from gatescope.tasks import TASKS, sine

OMEGA = 2 * math.pi / 50


def mean_squared(errors: torch.Tensor) -> float:
    return float(errors.square().mean())


def test_sine_is_listed_among_the_tasks() -> None:
    assert sine in TASKS


def test_each_window_is_followed_by_its_target() -> None:
    task = sine(points=60, window=20)
    assert task.x.shape == (40, 20, 1)
    assert task.y.shape == (40, 1)
    assert task.lengths.tolist() == [20] * 40
    torch.testing.assert_close(task.y[:-1, 0], task.x[1:, -1, 0], rtol=0, atol=0)
    torch.testing.assert_close(task.x[0, :, 0], torch.sin(OMEGA * torch.arange(20.0)), rtol=0, atol=1e-6)


def test_repeating_the_last_value_errs_by_one_minus_cos_omega() -> None:
    task = sine(dtype=torch.float64)
    assert len(task) == 980
    persistence = mean_squared(task.x[:, -1] - task.y)
    assert 1 - math.cos(OMEGA) == pytest.approx(0.0078853, abs=5e-8)
    assert persistence == pytest.approx(0.0079094, abs=5e-8)  # 980 windows are not a whole number of periods
    assert persistence == pytest.approx(1 - math.cos(OMEGA), rel=0.02)


def test_two_values_foretell_the_next_one_exactly() -> None:
    task = sine(dtype=torch.float64)
    foretold = 2 * math.cos(OMEGA) * task.x[:, -1] - task.x[:, -2]
    assert mean_squared(foretold - task.y) < 1e-10
    assert task.needed_lag == 1
    assert task.bayes == pytest.approx(0, abs=1e-12)


def test_one_value_leaves_half_sin_squared_omega() -> None:
    task = sine(window=1, dtype=torch.float64)
    assert task.bayes == pytest.approx(math.sin(OMEGA) ** 2 / 2, rel=1e-12)
    assert task.bayes == pytest.approx(0.0078542, abs=5e-8)
    assert mean_squared(math.cos(OMEGA) * task.x[:, -1] - task.y) == pytest.approx(task.bayes, rel=0.05)
    assert task.needed_lag == 0


def test_noise_makes_the_exact_recurrence_of_two_values_a_poor_predictor() -> None:
    task = sine(noise=0.1, points=100_000, dtype=torch.float64)
    foretold = 2 * math.cos(OMEGA) * task.x[:, -1] - task.x[:, -2]
    closed_form = 0.1**2 * (2 + 4 * math.cos(OMEGA) ** 2)
    assert closed_form == pytest.approx(0.05937, abs=5e-6)
    assert mean_squared(foretold - task.y) == pytest.approx(closed_form, rel=0.02)


@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_with_noise_the_best_linear_error_is_what_least_squares_finds(window: int) -> None:
    task = sine(noise=0.3, points=100_000, window=window, dtype=torch.float64)
    x, y = task.x[:, :, 0], task.y
    residual = y - x @ torch.linalg.lstsq(x, y).solution
    assert mean_squared(residual) == pytest.approx(task.bayes, rel=0.02)


def test_with_noise_a_longer_window_pays_and_every_step_of_it_is_needed() -> None:
    errors = [sine(noise=0.1, window=window).bayes for window in (1, 2, 5, 10, 20, 50)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0.1**2
    assert sine(noise=0.1, window=20).needed_lag == 19


def test_chance_is_the_error_of_the_best_constant() -> None:
    assert mean_squared(sine(points=1020, dtype=torch.float64).y) == pytest.approx(sine().chance, rel=1e-12)
    noisy = sine(noise=0.5, points=100_000)
    assert mean_squared(noisy.y) == pytest.approx(noisy.chance, rel=0.02)


def test_the_seed_decides_the_noise_and_nothing_else() -> None:
    assert torch.equal(sine(noise=0.1, seed=3).x, sine(noise=0.1, seed=3).x)
    assert not torch.equal(sine(noise=0.1, seed=3).x, sine(noise=0.1, seed=4).x)
    assert torch.equal(sine(seed=3).x, sine(seed=4).x)


def test_a_split_holds_out_the_later_sequences() -> None:
    task = sine(points=120, window=20)
    train, held_out = task.split(0.8)
    assert (len(train), len(held_out)) == (80, 20)
    assert torch.equal(torch.cat([train.x, held_out.x]), task.x)
    assert torch.equal(torch.cat([train.y, held_out.y]), task.y)
    assert held_out.lengths.shape == (20,)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_a_split_with_an_empty_part_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="neither may be empty"):
        sine(points=120).split(share)


@pytest.mark.parametrize(("settings", "words"), [({"window": 1000}, "does not fit"), ({"window": 0}, "does not fit")])
def test_a_window_that_leaves_no_target_is_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sine(**settings)


def test_a_period_faster_than_the_steps_is_refused() -> None:
    with pytest.raises(InputError, match="above 2"):
        sine(period=2)
