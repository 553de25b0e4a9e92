"""What the benchmark compares is the same curve, by whichever way it is found."""

import pytest
import torch
from click.testing import CliRunner

from gatescope.bench import __main__ as bench
from gatescope.bench import lag_curve, recording
from gatescope.bench.timing import geometric_mean, median_ratio


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_the_naive_way_and_ours_find_the_same_curve(dtype: torch.dtype, tolerance: float) -> None:
    """To the rounding of 40 steps; in float64 the network itself runs in float64, for ours goes along what it did."""
    network = lag_curve.Network.of_size(40, 3, 5, 8)
    lags = [1, 2, 13, 39, 40]
    network.lstm.to(dtype)
    network = lag_curve.Network(network.lstm, network.x.to(dtype), network.felt)
    ours = torch.from_numpy(lag_curve.every_lag(network, dtype).log_norm["pair"][:, lags].copy())
    torch.testing.assert_close(ours, lag_curve.naive_curve(network, lags, dtype), rtol=0, atol=tolerance)


def test_the_naive_way_may_start_from_the_very_first_state() -> None:
    network = lag_curve.Network.of_size(6, 2, 3, 4)
    assert lag_curve.naive_curve(network, [6], torch.float64).isfinite().all()


def test_a_training_step_leaves_no_gradient_behind() -> None:
    network = lag_curve.Network.of_size(6, 2, 3, 4)
    lag_curve.training_step(network)
    assert all(weight.grad is None for weight in network.lstm.parameters())


def test_the_benchmark_prints_its_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "SIZES", ((5, 2, 3, 4),))
    monkeypatch.setattr(lag_curve, "SIZE", (20, 2, 3, 4))
    shown = CliRunner().invoke(bench.main, ["--repeats", "1"], catch_exceptions=False)
    assert shown.exit_code == 0
    for said in ("geometric mean", "swept in float32", "swept in float64", "the naive loop with 20 windows"):
        assert said in shown.output


def test_ratios_are_taken_pair_by_pair() -> None:
    assert median_ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
