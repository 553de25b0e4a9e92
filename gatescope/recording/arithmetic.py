"""The arithmetic in which a kernel ran, and the one in which its gates are replayed."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..dynamics.replay import TOLERANCE


@dataclass(frozen=True)
class Arithmetic:
    """How a kernel rounded."""

    kernel: torch.dtype
    """The dtype in which it multiplied."""
    device: str
    autocast: bool = False
    tf32: bool = False
    replayed_in: torch.dtype | None = None
    """The dtype of the trace, where somebody chose it."""

    @property
    def trace(self) -> torch.dtype:
        """The dtype of the trace: the kernel's, but never less than float32, if nobody chose another."""
        return self.replayed_in or (torch.float64 if self.kernel == torch.float64 else torch.float32)

    @property
    def tolerance(self) -> float:
        """The largest residual that this arithmetic can excuse."""
        return TOLERANCE[torch.float16 if self.tf32 else self.kernel]

    def rounded(self, values: Tensor) -> Tensor:
        """The numbers that the kernel read, in the dtype of the trace."""
        return values.to(self.kernel).to(self.trace)

    def again(self) -> AbstractContextManager[object]:
        """A context in which the kernel, run again, rounds as it did."""
        return torch.autocast(self.device, dtype=self.kernel if self.autocast else None, enabled=self.autocast)


def arithmetic_of(output: Tensor) -> Arithmetic:
    """The arithmetic behind an output, judged at the moment at which it comes out."""
    device, dtype = output.device.type, output.dtype
    autocast = torch.is_autocast_enabled(device) and dtype != torch.float64
    if autocast:
        dtype = torch.get_autocast_dtype(device)
    return Arithmetic(dtype, device, autocast, tf32=device == "cuda" and dtype == torch.float32 and _tf32_allowed())


def _tf32_allowed() -> bool:
    try:
        return torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:  # torch's way to say that its new and its old settings for this were mixed
        return True
