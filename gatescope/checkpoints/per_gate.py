"""LSTMs, GRUs and RNNs that someone wrote by hand, with a matrix of its own for every gate.

Sufficient evidence is a matrix from the input and one from the hidden state for every gate, of one number of units,
in a direction that the shapes show. Where one matrix takes input and hidden state in a row, nothing in the file says
which comes first; and of a GRU nothing says where its reset gate acts and which way its update gate turns, unless it
has the letters of torch's own formula (W_ir … W_hn). Then the layer is a `Maybe` with the choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from .block_orders import TORCH, Family
from .candidate import Candidate
from .checkpoint import Checkpoint, StoredArray
from .derived import negated, part, stacked, transposed, zeros
from .found import CellName
from .gate_names import CANDIDATE, gate_named, is_a_peephole

_FAMILIES: Mapping[Family, frozenset[str]] = {
    "lstm": frozenset({"i", "f", "o", CANDIDATE}),
    "gru": frozenset({"r", "z", CANDIDATE}),
    "rnn": frozenset({CANDIDATE}),
}

_TORCHS_LETTERS = {"ir", "iz", "in", "hr", "hz", "hn"}


@dataclass
class _Module:
    """What was found under one path: by side and gate, the names of matrices and of biases."""

    weights: dict[tuple[str, str], str] = field(default_factory=dict)
    biases: dict[tuple[str, str], str] = field(default_factory=dict)
    letters: set[str] = field(default_factory=set)
    linear: bool = False
    """Whether the matrices are those of `nn.Linear`, which are [output, input]."""
    peepholes: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.weights.values(), *self.biases.values(), *self.peepholes)


def by_names_per_gate(names: Sequence[str], checkpoint: Checkpoint) -> list[Candidate]:
    """A candidate for each module that has a matrix for each gate of an LSTM or GRU."""
    modules: dict[str, _Module] = {}
    for name in names:
        _note(name, checkpoint.arrays[name], modules)
    found = ((path, module, _family(module)) for path, module in modules.items())
    return [
        candidate
        for path, module, family in found
        if family is not None and (candidate := _candidate(path, module, family, checkpoint.arrays)) is not None
    ]


def _note(name: str, array: StoredArray, modules: dict[str, _Module]) -> None:
    *path, last = name.split(".")
    linear = last in {"weight", "bias"} and bool(path)
    child = path.pop() if linear else last
    said = gate_named(child)
    module = ".".join(path)
    if said is None:
        if is_a_peephole(child):
            modules.setdefault(module, _Module()).peepholes.append(name)
        return
    is_bias = said.bias or last == "bias"
    if len(array.shape) != (1 if is_bias else 2):
        return
    held = modules.setdefault(module, _Module())
    (held.biases if is_bias else held.weights)[said.side, said.gate] = name
    held.linear |= linear
    if said.letters:
        held.letters.add(said.letters)


def _family(module: _Module) -> Family | None:
    gates = {gate for _, gate in module.weights}
    return next((family for family, wanted in _FAMILIES.items() if gates == wanted), None)


def _candidate(path: str, module: _Module, family: Family, arrays: Mapping[str, StoredArray]) -> Candidate | None:
    sides = {side for side, _ in module.weights}
    gates = _FAMILIES[family]
    if sides == {"either", "hidden"}:  # W_f beside U_f: the one without a U is the input's
        module = replace(
            module,
            weights={
                ("input" if side == "either" else side, gate): name for (side, gate), name in module.weights.items()
            },
        )
        sides = {"input", "hidden"}
    if sides == {"input", "hidden"} and len(module.weights) == 2 * len(gates):
        return _of_two_matrices(path, module, family, arrays)
    if sides <= {"either", "both"} and len(module.weights) == len(gates) and family != "rnn":
        return _of_one_matrix(path, module, family, arrays)
    return None


def _of_two_matrices(path: str, module: _Module, family: Family, arrays: Mapping[str, StoredArray]) -> Candidate | None:
    hidden = {arrays[module.weights["hidden", gate]].shape for gate in _FAMILIES[family]}
    inputs = {arrays[module.weights["input", gate]].shape for gate in _FAMILIES[family]}
    units = next(iter(hidden))[0]
    if hidden != {(units, units)} or len(inputs) != 1 or units not in next(iter(inputs)):
        return None
    shape = next(iter(inputs))
    features = shape[1] if shape[0] == units else shape[0]
    turned = not module.linear and shape[0] != units
    blocks = {
        ("weight_ih" if side == "input" else "weight_hh", gate): transposed(arrays[name]) if turned else arrays[name]
        for (side, gate), name in module.weights.items()
    }
    remark = f"a matrix {units} × {features} and a matrix {units} × {units} for each of {len(_FAMILIES[family])} blocks"
    if not module.linear and features == units:
        doubt = f"{remark}; they are square, so nothing says whether they stand left or right of the vector"
        return Candidate(path, "", _assembled(blocks, module, family, arrays), module.names, doubt=doubt)
    return _with_doubts(path, module, family, {"": blocks}, remark, "", arrays)


def _of_one_matrix(path: str, module: _Module, family: Family, arrays: Mapping[str, StoredArray]) -> Candidate | None:
    shapes = {arrays[name].shape for name in module.weights.values()}
    if len(shapes) != 1:
        return None
    rows, columns = next(iter(shapes))
    turned = rows > columns and not module.linear
    units, both = (columns, rows) if turned else (rows, columns)
    features = both - units
    if features <= 0:
        return None
    forms = {}
    for order, (x, h) in {"xh": (0, features), "hx": (units, 0)}.items():
        blocks = {}
        for (_, gate), name in module.weights.items():
            whole = transposed(arrays[name]) if turned else arrays[name]
            blocks["weight_ih", gate] = part(whole, 1, x, x + features)
            blocks["weight_hh", gate] = part(whole, 1, h, h + units)
        forms[order] = blocks
    doubt = (
        f"{len(_FAMILIES[family])} matrices {units} × {both} take the input and the hidden state in a row, "
        f"and nothing says which of them comes first"
    )
    return _with_doubts(path, module, family, forms, f"one matrix {units} × {both} for each block", doubt, arrays)


def _with_doubts(
    path: str,
    module: _Module,
    family: Family,
    forms: Mapping[str, Mapping[tuple[str, str], StoredArray]],
    remark: str,
    doubt: str,
    arrays: Mapping[str, StoredArray],
) -> Candidate:
    """The candidate, or one for each way to settle what the file leaves open."""
    if module.peepholes:
        known = next(iter(forms.values()))
        doubt = "its gates look at the cell state through peepholes, for which gatescope has no cell"
        return Candidate(path, "", _assembled(known, module, family, arrays), module.names, doubt=doubt)
    cells: tuple[CellName, ...] = ("lstm",) if family == "lstm" else ("gru",) if family == "gru" else ("rnn",)
    turns: tuple[str, ...] = ("",)
    if family == "gru" and not module.letters >= _TORCHS_LETTERS:
        turns = ("", "z-renews")
        cells = ("gru-reset-before",) if len(forms) > 1 else ("gru", "gru-reset-before")
        where = "where the reset gate acts, nor " if len(cells) > 1 else ""
        doubt = f"{doubt or remark}; the file does not say {where}whether its gate z keeps or renews the state"
    choices: dict[str, Candidate] = {}
    for cell, order, turn in product(cells, forms, turns):
        said = ":".join(filter(None, (cell, order, turn)))
        weights = _assembled(forms[order], module, family, arrays, renews=bool(turn))
        choices[said] = Candidate(
            path, "", weights, module.names, (remark, f"{said} is what you said"), cell=None if cell == "rnn" else cell
        )
    first = next(iter(choices.values()))
    if doubt:
        return replace(first, cell=None, remarks=(), doubt=doubt, choices=choices)
    return replace(first, remarks=(remark,))


def _assembled(
    blocks: Mapping[tuple[str, str], StoredArray],
    module: _Module,
    family: Family,
    arrays: Mapping[str, StoredArray],
    *,
    renews: bool = False,
) -> dict[str, StoredArray]:
    """The blocks below each other in torch's order; a gate z that renews is one minus a gate z that keeps."""
    order = [CANDIDATE if gate in "gnh" else gate for gate in TORCH[family]]

    def turned(gate: str, array: StoredArray) -> StoredArray:
        return negated(array) if renews and gate == "z" else array

    weights = {
        name: stacked([turned(gate, blocks[name, gate]) for gate in order]) for name in ("weight_ih", "weight_hh")
    }
    units = weights["weight_hh"].shape[1]
    for name, sides in (("bias_ih", ("input", "either", "both")), ("bias_hh", ("hidden",))):
        held = {gate: arrays[bias] for (side, gate), bias in module.biases.items() if side in sides}
        if held:
            dtype = weights["weight_ih"].dtype
            weights[name] = stacked([turned(gate, held.get(gate, zeros(units, dtype))) for gate in order])
    return weights
