"""The gradients that arrive at a module's outputs, caught as autograd passes them, and added up as `.grad` would be.

They are caught where the module's own backward begins, so after whatever hooks somebody has on the outputs, and where
an output is a view, at what it is a view of: a view that is changed in place later feels nothing any more.
"""

import weakref
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..errors import NotRecordedError
from ..trace import Adjoint
from .paths import Places

Gradients = tuple[Tensor | None, ...]


class Felt:
    """What the loss has sent back to some named outputs so far."""

    def __init__(self) -> None:
        self.arrivals = 0
        """How many gradients have come."""
        self._gradients: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self.has_graph = False
        """Whether one of them came with a graph of its own, through which another backward may go."""
        self._missed = False
        self.places = Places()

    def listen(self, outputs: Mapping[str, Tensor]) -> None:
        """Catches every gradient with respect to these outputs from now on; nothing is set on the tensors."""
        self.places.keep(outputs)
        bases = [id(output._base) for output in outputs.values() if output._is_view()]
        for name, output in outputs.items():
            base = output._base if output._is_view() else None
            if base is not None and base.grad_fn is not None and bases.count(id(base)) == 1:
                place = (output.shape, output.stride(), int(output.storage_offset()))
                self._catch(name, base, partial(_viewed, (base.shape, base.stride()), place))
            elif output.grad_fn is not None:
                self._catch(name, output, Tensor.clone)

    def stop(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.places.forget()

    def __bool__(self) -> bool:
        return bool(self._gradients)

    def get(self, name: str) -> Tensor | None:
        """dL/d output, in the output's own layout; None where no gradient came."""
        if self._missed:
            raise NotRecordedError(
                "A gradient was differentiated again (create_graph=True), which enters the recurrence at every step "
                "and not through its outputs alone, so its adjoints are not known; record a pass without it."
            )
        return self._gradients.get(name)

    def _catch(self, name: str, output: Tensor, copied: Callable[[Tensor], Tensor]) -> None:
        node, place, me = output.grad_fn, output.output_nr, weakref.ref(self)
        assert node is not None

        def catch(gradients: Gradients) -> None:
            felt, gradient = me(), gradients[place]
            if felt is not None and gradient is not None:  # None is autograd's way to say zero
                felt._add(name, gradient, copied)

        self._handles.append(node.register_prehook(catch))

    def _add(self, name: str, gradient: Tensor, copied: Callable[[Tensor], Tensor]) -> None:
        with_graph = torch.is_grad_enabled()
        with torch.no_grad():
            now = copied(gradient.detach())
        self.arrivals += 1
        self._missed = self._missed or (self.has_graph and not with_graph)
        self.has_graph = self.has_graph or with_graph
        before = self._gradients.get(name)
        self._gradients[name] = now if before is None else before + now


def doubts_about(felt: Felt, adjoints: list[Adjoint]) -> list[str]:
    """What whoever reads these adjoints should know."""
    doubts = []
    for adjoint in adjoints:
        log_norm = adjoint.log_norm("pair")
        if bool((log_norm.isnan() | (log_norm == torch.inf)).any()):
            doubts.append(f"the gradient of {adjoint.name} is NaN or infinite; look at the loss and at rec.nonfinite")
            break
    if felt.has_graph:
        doubts.append(
            f"a gradient of {adjoints[0].name} was taken with create_graph=True; what a backward through that gradient "
            "adds is not in its adjoints"
        )
    return doubts


def _viewed(
    shape: tuple[torch.Size, tuple[int, ...]], place: tuple[torch.Size, tuple[int, ...], int], gradient: Tensor
) -> Tensor:
    """The part of a gradient with respect to a base that is the gradient with respect to a view of it."""
    like_base = torch.empty_strided(*shape, dtype=gradient.dtype, device=gradient.device)
    return like_base.copy_(gradient).as_strided(*place).clone()
