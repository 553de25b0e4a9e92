"""The gradients that arrive at a module's outputs, caught as autograd passes them, and added up as `.grad` would be."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle


class Felt:
    """What the loss has sent back to some named outputs so far."""

    def __init__(self) -> None:
        self._gradients: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def listen(self, name: str, output: Tensor) -> None:
        """Catches every gradient with respect to `output` from now on."""
        if output.requires_grad:
            handle: RemovableHandle = output.register_hook(self._catching(name))  # type: ignore[no-untyped-call]
            self._handles.append(handle)

    def stop(self) -> None:
        """Takes the hooks off the outputs."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __bool__(self) -> bool:
        return bool(self._gradients)

    def get(self, name: str) -> Tensor | None:
        """dL/d output, in the output's own layout; None where no gradient came."""
        return self._gradients.get(name)

    def _catching(self, name: str) -> Callable[[Tensor | None], None]:
        def catch(gradient: Tensor | None) -> None:
            if gradient is None:  # autograd's way to say zero
                return
            with torch.no_grad():
                before = self._gradients.get(name)
                now = gradient.detach().clone()
                self._gradients[name] = now if before is None else before + now

        return catch
