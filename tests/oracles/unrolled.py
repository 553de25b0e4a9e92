"""A whole recurrent stack, unrolled one step after another in plain torch, so that autograd itself says every gradient.

Everything is float64, [time, sequence, unit], and the time is the input's, for the reverse direction too, which starts
at each sequence's own last step. After a sequence's end all values and gradients are zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from oracles.steps import GATES, STEPS, Weights

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")

Adjoints = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class LayerRun:
    """One layer in one direction, still in the graph. `previous` are the states that each step read."""

    name: str
    gates: Mapping[str, Float[Tensor, "time sequence unit"]]
    preactivations: Mapping[str, Float[Tensor, "time sequence unit"]]
    states: Mapping[str, Float[Tensor, "time sequence unit"]]
    previous: Mapping[str, Float[Tensor, "time sequence unit"]]
    initial: Mapping[str, Float[Tensor, "sequence unit"]]
    final: Mapping[str, Float[Tensor, "sequence unit"]]
    nudges: Mapping[tuple[str, str], Float[Tensor, "... sequence unit"]]


@dataclass(frozen=True)
class Run:
    """A stack's outputs and everything inside it; `parameters` and `x` are leaves, for their gradients."""

    output: Float[Tensor, "time sequence unit"]
    h_n: Float[Tensor, "layer sequence unit"]
    c_n: Float[Tensor, "layer sequence unit"] | None
    layers: Mapping[str, LayerRun]
    parameters: Mapping[str, Tensor]
    x: Float[Tensor, "time sequence feature"]
    lengths: Int64[Tensor, " sequence"]
    valid: Bool[Tensor, "time sequence"]

    @property
    def states(self) -> Tensor | tuple[Tensor, Tensor]:
        """The final states in the form in which torch's modules return them."""
        return self.h_n if self.c_n is None else (self.h_n, self.c_n)


def textbook(
    kind: str,
    state_dict: Mapping[str, Tensor],
    x: Float[Tensor, "time sequence feature"],
    *,
    initial: Tensor | tuple[Tensor, Tensor] | None = None,
    lengths: Int64[Tensor, " sequence"] | None = None,
    masks: Sequence[Float[Tensor, "time sequence unit"]] = (),
) -> Run:
    """Unroll the stack whose weights stand in `state_dict`.

    `kind` is rnn-tanh, rnn-relu, lstm (a projection shows in the weights), gru or gru-reset-before (nn.GRU's weights).
    `state_dict` is that of an nn.RNN, nn.LSTM, nn.GRU (layers "l0", "l0_reverse", "l1", ...) or of a *Cell ("cell").
    `initial` is h_0 or (h_0, c_0), [layer, sequence, unit] as torch stacks them, zero if absent. `lengths` are in the
    caller's order, full if absent. `masks` multiply the output of each layer but the last: dropout, already scaled.
    """
    parameters = {name: tensor.detach().double().requires_grad_() for name, tensor in state_dict.items()}
    x = x.detach().double().requires_grad_()
    if lengths is None:
        lengths = torch.full((x.shape[1],), x.shape[0])
    h_0, c_0 = initial if isinstance(initial, tuple) else (initial, None)

    layers: dict[str, LayerRun] = {}
    below: Tensor = x
    for depth, level in enumerate(_levels(parameters)):
        for name, suffix in level:
            weights = {key: parameters[key + suffix] for key in WEIGHTS if key + suffix in parameters}
            index = len(layers)
            given = {"h": h_0 if h_0 is None else h_0[index], "c": c_0 if c_0 is None else c_0[index]}
            layers[name] = _unroll_layer(kind, name, weights, below, given, lengths)
        below = torch.cat([layers[name].states["h"] for name, _ in level], dim=-1)
        if depth < len(masks):
            below = below * masks[depth].double()

    return Run(
        output=below,
        h_n=torch.stack([layer.final["h"] for layer in layers.values()]),
        c_n=torch.stack([layer.final["c"] for layer in layers.values()]) if kind == "lstm" else None,
        layers=layers,
        parameters=parameters,
        x=x,
        lengths=lengths,
        valid=_running(lengths, x.shape[0]),
    )


def true_adjoints(run: Run, loss: Float[Tensor, ""]) -> dict[str, Adjoints]:
    """The gradient of `loss` at every nudge: {layer: {part: {name: tensor}}}.

    "total" {h, c} and "state" {h, c}: [time, sequence, unit]; "preactivations" {gate, for the GRU also "q"}: the same;
    "initial" {h, c}: [sequence, unit]. May be called several times on one run.
    """
    places = [(layer.name, part, name) for layer in run.layers.values() for part, name in layer.nudges]
    nudges = [run.layers[layer].nudges[part, name] for layer, part, name in places]
    gradients = torch.autograd.grad(loss, nudges, retain_graph=True, materialize_grads=True)

    adjoints: dict[str, Adjoints] = {}
    for (layer, part, name), gradient in zip(places, gradients, strict=True):
        adjoints.setdefault(layer, {}).setdefault(part, {})[name] = gradient
    for parts in adjoints.values():
        # Nothing inside a step reads h_t, so holding the rest of the step fixed changes nothing for it.
        parts.setdefault("state", {})["h"] = parts["total"]["h"]
    return adjoints


def affine_adjoints(preactivations: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """dL/d(W_ih x + b_ih) and dL/d(W_hh h + b_hh), [time, sequence, row], from the "preactivations" of one layer.

    They differ for torch's GRU alone, whose recurrent candidate goes through the reset gate.
    """
    input_side = {gate: values for gate, values in preactivations.items() if gate != "q"}
    hidden_side = input_side | ({"n": preactivations["q"]} if "q" in preactivations else {})
    return torch.cat(list(input_side.values()), -1), torch.cat(list(hidden_side.values()), -1)


def _levels(parameters: Mapping[str, Tensor]) -> list[list[tuple[str, str]]]:
    """The (name, suffix of the parameters) of each direction of each layer, from the ground up."""
    if "weight_ih" in parameters:
        return [[("cell", "")]]
    names = [key.removeprefix("weight_ih_") for key in parameters if key.startswith("weight_ih_")]
    depth = 1 + max(int(name.removeprefix("l").removesuffix("_reverse")) for name in names)
    directions = ("", "_reverse") if "l0_reverse" in names else ("",)
    return [[(f"l{level}{end}", f"_l{level}{end}") for end in directions] for level in range(depth)]


def _unroll_layer(
    kind: str,
    name: str,
    tensors: Mapping[str, Tensor],
    x: Float[Tensor, "time sequence feature"],
    given: Mapping[str, Tensor | None],
    lengths: Int64[Tensor, " sequence"],
) -> LayerRun:
    weights = Weights.of(kind, tensors)
    steps, sequences, _ = x.shape
    hidden = tensors["weight_hh"].shape[0] // len(GATES[kind])
    sizes = {"h": tensors["weight_hh"].shape[1]} | ({"c": hidden} if kind == "lstm" else {})

    nudges = {("total", state): _zeros(steps, sequences, size) for state, size in sizes.items()}
    nudges |= {("initial", state): _zeros(sequences, size) for state, size in sizes.items()}
    nudges |= {("preactivations", block): _zeros(steps, sequences, hidden) for block in GATES[kind]}
    if kind == "lstm":
        nudges["state", "c"] = _zeros(steps, sequences, hidden)
    if kind == "gru":
        nudges["preactivations", "q"] = _zeros(steps, sequences, hidden)

    running = _running(lengths, steps)
    order = _order_of_processing(lengths, steps, backwards=name.endswith("_reverse"))
    x_in_order = _reorder(x, order)
    nudges_in_order = {place: _reorder(nudge, order) for place, nudge in nudges.items() if place[0] != "initial"}

    initial = {}
    for state, size in sizes.items():
        start = given[state]
        start = torch.zeros(sequences, size, dtype=torch.float64) if start is None else start.detach().double()
        initial[state] = start + nudges["initial", state]

    states, moments, read = dict(initial), [], []
    for step in range(steps):
        nudge = {place: values[step] for place, values in nudges_in_order.items()}
        read.append(states)
        moment = STEPS[kind](weights, x_in_order[step], states, nudge)
        states = {key: torch.where(running[step, :, None], moment.states[key], states[key]) for key in states}
        moments.append(moment)

    def recorded(each_step: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        series = {key: torch.stack([values[key] for values in each_step]) for key in each_step[0]}
        return {key: _reorder(torch.where(running[:, :, None], values, 0.0), order) for key, values in series.items()}

    return LayerRun(
        name=name,
        gates=recorded([moment.gates for moment in moments]),
        preactivations=recorded([moment.preactivations for moment in moments]),
        states=recorded([moment.states for moment in moments]),
        previous=recorded(read),
        initial=initial,
        final=states,
        nudges=nudges,
    )


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)


def _running(lengths: Int64[Tensor, " sequence"], steps: int) -> Bool[Tensor, "time sequence"]:
    return torch.arange(steps)[:, None] < lengths


def _order_of_processing(
    lengths: Int64[Tensor, " sequence"], steps: int, *, backwards: bool
) -> Int64[Tensor, "time sequence"]:
    """For each step of the loop, the time in the input that it reads. Backwards or not, this is its own inverse."""
    forwards = torch.arange(steps)[:, None].expand(-1, len(lengths))
    return torch.where(forwards < lengths, lengths - 1 - forwards, forwards) if backwards else forwards


def _reorder(values: Float[Tensor, "time sequence unit"], order: Int64[Tensor, "time sequence"]) -> Tensor:
    return values.gather(0, order[:, :, None].expand(-1, -1, values.shape[2]))
