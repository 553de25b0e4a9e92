"""Where states lie, against clouds whose shape is known and against numpy's covariance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.errors import InputError
from gatescope.measures import MEASURES
from gatescope.measures.state_geometry import StateGeometry, state_geometry
from gatescope.recording.recorder import Recorder
from gatescope.trace import Trace
from problems import Problem


def recorded(problem: Problem, name: str = "l0") -> Trace:
    module = problem.module()
    with Recorder(module) as rec:
        problem.call(module)
    return rec.traces[name]


def with_states(h: torch.Tensor) -> Trace:
    """A trace of which somebody has chosen the hidden states."""
    module = nn.RNN(2, h.shape[2], dtype=torch.float64)
    with Recorder(module) as rec:
        module(torch.zeros(*h.shape[:2], 2, dtype=torch.float64))
    return replace(rec.traces["l0"], states={"h": h})


def test_it_is_listed_among_the_measures() -> None:
    assert StateGeometry in MEASURES


@pytest.mark.parametrize(("widths", "ratio"), [((1, 0, 0, 0), 1.0), ((1, 1, 1, 1), 4.0), ((2, 1, 1, 0), 36 / 18)])
def test_the_participation_ratio_counts_the_dimensions_that_are_filled(widths: tuple[int, ...], ratio: float) -> None:
    """Corners of a box: along each axis the variance is the half-width squared, and nothing is correlated."""
    corners = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0]).double() * width for width in widths))
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    found = state_geometry(with_states((corners @ rotation + 0.3).reshape(4, 4, 4))).states["h"]
    assert found.participation_ratio == pytest.approx(ratio, abs=1e-12)
    assert found.variances == pytest.approx(sorted(np.square(widths), reverse=True), abs=1e-12)


@pytest.mark.parametrize("name", ["l0", "l0_reverse"])
def test_only_valid_steps_count_and_the_rest_of_a_path_is_no_number(name: str) -> None:
    problem = replace(Problem("lstm", bidirectional=True, layout="packed-unsorted", batch=3), time=9)
    trace = recorded(problem, name)
    found = state_geometry(trace, components=2)
    assert found.n == problem.lengths().sum()
    for state, geometry in found.states.items():
        values = np.concatenate(
            [trace.states[state][:length, b].numpy() for b, length in enumerate(problem.lengths().tolist())]
        )
        wanted = np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1]
        assert geometry.variances == pytest.approx(wanted, abs=1e-14)
        assert geometry.mean == pytest.approx(values.mean(0), abs=1e-14)
        assert np.array_equal(np.isnan(geometry.path[..., 0]), ~trace.valid.numpy())
        np.testing.assert_allclose(np.nanvar(geometry.path, (0, 1)), wanted[:2], rtol=0, atol=1e-14)


def test_all_components_of_a_path_give_the_states_back() -> None:
    trace = recorded(Problem("gru"))
    found = state_geometry(trace, components=4).states["h"]
    np.testing.assert_allclose(found.path @ found.components + found.mean, trace.states["h"], rtol=0, atol=1e-14)
    largest = np.take_along_axis(found.components, np.abs(found.components).argmax(1)[:, None], 1)
    assert (largest > 0).all()


def test_states_that_never_move_fill_no_dimension() -> None:
    found = state_geometry(with_states(torch.zeros(3, 2, 4).double())).states["h"]
    assert np.isnan(found.participation_ratio)
    assert np.isnan(found.shares).all()


def test_a_float32_recording_is_measured_in_float64() -> None:
    trace = recorded(Problem("gru", dtype=torch.float32))
    assert state_geometry(trace).states["h"].path.dtype == np.float64


def test_no_component_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="0 components"):
        state_geometry(recorded(Problem("gru")), components=0)


def test_states_that_are_not_finite_are_an_error() -> None:
    states = torch.randn(3, 2, 4, dtype=torch.float64)
    states[1, 0, 2] = torch.inf
    with pytest.raises(InputError, match="inf at step 1 of sequence 0"):
        state_geometry(with_states(states))


def test_nobody_can_change_it() -> None:
    found = state_geometry(recorded(Problem("gru"))).states["h"]
    for values in (found.mean, found.variances, found.components, found.path):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0.0


def test_its_table_is_tidy() -> None:
    problem = Problem("lstm", layout="packed-unsorted", batch=3)
    frame = state_geometry(recorded(problem), components=2).to_frame()
    wanted = ["layer", "direction", "measure", "quantity", "state", "component", "time", "sequence", "value", "unit"]
    assert list(frame.columns) == wanted
    assert len(frame) == 2 * (1 + 4 + 2 * int(problem.lengths().sum()))
    assert not frame["value"].isna().any()
    assert set(frame["state"]) == {"h", "c"}
