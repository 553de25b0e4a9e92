"""How much each of some directions grows while all are pushed along, kept apart by QR: what Lyapunov exponents average.

    J_t Q_{t−1} = Q_t R_t,   Q orthonormal       ln |R_t,ii| is the growth of the i-th direction at step t

Benettin, Galgani, Giorgilli & Strelcyn 1980 (unverified).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Growth:
    """The growth of every direction, one QR decomposition after the other."""

    logs: Float[np.ndarray, "decomposition sequence direction"]
    """ln |R_ii|, in nats."""
    lost: Bool[np.ndarray, "decomposition sequence direction"]
    """True where less is left of a direction than the arithmetic can tell from nothing: its `logs` say nothing."""
    ends: Int[np.ndarray, "decomposition"]
    """The steps done, warm-up not among them, when each decomposition was made."""


def grow(
    push: Callable[[int, Tensor], Tensor],
    directions: Float[Tensor, "sequence direction state"],
    steps: int,
    *,
    warm_up: int = 0,
    t_ons: int = 1,
) -> Growth:
    """Pushes orthonormal directions through `steps` steps by `push(step, directions)`.

    What happens in the first `warm_up` of them turns the directions and is not kept. There is a decomposition every
    `t_ons` steps, after the warm-up and at the end.
    """
    logs, lost, ends = [], [], []
    since = 0
    for step in range(steps):
        directions, since = push(step, directions), since + 1
        if since < t_ons and step + 1 not in (warm_up, steps):
            continue
        # Rows are directions: their transpose is column-major, as LAPACK wants it.
        q, r = torch.linalg.qr(directions.mT)
        directions, since = q.mT, 0
        if step >= warm_up:
            diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
            noise = torch.finfo(r.dtype).eps * directions.shape[-1] * diagonal.amax(-1, keepdim=True)
            logs.append(diagonal.log())
            lost.append(diagonal <= noise)
            ends.append(step + 1 - warm_up)
    return Growth(torch.stack(logs).cpu().numpy(), torch.stack(lost).cpu().numpy(), np.array(ends))


def random_directions(k: int, size: int, *, seed: int = 0) -> Float[Tensor, "direction state"]:
    """k orthonormal directions of a state of `size` numbers, drawn evenly from all of them; k at most `size`."""
    generator = torch.Generator().manual_seed(seed)
    orthonormal: Tensor = torch.linalg.qr(torch.randn(size, k, generator=generator, dtype=torch.float64))[0].mT
    return orthonormal.contiguous()
