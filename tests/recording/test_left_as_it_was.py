"""Whatever a model keeps from call to call is put back after a run, in place and by name."""

import copy
from collections import OrderedDict, deque
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gatescope.recording.left_as_it_was import left_as_it_was


class Keeping(nn.Module):
    """Changes all that it keeps, each in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rebound", torch.zeros(()))
        self.register_buffer("written", torch.zeros(3))
        self.register_buffer("absent", None)
        self.linear = nn.Linear(3, 3)
        self.calls = 0
        self.state = torch.zeros(3)
        self.pair = (torch.zeros(3), torch.ones(3))
        self.in_place = (torch.zeros(3), [torch.zeros(3)])
        self.past: list[Tensor] = [torch.zeros(3)]
        self.recent: deque[int] = deque([1, 2], maxlen=2)
        self.named: OrderedDict[str, Any] = OrderedDict(b=torch.zeros(3), a={"deep": torch.zeros(3)})
        self.seen = {1}
        self.gone = "here"
        self.grown = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        self.rebound = self.rebound + 1
        self.written += 1
        self.absent = x.sum()
        self.calls += 1
        self.state = self.state + x
        self.pair = (self.pair[0] + x, self.pair[1])
        self.in_place[0].add_(x)
        self.in_place[1][0].add_(x)
        self.past.append(x)
        self.past[0] += 1
        self.recent.append(3)
        self.named["a"]["deep"] = x
        self.named["b"] += 1
        self.seen.add(2)
        self.new = x
        self.grown.resize_(2).fill_(1)
        if hasattr(self, "gone"):
            del self.gone
        self.train(not self.training)
        y: Tensor = self.linear(x)
        return y


KEPT = (
    *("rebound", "written", "absent", "calls", "state", "pair", "in_place", "past", "recent", "named", "seen", "gone"),
    *("grown", "training"),
)


def same(a: Any, b: Any) -> bool:
    match a:
        case Tensor():
            return isinstance(b, Tensor) and torch.equal(a, b)
        case dict():
            return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
        case list() | tuple() | deque():
            return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(name="model")
def _model() -> Keeping:
    return Keeping()


@pytest.mark.parametrize("name", KEPT)
def test_what_a_module_keeps_is_put_back(model: Keeping, name: str) -> None:
    before = copy.deepcopy(getattr(model, name))
    identity = id(getattr(model, name))
    with left_as_it_was(model):
        model(torch.ones(3))
        assert name == "gone" or not same(getattr(model, name), before)
    assert same(getattr(model, name), before)
    assert id(getattr(model, name)) == identity


def test_what_a_module_did_not_keep_is_gone_again(model: Keeping) -> None:
    before = set(vars(model))
    with left_as_it_was(model):
        model(torch.ones(3))
    assert set(vars(model)) == before


def test_it_is_put_back_where_the_run_fails(model: Keeping) -> None:
    with pytest.raises(RuntimeError, match=r"cannot be multiplied|size of tensor"), left_as_it_was(model):
        model(torch.ones(4))
    assert (model.calls, model.rebound.item()) == (0, 0)


def test_data_that_a_model_writes_into_are_put_back() -> None:
    x = torch.zeros(3)
    with left_as_it_was(nn.Linear(3, 3), given=((x,), None)):
        x += 1
    assert (x == 0).all()


def test_a_tensor_of_inference_mode_is_put_back(model: Keeping) -> None:
    with torch.inference_mode():
        model.state = torch.zeros(3)
    with left_as_it_was(model), torch.inference_mode():
        model.state += 1
    assert (model.state == 0).all()


def test_what_only_its_first_run_completes_stays_complete() -> None:
    model = nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(2))
    with left_as_it_was(model):
        model(torch.randn(5, 3))
    assert model(torch.randn(5, 3)).shape == (5, 2)
    assert model[1].in_features == 3


@pytest.mark.parametrize("seed", [None, 3])
def test_random_numbers_begin_at_a_seed_and_go_on_without(seed: int | None) -> None:
    model, random = nn.Linear(3, 3), torch.get_rng_state()
    with left_as_it_was(model, seed):
        drawn = torch.rand(())
    assert torch.equal(torch.get_rng_state(), random) == (seed is not None)
    wanted = torch.Generator().set_state(random) if seed is None else torch.Generator().manual_seed(seed)
    assert torch.equal(drawn, torch.rand((), generator=wanted))
