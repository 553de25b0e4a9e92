"""The training loop against torch's own few lines, and the promises that it makes."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from gatescope.research.train import train
from gatescope.tasks import Task, sine


class LastStep(nn.Module):
    def __init__(self, hidden_size: int = 6) -> None:
        super().__init__()
        self.rnn = nn.GRU(1, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)
        self.largest = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, len(x))
        return self.head(self.rnn(x)[0][:, -1])


def model(hidden_size: int = 6) -> LastStep:
    torch.manual_seed(3)
    return LastStep(hidden_size)


def task(points: int = 60) -> Task:
    return sine(points=points, window=10)


def test_all_at_once_is_adam_on_the_whole_batch() -> None:
    data, ours, bare = task(), model(), model()
    losses = train(ours, data, epochs=5, lr=0.02)
    optimiser, expected = torch.optim.Adam(bare.parameters(), lr=0.02), []
    for _ in range(5):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(bare(data.x), data.y)
        loss.backward()
        optimiser.step()
        expected.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for parameter, other in zip(ours.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-5)


def test_chunks_change_the_memory_and_not_the_training() -> None:
    whole, chunked = model(), model()
    losses = train(whole, task(), epochs=5)
    assert whole.largest == 50
    np.testing.assert_allclose(train(chunked, task(), epochs=5, chunk=16), losses, rtol=1e-5)
    assert chunked.largest == 16
    for parameter, other in zip(whole.parameters(), chunked.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-5)


def test_each_batch_is_a_step() -> None:
    network = model()
    in_batches = train(network, task(), epochs=2, batch_size=16)
    assert network.largest == 16
    assert in_batches[-1] < train(model(), task(), epochs=2)[-1]  # four times the steps


def test_the_loss_of_an_epoch_is_the_mean_over_its_sequences_whatever_the_batches() -> None:
    """With a learning rate of zero nothing changes, and a last batch of 2 of 50 must not weigh as much as one of 16."""
    data, frozen = task(), model()
    expected = float(nn.functional.mse_loss(frozen(data.x), data.y).detach())
    assert train(frozen, data, epochs=1, lr=0.0, batch_size=16) == pytest.approx([expected], rel=1e-5)
    assert train(frozen, data, epochs=1, lr=0.0, batch_size=16, chunk=5) == pytest.approx([expected], rel=1e-5)


def test_every_sequence_is_seen_once_an_epoch_in_an_order_of_the_seed() -> None:
    data = task()
    seen: list[torch.Tensor] = []

    def watch(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(target)
        return nn.functional.mse_loss(prediction, target)

    for seed in (0, 0, 1):
        train(model(), data, epochs=1, batch_size=7, seed=seed, loss=watch)
    first, again, other = torch.cat(seen).split(50)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first.sort(0).values, data.y.sort(0).values)


def test_the_global_generator_is_left_alone() -> None:
    network = model()
    before = torch.get_rng_state()
    train(network, task(), epochs=2, batch_size=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_told_after_each_epoch() -> None:
    told: list[tuple[int, float]] = []
    losses = train(model(), task(), epochs=3, progress=lambda epoch, loss: told.append((epoch, loss)))
    assert told == list(enumerate(losses, start=1))


def test_the_model_is_put_into_training_mode() -> None:
    network = model().eval()
    train(network, task(), epochs=1)
    assert network.training


def test_a_network_learns() -> None:
    losses = train(model(), task(200), epochs=30, lr=0.02, batch_size=50)
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.slow
def test_the_loop_costs_little_beside_torch_itself() -> None:
    data = task(1010)

    def bare(network: nn.Module) -> None:
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(5):
            for batch in torch.randperm(len(data)).split(100):
                optimiser.zero_grad()
                nn.functional.mse_loss(network(data.x[batch]), data.y[batch]).backward()
                optimiser.step()

    def ours(network: nn.Module) -> None:
        train(network, data, epochs=5, batch_size=100)

    def best(run: object) -> float:
        times = []
        for _ in range(7):
            start = time.process_time()
            run(model(50))  # type: ignore[operator]
            times.append(time.process_time() - start)
        return min(times)

    assert best(ours) < 1.15 * best(bare)
