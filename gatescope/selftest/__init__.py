"""Whether gatescope's numbers are right on this machine, with this build of torch, on this device.

Small networks whose gradient is known by hand, and others whose gradient autograd takes in a plain loop on the CPU in
float64, are recorded on the device in question and measured. Each check says what must come out and what came out.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..errors import GatescopeError
from .against_autograd import (
    every_adjoint,
    every_adjoint_in_float32,
    every_weight_gradient,
    every_weight_gradient_in_float32,
    sources_of_a_loss_at_every_step,
    steps_by_themselves,
    truncated_gradients,
)
from .check import Check, Place, place_on
from .closed_forms import (
    a_float32_gradient_is_gone,
    a_float32_gradient_leaves_the_normal_numbers,
    a_forget_gate_alone,
    a_forget_gate_alone_sends_nothing_through_h,
    a_gradient_that_float32_has_lost,
    a_keep_gate_alone,
    a_linear_rnn,
    a_resting_rnn,
    a_window_of_a_scalar_rnn,
    the_start_of_a_window_of_a_scalar_rnn,
)

__all__ = ["CHECKS", "Check", "Place", "place_on", "selftest"]

CHECKS: tuple[Callable[[Place], Check], ...] = (
    a_linear_rnn,
    a_resting_rnn,
    a_forget_gate_alone,
    a_forget_gate_alone_sends_nothing_through_h,
    a_keep_gate_alone,
    every_adjoint,
    every_weight_gradient,
    every_adjoint_in_float32,
    every_weight_gradient_in_float32,
    a_window_of_a_scalar_rnn,
    the_start_of_a_window_of_a_scalar_rnn,
    a_float32_gradient_leaves_the_normal_numbers,
    a_float32_gradient_is_gone,
    a_gradient_that_float32_has_lost,
    steps_by_themselves,
    truncated_gradients,
    sources_of_a_loss_at_every_step,
)
"""All of them take a few seconds on one core."""


def selftest(place: Place) -> Iterator[Check]:
    """Each check in its turn, on one device. One that cannot even run has failed, and says why in `problem`."""
    for check in CHECKS:
        with _as_exact_as_can_be(place):
            found = _checked(check, place)
        yield found


def _checked(check: Callable[[Place], Check], place: Place) -> Check:
    try:
        return check(place)
    except (GatescopeError, RuntimeError, TypeError) as error:  # what torch raises where a device lacks something
        return Check.impossible(check.__name__.replace("_", " "), error)


@contextmanager
def _as_exact_as_can_be(place: Place) -> Iterator[None]:
    """With gradients, and without the shortened products (TF32) that CUDA takes by default in float32."""
    exact = torch.autocast(place.device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), exact, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")  # slower, as exact
        if place.device.type != "cuda":
            yield
            return
        products, kernels = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = kernels
