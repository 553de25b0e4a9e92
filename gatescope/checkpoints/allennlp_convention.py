"""LSTMs as AllenNLP writes them, ELMo's among them: `forward_layer_0.input_linearity.weight` and its neighbours.

AllenNLP's blocks stand in torch's order i f g o; the one bias is on the hidden side; the projection is
`state_projection`. ELMo clamps its cell and its projected state at 3 (Peters et al. 2018, as published with its
options), which no array says.
"""

import re
from collections.abc import Mapping, Sequence

from .candidate import Candidate
from .checkpoint import Checkpoint, StoredArray
from .found import Clip

_CHILDREN = {
    "input_linearity.weight": "weight_ih",
    "state_linearity.weight": "weight_hh",
    "input_linearity.bias": "bias_ih",
    "state_linearity.bias": "bias_hh",
    "state_projection.weight": "weight_hr",
}
_DIRECTION = re.compile(r"(forward|backward)_layer_(\d{1,3})$")
_ELMO_CLIP = 3.0


def by_allennlps_names(names: Sequence[str], checkpoint: Checkpoint) -> list[Candidate]:
    """A candidate for each module with an `input_linearity` and a `state_linearity`."""
    modules: dict[str, dict[str, str]] = {}
    for name in names:
        for child, parameter in _CHILDREN.items():
            if name == child or name.endswith(f".{child}"):
                modules.setdefault(name.removesuffix(child).removesuffix("."), {})[parameter] = name
    return [
        _candidate(module, found, checkpoint)
        for module, found in modules.items()
        if {"weight_ih", "weight_hh"} <= found.keys()
    ]


def _candidate(module: str, found: dict[str, str], checkpoint: Checkpoint) -> Candidate:
    weights = {parameter: checkpoint.arrays[found[parameter]] for parameter in _CHILDREN.values() if parameter in found}
    place = _DIRECTION.search(module)
    elmo = "elmo" in module.lower() and "weight_hr" in weights
    clip = "the clip at 3 is ELMo's, as published; the file itself does not say" if elmo else ""
    remarks = ["input_linearity and state_linearity are AllenNLP's names, in its order i f g o", clip]
    return Candidate(
        module, "", weights, tuple(found[parameter] for parameter in weights), tuple(filter(None, remarks)),
        clip=Clip(cell=_ELMO_CLIP, output=_ELMO_CLIP) if elmo else None,
        reverse=place is not None and place[1] == "backward",
        index=int(place[2]) if place else 0,
        doubt=_doubt(weights),
    )  # fmt: skip


def _doubt(weights: Mapping[str, StoredArray]) -> str:
    above, beside = (weights[name].shape[:1] for name in ("weight_ih", "weight_hh"))
    if above == beside:
        return ""
    return f"input_linearity has {above} rows and state_linearity {beside}, as with a highway around the layer"
