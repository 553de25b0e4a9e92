"""The plain training loop: Adam on mini-batches in an order that a seed decides."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..tasks import Task


def train(
    model: nn.Module,
    task: Task,
    *,
    epochs: int,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.mse_loss,
    lr: float = 1e-3,
    batch_size: int | None = None,
    chunk: int | None = None,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Float[np.ndarray, "epoch"]:
    """Trains `model` in place on every sequence of `task`; the mean loss of each epoch, taken while it learns.

    `loss` is a mean over sequences. `batch_size` is the number of sequences a step of the optimiser, None for all of
    them; `chunk` is how many go through the network at once, None for the whole batch: the gradient is the same, and
    what fits the processor's cache is faster. `seed` decides the order of the sequences in each epoch, and torch's
    global generator is left alone. `progress` is called after each epoch with its number, from 1, and its loss.
    """
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    losses = []
    for epoch in range(1, epochs + 1):
        total = torch.zeros(())
        for batch in torch.randperm(len(task), generator=order).split(batch_size or len(task)):
            optimiser.zero_grad()
            for part in batch.split(chunk or len(batch)):
                error = loss(model(task.x[part]), task.y[part]) * (len(part) / len(batch))
                error.backward()
                total += error.detach() * len(batch)
            optimiser.step()
        losses.append(float(total) / len(task))
        if progress is not None:
            progress(epoch, losses[-1])
    return np.array(losses)
