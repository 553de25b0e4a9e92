"""One number that must come out, the number that came out, and how far apart they may be; and where this was tried."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ..errors import InputError


@dataclass(frozen=True)
class Check:
    """What must come out and what did; of many numbers, the one that is furthest from what it must be."""

    name: str
    """A sentence, with the closed form where there is one."""
    expected: float
    seen: float
    tolerance: float
    """How far `seen` may be from `expected`, in the unit of both."""
    passed: bool
    problem: str = ""
    """Why there is nothing to compare, where the check could not run."""

    @staticmethod
    def impossible(name: str, error: Exception) -> "Check":
        """A check that failed before it had a number."""
        first_line = next(iter(str(error).splitlines()), "")
        return Check(name, math.nan, math.nan, math.nan, passed=False, problem=f"{type(error).__name__}: {first_line}")


@dataclass(frozen=True)
class Place:
    """A device, and the most exact dtype that it has."""

    device: torch.device
    dtype: torch.dtype

    def within(self, in_float64: float, in_float32: float) -> float:
        """The tolerance that its dtype allows."""
        return in_float64 if self.dtype == torch.float64 else in_float32

    def module(
        self,
        kind: Callable[..., nn.RNNBase],
        features: int,
        units: int,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> nn.RNNBase:
        """A recurrent module whose weights are yet to be filled in; nothing is drawn from anybody's generator."""
        return kind(features, units, dtype=self.dtype, device="meta", **options).to_empty(device=self.device)


def place_on(name: str) -> Place:
    """The place of torch's name, such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        InputError: there is no such device on this machine, or this build of torch cannot use it.
    """
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError, TypeError):  # each backend that is missing has its own way
        there = " or ".join(_devices())
        raise InputError(f"no device {name!r} can be used here; choose {there}") from None
    try:
        torch.ones(1, device=device, dtype=torch.float64).item()
    except (RuntimeError, TypeError):
        return Place(device, torch.float32)
    return Place(device, torch.float64)


def compared(name: str, expected: ArrayLike, seen: ArrayLike, tolerance: float, *, relative: bool = False) -> Check:
    """The check of numbers against what they must be, by the one that is furthest off; what is no number is furthest.

    With `relative`, `tolerance` is a fraction of what must come out.
    """
    wanted, found = (values.astype(float) for values in np.broadcast_arrays(expected, seen))
    allowed = tolerance * np.abs(wanted) if relative else np.full(wanted.shape, tolerance)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(wanted == found, 0.0, np.abs(found - wanted) / allowed)
    worst = np.unravel_index(np.where(np.isnan(excess), np.inf, excess).argmax(), wanted.shape)
    return Check(
        name, float(wanted[worst]), float(found[worst]), float(allowed[worst]), passed=bool((excess <= 1).all())
    )


def _devices() -> list[str]:
    """What torch could use here, by name."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    accelerator, count = torch.accelerator.current_accelerator(), torch.accelerator.device_count()
    assert accelerator is not None
    return ["cpu", *(f"{accelerator.type}:{index}" for index in range(count))]
