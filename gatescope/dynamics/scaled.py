"""Vectors that may vanish or explode without being lost: a normalised part, and the logarithm of its scale.

v = normalised · exp(log_scale),  one log_scale a sequence (and a step); -inf where v is exactly zero
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Scaled(NamedTuple):
    """Named vectors `[..., unit]` that share one scale `[...]`."""

    normalised: dict[str, Tensor]
    log_scale: Tensor
    """In float64 whatever the vectors are: it is a sum over as many steps as there are."""

    def renormalised(self) -> "Scaled":
        """The same vectors with their joint L2 norm taken into the scale."""
        joint = torch.cat(list(self.normalised.values()), -1)
        # What is infinite or NaN stays as it is, so that it is seen where it stands.
        largest = joint.abs().amax(-1, keepdim=True).nan_to_num_(nan=1, posinf=1)
        joint /= largest.masked_fill(largest == 0, 1)
        # Now the largest number is one, so that no square is lost: the norm is at least one, or exactly zero.
        norm = torch.linalg.vector_norm(joint, dim=-1, keepdim=True).nan_to_num_(nan=1, posinf=1)
        joint /= norm.clamp(min=1)
        parts = joint.split([values.shape[-1] for values in self.normalised.values()], -1)
        return Scaled(
            dict(zip(self.normalised, parts, strict=True)),
            self.log_scale + (largest.double().log() + norm.double().log())[..., 0],
        )

    def __add__(self, other: "Scaled") -> "Scaled":  # type: ignore[override]  # a sum of vectors, not of tuples
        log_scale = torch.maximum(self.log_scale, other.log_scale)
        log_scale = torch.where(log_scale == -torch.inf, 0, log_scale)
        dtype = next(iter(self.normalised.values())).dtype
        mine, yours = ((v.log_scale - log_scale).exp().to(dtype)[..., None] for v in (self, other))
        names = [*self.normalised, *(other.normalised.keys() - self.normalised.keys())]
        return Scaled(
            {
                name: sum_of(
                    self.normalised[name] * mine if name in self.normalised else None,
                    other.normalised[name] * yours if name in other.normalised else None,
                )
                for name in names
            },
            log_scale,
        )


def sum_of(first: Tensor | None, second: Tensor | None) -> Tensor:
    """The sum of two terms of which one may be absent."""
    if first is None or second is None:
        present = first if first is not None else second
        assert present is not None
        return present
    return first + second


def unit_scale(vectors: Mapping[str, Tensor]) -> Scaled:
    """Vectors as they are, under a scale of one."""
    some = next(iter(vectors.values()))
    return Scaled(dict(vectors), some.new_zeros(some.shape[:-1], dtype=torch.float64))
