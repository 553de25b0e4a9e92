"""LSTMs as TensorFlow 1 names them, ELMo's among them: `…/Cell0/LSTMCell/W_0` with `B` and, projected, `W_P_0`.

One matrix [input + output, 4 units] takes the input and then the hidden state, its blocks in the order i j f o; a
`forget_bias` of 1 is added as the network runs and stands in no array, so it is added here (TensorFlow 1's default,
which ELMo kept; Peters et al. 2018 clamp cell and projection at 3).
"""

import re
from collections.abc import Sequence

from .block_orders import TF1
from .candidate import Candidate
from .checkpoint import Checkpoint, StoredArray
from .derived import part, reordered, shifted, transposed
from .found import Clip

_NAMED = re.compile(
    r"(?P<module>.*(?:lstm_cell|LSTMCell|lstmcell))/(?P<what>W_0|B|W_P_0|kernel|bias|projection/kernel)(?::0)?",
    re.DOTALL,
)
_WHAT = {"W_0": "W", "kernel": "W", "B": "B", "bias": "B", "W_P_0": "P", "projection/kernel": "P"}
_ELMO = re.compile(r"RNN_(?P<direction>[01])/RNN/MultiRNNCell/Cell(?P<depth>\d{1,2})/LSTMCell")
_FORGET_BIAS = 1.0
_LONGEST = 1000


def by_tensorflows_names(names: Sequence[str], checkpoint: Checkpoint) -> list[Candidate]:
    """A candidate for each LSTM cell with one matrix for input and hidden state."""
    cells: dict[str, dict[str, str]] = {}
    for name in names:
        if len(name) <= _LONGEST and (match := _NAMED.fullmatch(name)):
            cells.setdefault(match["module"], {})[_WHAT[match["what"]]] = name
    made = (_candidate(module, found, checkpoint) for module, found in cells.items() if {"W", "B"} <= found.keys())
    return [candidate for candidate in made if candidate is not None]


def _candidate(module: str, found: dict[str, str], checkpoint: Checkpoint) -> Candidate | None:
    arrays: dict[str, StoredArray] = {letter: checkpoint.arrays[name] for letter, name in found.items()}
    whole, bias = arrays["W"].shape, arrays["B"].shape
    units = bias[0] // 4 if len(bias) == 1 else 0
    output = arrays["P"].shape[-1] if "P" in arrays and arrays["P"].shape[:1] == (units,) else units
    if not units or len(whole) != 2 or whole[1] != 4 * units or bias[0] % 4 or whole[0] <= output:
        return None
    features = whole[0] - output
    weights = {
        "weight_ih": reordered(transposed(part(arrays["W"], 0, 0, features)), TF1["lstm"], "lstm"),
        "weight_hh": reordered(transposed(part(arrays["W"], 0, features, whole[0])), TF1["lstm"], "lstm"),
        "bias_ih": reordered(shifted(arrays["B"], 2 * units, 3 * units, _FORGET_BIAS), TF1["lstm"], "lstm"),
    }
    if "P" in arrays:
        weights["weight_hr"] = transposed(arrays["P"])
    elmo = _ELMO.fullmatch(module)
    remarks = ["TensorFlow 1's names, in the order i j f o, its forget_bias of 1 added"]
    if elmo:
        remarks.append("the clip at 3 is ELMo's, as published; the file itself does not say")
    return Candidate(
        module.replace("/", "."), "", weights, tuple(found.values()), tuple(remarks),
        clip=Clip(cell=3.0, output=3.0) if elmo else None,
        reverse=elmo is not None and elmo["direction"] == "1", index=int(elmo["depth"]) if elmo else 0,
    )  # fmt: skip
