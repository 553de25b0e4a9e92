"""Layers under Keras' names: `lstm/lstm_cell/kernel:0` and its neighbours, or `layers/lstm/cell/vars/0` of Keras 3.

Keras keeps its matrices [input, gates * units], in the orders i f c o and z r h. One bias means that there is none on
the recurrent side; a GRU with a bias of shape (2, 3 units) resets after the product, one of shape (3 units) before it.
The CuDNN layers of Keras 1 and 2 have both biases in a row, and keep the memory of each block as cuDNN wants it: the
numbers of an [units, input] matrix under the shape [input, units]. haste_pytorch has the same names with dots and the
order i g f o.
"""

import re
from collections.abc import Mapping, Sequence

from .block_orders import HASTE, KERAS, Family
from .candidate import Candidate
from .checkpoint import Checkpoint, StoredArray
from .derived import entry, part, reordered, reshaped, stacked, transposed
from .found import CellName

_NAMED = re.compile(r"(?P<module>.*?)[/.]?(?P<what>recurrent_kernel|kernel|recurrent_bias|bias)(?::0)?", re.DOTALL)
_NUMBERED = re.compile(r"(?P<module>.*/cell)/vars/(?P<number>[012])", re.DOTALL)
_CELL = re.compile(r"(?:lstm|gru|simple_rnn|rnn)?_?cell(?:_\d+)?", re.IGNORECASE)
_AROUND = {"model_weights", "layers", "_layer_checkpoint_dependencies", "vars"}
_LONGEST = 1000


def by_keras_names(names: Sequence[str], checkpoint: Checkpoint) -> list[Candidate]:
    """A candidate for each group with a kernel and a recurrent kernel."""
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        if len(name) > _LONGEST:
            continue
        if match := _NUMBERED.fullmatch(name):
            what = ("kernel", "recurrent_kernel", "bias")[int(match["number"])]
        elif not (match := _NAMED.fullmatch(name)):
            continue
        else:
            what = match["what"]
        groups.setdefault(match["module"], {})[what] = name
    return [
        _candidate(group, found, checkpoint)
        for group, found in groups.items()
        if {"kernel", "recurrent_kernel"} <= found.keys() and _is_recurrent(found, checkpoint.arrays)
    ]


def _is_recurrent(found: Mapping[str, str], arrays: Mapping[str, StoredArray]) -> bool:
    kernel, recurrent = arrays[found["kernel"]].shape, arrays[found["recurrent_kernel"]].shape
    fits = len(kernel) == len(recurrent) == 2 and kernel[1] == recurrent[1]
    return fits and recurrent[0] > 0 and recurrent[1] in (recurrent[0], 3 * recurrent[0], 4 * recurrent[0])


def _candidate(group: str, found: Mapping[str, str], checkpoint: Checkpoint) -> Candidate:
    arrays = {what: checkpoint.arrays[name] for what, name in found.items()}
    units, columns = arrays["recurrent_kernel"].shape
    family: Family = {4: "lstm", 3: "gru", 1: "rnn"}[columns // units]  # type: ignore[assignment]
    module, reverse = _place(group)
    hint = checkpoint.hints.get(module, {})
    haste = "/" not in group and not found["kernel"].endswith(":0") and checkpoint.format.startswith("torch")
    order = (HASTE if haste and family != "rnn" else KERAS)[family]
    biases = _biases(arrays, columns)
    cudnn = family != "rnn" and "bias" in arrays and arrays["bias"].shape == (2 * columns,)
    turn = _as_cudnn_keeps_it if cudnn else transposed
    weights = {
        "weight_ih": _turned(arrays["kernel"], units, turn),
        "weight_hh": _turned(arrays["recurrent_kernel"], units, transposed if not cudnn else _as_it_is),
    } | biases
    weights = {name: reordered(array, order, family) for name, array in weights.items()}
    cell, choices = _cell(family, arrays, hint, after=cudnn or haste or "bias_hh" in biases)
    names = tuple(found[what] for what in ("kernel", "recurrent_kernel", "bias", "recurrent_bias") if what in found)
    source = "haste's names, in the order " if haste else "Keras' names, in the order "
    remark = source + " ".join(order) + (", each block in cuDNN's memory" if cudnn else "")
    made = Candidate(
        module, "l0_reverse" if reverse else "l0", weights, names, (remark,), cell=cell,
        reverse=reverse or bool(hint.get("go_backwards")), doubt=_doubt(checkpoint, hint, cudnn=cudnn, family=family),
    )  # fmt: skip
    if choices:
        settled: dict[str, Candidate] = {choice: _with_cell(made, choice) for choice in choices}
        doubt = "without a bias nothing says whether the reset gate acts before or after the product"
        return Candidate(
            module, made.suffix, weights, names, reverse=made.reverse, doubt=doubt, choices=settled
        )  # fmt: skip
    if made.doubt and family == "lstm":
        settled = {"lstm": _with_cell(made, "lstm")}
        return Candidate(
            module, made.suffix, weights, names, reverse=made.reverse, doubt=made.doubt, choices=settled
        )  # fmt: skip
    return made


def _with_cell(made: Candidate, cell: CellName) -> Candidate:
    remarks = (*made.remarks, f"{cell} is what you said")
    return Candidate(made.module, made.suffix, made.weights, made.names, remarks, cell=cell, reverse=made.reverse)


def _cell(
    family: Family, arrays: Mapping[str, StoredArray], hint: Mapping[str, object], *, after: bool
) -> tuple[CellName | None, tuple[CellName, ...]]:
    """The cell, or between which cells the file leaves the choice."""
    if family != "gru":
        return (None if family == "rnn" else "lstm"), ()
    if after or hint.get("reset_after") is True:
        return "gru", ()
    if "bias" in arrays or hint.get("reset_after") is False:
        return "gru-reset-before", ()
    return None, ("gru", "gru-reset-before")


def _biases(arrays: Mapping[str, StoredArray], rows: int) -> dict[str, StoredArray]:
    if "bias" not in arrays:
        return {}
    bias = arrays["bias"]
    if "recurrent_bias" in arrays:
        return {"bias_ih": bias, "bias_hh": arrays["recurrent_bias"]}
    if bias.shape == (2, rows):
        return {"bias_ih": entry(bias, 0), "bias_hh": entry(bias, 1)}
    if bias.shape == (2 * rows,):
        return {"bias_ih": part(bias, 0, 0, rows), "bias_hh": part(bias, 0, rows, 2 * rows)}
    return {"bias_ih": bias}


def _turned(kernel: StoredArray, units: int, turn: object) -> StoredArray:
    """[input, gates * units] as [gates * units, input], each block turned by itself."""
    blocks = [part(kernel, 1, start, start + units) for start in range(0, kernel.shape[1], units)]
    return stacked([turn(block) for block in blocks])  # type: ignore[operator]


def _as_cudnn_keeps_it(block: StoredArray) -> StoredArray:
    return reshaped(block, block.shape[::-1])


def _as_it_is(block: StoredArray) -> StoredArray:
    return block


def _doubt(checkpoint: Checkpoint, hint: Mapping[str, object], *, cudnn: bool, family: Family) -> str:
    """What speaks against the usual activations."""
    told = hint.get("recurrent_activation")
    if family != "rnn" and told not in (None, "sigmoid"):
        return f"its recurrent_activation is {told!r}, and the gates of gatescope's cells are sigmoids"
    if family != "rnn" and hint.get("activation") not in (None, "tanh"):
        return f"its activation is {hint['activation']!r} where torch's cell has tanh"
    version = str(checkpoint.hints.get("", {}).get("keras_version", ""))
    if family != "rnn" and not cudnn and told is None and re.match(r"(1\.|2\.[012]\.)(?!.*tf)", version):
        return f"Keras {version} used a hard sigmoid unless told otherwise, and the file does not say"
    return ""


def _place(group: str) -> tuple[str, bool]:
    """The layer's path, and whether it is the one that runs backwards."""
    parts = [part for part in re.split(r"[/]", group) if part and part not in _AROUND]
    reverse = any(part.startswith("backward_") for part in parts)
    kept: list[str] = []
    for one in parts:
        inside = one.startswith(("backward_", "forward_")) and len(parts) > 1
        if not inside and not (_CELL.fullmatch(one) and len(parts) > 1) and kept[-1:] != [one]:
            kept.append(one)
    return ".".join(kept), reverse
