"""The table of problems: every way in which somebody calls a recurrent module of torch, small enough to compute twice.

For each kind of cell there are sixteen, in which any two options meet in every combination of their values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from oracles import Run, textbook

States = Tensor | tuple[Tensor, Tensor]
Loss = Callable[[Tensor, States, Tensor], Tensor]

KINDS = ("rnn-tanh", "rnn-relu", "lstm", "lstm-proj", "gru")
LAYOUTS = ("batched", "unbatched", "packed-sorted", "packed-unsorted")


@dataclass(frozen=True)
class Problem:
    """A module, an input and an initial state, all seeded, and the way to call them.

    `input`, `initial` and `lengths` are always in one form: time-major, with a sequence axis, in the caller's order.
    `call` dresses them as this problem's user would have them, and `time_major` undresses what the module returned.
    """

    kind: str
    layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    layout: str = "batched"
    given_initial: bool = False
    time: int = 7
    dtype: torch.dtype = torch.float64
    batch: int = 3
    input_size: int = 3
    hidden_size: int = 4
    proj_size: int = 0

    @property
    def id(self) -> str:
        options = [
            self.kind,
            f"{self.layers}-layer",
            "bidirectional" if self.bidirectional else "",
            "" if self.bias else "no-bias",
            "batch-first" if self.batch_first else "",
            self.layout,
            "given-initial" if self.given_initial else "",
            f"T{self.time}",
            "" if self.dtype == torch.float64 else str(self.dtype).removeprefix("torch."),
        ]
        return "_".join(option for option in options if option)

    def __str__(self) -> str:
        return self.id

    @property
    def cell(self) -> str:
        """The kind of cell, of which a projection is a property and not a kind of its own."""
        return "lstm" if self.kind == "lstm-proj" else self.kind

    @property
    def sequences(self) -> int:
        return 1 if self.layout == "unbatched" else self.batch

    def module(self) -> nn.RNN | nn.LSTM | nn.GRU:
        """The module with torch's default initialisation, the same at every call; the global generator rests."""
        options = {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.layers,
            "bidirectional": self.bidirectional,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dtype": torch.float64,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            match self.cell:
                case "lstm":
                    module: nn.RNN | nn.LSTM | nn.GRU = nn.LSTM(**options, proj_size=self.proj_size)
                case "gru":
                    module = nn.GRU(**options)
                case _:
                    module = nn.RNN(**options, nonlinearity=self.kind.removeprefix("rnn-"))
        return module.to(self.dtype)

    def input(self) -> Float[Tensor, "time sequence feature"]:
        """The values after a sequence's end are as random as the others: whoever reads them is found out."""
        return _seeded(1, self.time, self.sequences, self.input_size).to(self.dtype)

    def initial(self) -> States | None:
        """h_0 or (h_0, c_0), [layer, sequence, unit]; None where the user gives none."""
        if not self.given_initial:
            return None
        rows = self.layers * (2 if self.bidirectional else 1)
        h_0 = _seeded(2, rows, self.sequences, self.proj_size or self.hidden_size).to(self.dtype)
        c_0 = _seeded(3, rows, self.sequences, self.hidden_size).to(self.dtype)
        return (h_0, c_0) if self.cell == "lstm" else h_0

    def lengths(self) -> Int64[Tensor, " sequence"]:
        """Ragged if packed: from all steps down to one; unsorted, by a permutation that is not its own inverse."""
        if not self.layout.startswith("packed"):
            return torch.full((self.sequences,), self.time)
        ragged = torch.linspace(self.time, 1, self.sequences).round().long()
        return ragged if self.layout == "packed-sorted" else ragged.roll(1)

    def call(
        self, module: nn.Module, x: Tensor | None = None, initial: States | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """What the module returns, in torch's own shapes; `x` and `initial`, in the one form, replace our own."""
        x = self.input() if x is None else x
        initial = self.initial() if initial is None else initial
        dressed: Tensor | PackedSequence = x.transpose(0, 1) if self.batch_first else x
        if self.layout == "unbatched":
            dressed = x.squeeze(1)
            initial = None if initial is None else _each(lambda state: state.squeeze(1), initial)
        elif self.layout != "batched":
            dressed = pack_padded_sequence(x, self.lengths(), enforce_sorted=self.layout == "packed-sorted")
        output, states = module(dressed) if initial is None else module(dressed, initial)
        return output, states

    def time_major(
        self, output: Tensor | PackedSequence, states: States
    ) -> tuple[Float[Tensor, "time sequence unit"], States]:
        """What `call` returned, in the one form: output [time, sequence, unit], states [layer, sequence, unit]."""
        if isinstance(output, PackedSequence):
            return pad_packed_sequence(output)[0], states
        if self.layout == "unbatched":
            return output.unsqueeze(1), _each(lambda state: state.unsqueeze(1), states)
        return output.transpose(0, 1) if self.batch_first else output, states

    def loss(self, name: str, output: Tensor | PackedSequence, states: States) -> Float[Tensor, ""]:
        """The loss of that name, of what `call` returned."""
        return LOSSES[name](*self.time_major(output, states), self.lengths())

    def unrolled(self) -> Run:
        """The oracle's run of this very problem; its loss is `LOSSES[name](run.output, run.states, run.lengths)`."""
        parameters = self.module().state_dict()
        return textbook(self.cell, parameters, self.input(), initial=self.initial(), lengths=self.lengths())


def last_step(output: Tensor, states: States, lengths: Tensor) -> Tensor:
    last = output[lengths - 1, torch.arange(len(lengths))]
    return (last * _seeded(4, *last.shape).to(last)).sum()


def every_step(output: Tensor, states: States, lengths: Tensor) -> Tensor:
    return (_valid(output, lengths) * _seeded(5, *output.shape).to(output)).sum()


def final_states(output: Tensor, states: States, lengths: Tensor) -> Tensor:
    both = states if isinstance(states, tuple) else (states,)
    return sum(
        ((state * _seeded(6 + n, *state.shape).to(state)).sum() for n, state in enumerate(both)), torch.zeros(())
    )


def through_a_further_layer(output: Tensor, states: States, lengths: Tensor) -> Tensor:
    """A tanh layer over every step, then a squared error: the gradient at each step depends on the output there."""
    further = torch.tanh(output @ _seeded(8, output.shape[2], 2).to(output))
    return _valid((further - _seeded(9, *further.shape).to(further)).square(), lengths).sum()


LOSSES: dict[str, Loss] = {
    "last step": last_step,
    "every step": every_step,
    "h_n and c_n": final_states,
    "through a further layer": through_a_further_layer,
}
"""Scalars of (output [time, sequence, unit], states, lengths); random weights, so that no symmetry hides an error."""


def _sixteen(kind: str) -> list[Problem]:
    """An orthogonal array of strength two, from the sums modulo 2 of four bits (Rao 1947).

    Layers and layout take two bits each and meet in every combination. Each further column is a sum which contains bits
    of both, no two of them alike, and so meets every other column in every combination too. The time takes two sums and
    is 1 where both are even: a single step is worth a quarter of the table, not half.
    """
    return [
        Problem(
            kind,
            layers=1 + 2 * a + b,
            layout=LAYOUTS[2 * c + d],
            bidirectional=bool(a ^ d),
            bias=not b ^ c,
            batch_first=bool(a ^ b ^ c),
            given_initial=bool(a ^ b ^ d),
            time=1 if (a ^ c, b ^ d) == (0, 0) else 7,
            proj_size=2 if kind == "lstm-proj" else 0,
        )
        for a, b, c, d in product((0, 1), repeat=4)
    ]


def _seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _valid(output: Tensor, lengths: Tensor) -> Tensor:
    return output * (torch.arange(len(output))[:, None] < lengths)[:, :, None]


def _each(change: Callable[[Tensor], Tensor], states: States) -> States:
    return (change(states[0]), change(states[1])) if isinstance(states, tuple) else change(states)


PROBLEMS: list[Problem] = [problem for kind in KINDS for problem in _sixteen(kind)]
"""Eighty, in float64. `dataclasses.replace(problem, dtype=torch.float32)` is the same one with every number rounded."""
