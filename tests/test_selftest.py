"""The selftest passes where gatescope is right, and each of its checks fails where gatescope is a little wrong."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gatescope import selftest as room
from gatescope.cells.cell import Cell, Pullback
from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import ReluRNN, TanhRNN
from gatescope.dynamics.scaled import Scaled
from gatescope.errors import InputError
from gatescope.selftest import CHECKS, Check, Place, against_autograd, closed_forms, place_on, selftest
from gatescope.selftest.check import compared
from gatescope.trace import Trace

CPU = Place(torch.device("cpu"), torch.float64)
EVERY = tuple(check.__name__ for check in CHECKS)
AUTOGRAD = tuple(name for name in EVERY if name.startswith("every_"))
STEPS = ("steps_by_themselves", "truncated_gradients", "sources_of_a_loss_at_every_step")
Break = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("check", CHECKS, ids=EVERY)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_every_check_passes_where_gatescope_is_right(check: Callable[[Place], Check], device: str) -> None:
    found = check(place_on(device))
    assert found.passed, found
    assert abs(found.seen - found.expected) <= found.tolerance


def test_on_a_device_without_float64_the_same_passes_in_float32() -> None:
    began = time.process_time()
    checks = list(selftest(Place(torch.device("cpu"), torch.float32)))
    assert time.process_time() - began < 10, "somebody waits for it"
    assert len(checks) == len(CHECKS)
    assert all(check.passed for check in checks), checks
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and len(name) < 90 for name in names), "any terminal is to be able to write them"


def pulled_back(cell: type[Cell], change: Callable[[Pullback, dict[str, Tensor]], Pullback]) -> Break:
    """A cell whose adjoint is changed before it is handed on."""
    right = cell.pull

    def wrong(self: Cell, w: Any, slopes: Any, adjoint: Any) -> Pullback:
        return change(right(self, w, slopes, adjoint), {**slopes, **adjoint})

    return lambda monkeypatch: monkeypatch.setattr(cell, "pull", wrong)


def stronger(back: Pullback, _: dict[str, Tensor]) -> Pullback:
    return Pullback(back.total, (back.affine[0] * 1.01, back.affine[1] * 1.01), back.prev)


def cell_held_whole(back: Pullback, _: dict[str, Tensor]) -> Pullback:
    return Pullback(back.total, back.affine, {**back.prev, "c": back.total["c"] * 0.5})


def leaking(back: Pullback, here: dict[str, Tensor]) -> Pullback:
    return Pullback(back.total, back.affine, {**back.prev, "h": here["h"] * 1e-12})


def let_go_where_it_keeps(back: Pullback, here: dict[str, Tensor]) -> Pullback:
    """The update gate as in papers that write h = (1 − z) h + z n."""
    return Pullback(back.total, back.affine, {**back.prev, "h": here["h"] * (1 - here["h_prev"])})


def the_pair_for_the_total(back: Pullback, here: dict[str, Tensor]) -> Pullback:
    return Pullback({**back.total, "c": here["c"]}, back.affine, back.prev)


def another_reset_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the hidden state does not betray."""
    right = GRU.replay

    def replay(self: GRU, w: Any, affine: Any, h: Any, memory: Any) -> Any:
        gates, state = right(self, w, affine, h, memory)
        return {**gates, "r": gates["r"] * 1.001}, state

    monkeypatch.setattr(GRU, "replay", replay)


def states_after_for_states_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trace, "previous", property(lambda self: dict(self.states)))


def nothing_renormalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scaled, "renormalised", lambda self: self)


def windows_a_step_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    right = closed_forms.fresh_window

    def wrong(model: Any, x: Any, y: Any, loss: Any, windows: list[int], time_dim: int) -> Any:
        return right(model, x[:-1], y, loss, [min(window + 1, 99) for window in windows], time_dim=time_dim)

    monkeypatch.setattr(closed_forms, "fresh_window", wrong)


BROKEN: dict[str, tuple[Break, tuple[str, ...]]] = {
    "a relu RNN's adjoint is one per cent too strong": (
        pulled_back(ReluRNN, stronger),
        (
            "a_linear_rnn",
            "the_start_of_a_window_of_a_scalar_rnn",
            *(name for name in EVERY if "float32" in name),
        ),
    ),
    "a tanh RNN's adjoint is one per cent too strong": (
        pulled_back(TanhRNN, stronger),
        ("a_resting_rnn", "every_adjoint"),
    ),
    "half of the cell's adjoint passes, whatever the forget gate": (
        pulled_back(LSTM, cell_held_whole),
        ("a_forget_gate_alone", "every_adjoint"),
    ),
    "an LSTM's h hands a trace of its adjoint straight on": (
        pulled_back(LSTM, leaking),
        ("a_forget_gate_alone_sends_nothing_through_h",),
    ),
    "the pair's adjoint of c is given for the total": (
        pulled_back(LSTM, the_pair_for_the_total),
        ("every_adjoint",),
    ),
    "a GRU's z lets go": (pulled_back(GRU, let_go_where_it_keeps), ("a_keep_gate_alone", "every_adjoint")),
    "a GRU's r is one per mille off, and its h is right": (another_reset_gate, (*AUTOGRAD, *STEPS)),
    "weights are credited with the states after a step": (
        states_after_for_states_before,
        ("every_weight_gradient", "every_weight_gradient_in_float32", *STEPS),
    ),
    "what is carried back is never renormalised": (nothing_renormalised, ("a_gradient_that_float32_has_lost",)),
    "a window is a step too long": (
        windows_a_step_too_long,
        ("a_window_of_a_scalar_rnn", "the_start_of_a_window_of_a_scalar_rnn"),
    ),
}
"""What could be wrong, and which checks must say so."""


@pytest.mark.parametrize(
    ("broken", "name"), [(broken, name) for broken, (_, names) in BROKEN.items() for name in names]
)
def test_a_check_fails_where_gatescope_is_wrong(broken: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BROKEN[broken][0](monkeypatch)
    check = CHECKS[EVERY.index(name)]
    monkeypatch.setattr(room, "CHECKS", (check,))
    (found,) = selftest(CPU)
    assert not found.passed, found


def test_there_is_a_way_to_be_wrong_that_each_check_sees() -> None:
    assert {name for _, names in BROKEN.values() for name in names} == set(EVERY)


@pytest.mark.parametrize("error", [RuntimeError("no such kernel"), TypeError("no float64"), InputError("no layer")])
def test_a_check_that_cannot_run_has_failed_and_says_why(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def an_unlucky_check(place: Place) -> Check:
        raise error

    monkeypatch.setattr(room, "CHECKS", (an_unlucky_check, closed_forms.a_keep_gate_alone))
    first, second = selftest(CPU)
    assert (first.name, first.passed) == ("an unlucky check", False)
    assert first.problem == f"{type(error).__name__}: {error}"
    assert math.isnan(first.seen)
    assert second.passed


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_it_passes_in_any_mode_and_leaves_it_as_it_was(
    mode: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CHECKS", (closed_forms.a_keep_gate_alone, against_autograd.steps_by_themselves))
    drawn = torch.get_rng_state()
    with mode():
        before = modes()
        seen: Iterator[Check] = selftest(CPU)
        for check in seen:
            assert check.passed, check
            assert modes() == before
    assert torch.equal(torch.get_rng_state(), drawn)


def modes() -> tuple[bool, ...]:
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")


def test_of_many_numbers_the_one_that_is_furthest_off_is_shown() -> None:
    check = compared("three numbers", [1.0, 2.0, 3.0], [1.0, 2.5, 3.1], 0.2)
    assert (check.expected, check.seen, check.tolerance, check.passed) == (2.0, 2.5, 0.2, False)
    assert compared("three numbers", [1.0, 2.0, 3.0], [1.0, 2.5, 3.1], 0.6).passed


def test_a_relative_tolerance_is_a_fraction_of_what_must_come_out() -> None:
    check = compared("two numbers", [1.0, 1000.0], [1.02, 1005.0], 0.01, relative=True)
    assert (check.seen, check.tolerance, check.passed) == (1.02, 0.01, False)
    assert compared("two numbers", [0.0, 1000.0], [0.0, 1005.0], 0.01, relative=True).passed
    assert not compared("two numbers", [0.0, 1000.0], [1e-300, 1005.0], 0.01, relative=True).passed


@pytest.mark.parametrize("seen", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_furthest_off(seen: float) -> None:
    check = compared("two numbers", 0.0, [0.5, seen], 1.0)
    assert not check.passed
    assert not math.isfinite(check.seen)


@pytest.mark.parametrize("name", ["nonsense", "cpu:-1", "", "meta", "hpu", "cuda:99"])
def test_a_device_that_cannot_be_used_is_refused_with_those_that_can(name: str) -> None:
    with pytest.raises(InputError, match=rf"no device '{name}' can be used here; choose cpu"):
        place_on(name)


def test_a_device_without_float64_is_used_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.ones

    def ones(*shape: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
        if dtype == torch.float64:
            raise TypeError("this device has no float64")
        return right(*shape, device=device, dtype=dtype)

    monkeypatch.setattr(torch, "ones", ones)
    assert place_on("cpu").dtype == torch.float32
