"""The gradients that arrive at a module's outputs, caught as autograd passes them, and added up as `.grad` would be.

They are caught where the module's own backward begins, so after whatever hooks somebody has on the outputs.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

Gradients = tuple[Tensor | None, ...]


class Felt:
    """What the loss has sent back to some named outputs so far."""

    def __init__(self) -> None:
        self._gradients: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def listen(self, name: str, output: Tensor) -> None:
        """Catches every gradient with respect to `output` from now on; nothing is set on the tensor itself."""
        if output.grad_fn is not None:
            self._handles.append(output.grad_fn.register_prehook(self._catching(name, output.output_nr)))

    def stop(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __bool__(self) -> bool:
        return bool(self._gradients)

    def get(self, name: str) -> Tensor | None:
        """dL/d output, in the output's own layout; None where no gradient came."""
        return self._gradients.get(name)

    def _catching(self, name: str, place: int) -> Callable[[Gradients], None]:
        def catch(gradients: Gradients) -> None:
            gradient = gradients[place]
            if gradient is None:  # autograd's way to say zero
                return
            with torch.no_grad():
                before = self._gradients.get(name)
                now = gradient.detach().clone()
                self._gradients[name] = now if before is None else before + now

        return catch
