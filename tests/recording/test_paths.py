"""The paths of a loss through recorded calls are those of autograd's graph, and nothing of it is kept afterwards."""

import gc
import weakref

import torch
from torch import Tensor, nn

import gatescope as gs
from gatescope.recording.driving import drive
from gatescope.recording.paths import MOST


class Nested(nn.Module):
    """Three modules one after the other, and one beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.beside = nn.GRU(3, 4), nn.GRU(4, 4), nn.GRU(4, 4), nn.GRU(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        aside = self.beside(x)[0]
        out: Tensor = self.c(torch.tanh(self.b(self.a(x)[0])[0]))[0][-1]
        return out + aside.mean(0)


def test_the_reader_of_a_call_is_the_nearest_through_which_every_path_leads() -> None:
    ran = drive(Nested(), torch.randn(7, 3, 3), 0, lambda out, _: out.sum())
    found = ran.recorder._kept.paths
    assert dict(found.reader) == {1: 2, 2: 3}  # in the order of the calls: beside, a, b, c
    assert found.feeds_itself == frozenset()


def test_of_a_loop_the_steps_that_the_loss_reads_are_told_from_those_it_reaches_through_later_ones() -> None:
    cell = nn.LSTMCell(3, 4)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: Tensor) -> Tensor:
            state, seen = None, []
            for now in x:
                state = self.cell(now, state)
                seen.append(state[0])
            return seen[2] + seen[6]

    found = drive(Loop(), torch.randn(8, 3, 3), 0, lambda out, _: out.sum()).recorder._kept.paths
    assert found.read[0] == {"h@2", "h@6"}


def test_the_graph_is_let_go_and_a_plain_recording_never_holds_it() -> None:
    module = nn.GRU(3, 4)
    with gs.Recorder(module) as rec:
        out, _ = module(torch.randn(7, 3, 3))
        assert not rec._kept.calls[0].felt.places.outputs
    seen = weakref.ref(out)
    del out
    gc.collect()
    assert seen() is None
    ran = drive(module, torch.randn(7, 3, 3), 0, lambda out, _: out[0].sum())
    assert not ran.recorder._kept.calls[0].felt.places.outputs


def test_of_very_many_calls_nobody_asks_who_reads_whom() -> None:
    module = nn.GRU(3, 3)

    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = module

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(MOST + 1):
                x = self.rnn(x)[0]
            return x

    ran = drive(Again(), torch.randn(2, 1, 3), 0, lambda out, _: out.sum())
    assert not ran.recorder._kept.paths.reader
