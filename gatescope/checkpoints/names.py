"""Torch's names of recurrent parameters, `encoder.weight_ih_l0_reverse`, also as weight norm and others keep them."""

import re
from typing import NamedTuple

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
"""In torch's order."""

_PARAMETER = re.compile(
    r"(?:(?P<prefix>.*)[_/])?(?P<what>weight|bias|[WwBb])_(?P<side>ih|hh|hr)"
    r"(?:_(?P<suffix>l\d{1,3}(?:_reverse)?))?(?:_(?P<form>g|v|u|raw|orig|mask))?",
    re.DOTALL,
)
_LONGEST = 1000
"""No module tree is as deep as to need longer names."""


class ParameterName(NamedTuple):
    """One name, taken apart."""

    module: str
    """The path of the module, as it stands in the file."""
    suffix: str
    """`l0`, `l1_reverse`; empty for a cell."""
    parameter: str
    """`weight_ih` and so on."""
    form: str
    """Empty for the parameter itself; `g` and `v` of weight norm, `raw` of weight drop, `original0`, …"""
    torch_style: bool
    """Whether it is written as torch writes it, not shortened or joined as in `enc_w_ih`."""


def parsed(name: str) -> ParameterName | None:
    """What a name says, if it is one of a recurrent parameter."""
    if len(name) > _LONGEST:
        return None
    *path, last = name.split(".")
    form = ""
    if last in {"original", "original0", "original1"} and len(path) >= 2 and path[-2] == "parametrizations":
        form, last, path = last, path[-1], path[:-2]
    match = _PARAMETER.fullmatch(last)
    if match is None:
        return None
    what = {"w": "weight", "b": "bias"}.get(match["what"].lower(), match["what"])
    parameter = f"{what}_{match['side']}"
    if parameter not in PARAMETERS:
        return None
    module = ".".join([*path, match["prefix"]] if match["prefix"] else path)
    torch_style = match["prefix"] is None and match["what"] == what
    return ParameterName(module, match["suffix"] or "", parameter, form or match["form"] or "", torch_style)


def depth_of(suffix: str) -> int:
    """The depth in the stack that `l1_reverse` names: 1; a cell has 0."""
    return int(suffix.removesuffix("_reverse").removeprefix("l")) if suffix else 0


def layer_name(module: str, suffix: str) -> str:
    """As a recording names the layer: `encoder.l0`; a cell at the root is `cell`."""
    return ".".join(part for part in (module, suffix) if part) or "cell"
