"""Layers under torch's own names, `encoder.weight_ih_l0_reverse`, or short forms of them such as `enc_w_ih`."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from .candidate import Candidate
from .checkpoint import Checkpoint, StoredArray
from .names import PARAMETERS, ParameterName, depth_of, parsed
from .weight_forms import resolved

Place = tuple[str, str]
"""A module's path and torch's suffix of depth and direction."""


def by_torchs_names(names: Sequence[str], checkpoint: Checkpoint) -> list[Candidate]:
    """A candidate for each module, depth and direction that has recurrent weights."""
    places: dict[Place, dict[str, dict[str, str]]] = {}
    joined: set[Place] = set()
    for name in names:
        said = parsed(name)
        if said is not None:
            place = (said.module, said.suffix)
            places.setdefault(place, {}).setdefault(said.parameter, {})[said.form] = name
            if not said.torch_style:
                joined.add(place)
    _move_raw_weights_down(places)
    ordered = sorted(names)
    spelled = [place for place, found in places.items() if place not in joined or len(_weights(found)) == 2]
    return [
        _candidate(place, places[place], checkpoint, ordered, short=place in joined)
        for place in sorted(spelled, key=_by_module_as_met(places))
        if _weights(places[place])
    ]


def _weights(found: Mapping[str, object]) -> set[str]:
    return {"weight_ih", "weight_hh"} & found.keys()


def _by_module_as_met(places: Mapping[Place, object]) -> Callable[[Place], tuple[int, int, bool]]:
    met = {module: order for order, module in enumerate(dict.fromkeys(module for module, _ in places))}
    return lambda place: (met[place[0]], depth_of(place[1]), place[1].endswith("_reverse"))


def _move_raw_weights_down(places: dict[Place, dict[str, dict[str, str]]]) -> None:
    """A weight drop that wraps a module as its `module` keeps the raw weight beside it; it belongs inside."""
    for place in list(places):
        inner = (f"{place[0]}.module" if place[0] else "module", place[1])
        if inner in places and all(set(forms) == {"raw"} for forms in places[place].values()):
            for parameter, forms in places.pop(place).items():
                places[inner].setdefault(parameter, {}).update(forms)


def _candidate(
    place: Place,
    found: Mapping[str, Mapping[str, str]],
    checkpoint: Checkpoint,
    ordered: Sequence[str],
    *,
    short: bool,
) -> Candidate:
    module, suffix = place
    weights: dict[str, StoredArray] = {}
    used: list[str] = []
    remarks: list[str] = []
    doubt = ""
    for parameter in PARAMETERS:
        if parameter not in found:
            continue
        known = resolved(found[parameter], checkpoint.arrays)
        if known is None:
            used += found[parameter].values()
            kept = " and ".join(sorted(found[parameter].values()))
            doubt = f"{parameter} is kept as {kept}, and what the network makes of that the file does not say"
            continue
        weights[parameter] = known.source
        used += known.names
        if known.remark:
            remarks.append(f"{parameter}: {known.remark}")
    missing = {"weight_ih", "weight_hh"} - found.keys()
    if missing:
        doubt = f"{missing.pop()} is missing beside it"
    others = _others_in_the_module(module, ordered, used) if not suffix and module and not short else []
    if others and not doubt:
        doubt = f"its module holds {', '.join(others[:4])} too, so it is no plain cell of torch's"
    if short:
        remarks.append("by short names, its blocks taken in torch's order")
    return Candidate(
        module, suffix, weights, tuple(used), tuple(remarks),
        reverse=suffix.endswith("_reverse"), index=depth_of(suffix), doubt=doubt,
    )  # fmt: skip


def _others_in_the_module(module: str, ordered: Sequence[str], used: Sequence[str]) -> list[str]:
    """Arrays of a cell's module that no cell of torch's has; `ordered` are all names, sorted."""
    first, after = (bisect_left(ordered, f"{module}{mark}") for mark in "./")  # the slash comes right after the dot
    return [name for name in ordered[first:after] if name not in used and _is_of_another_kind(parsed(name), module)]


def _is_of_another_kind(said: ParameterName | None, module: str) -> bool:
    return said is None or (said.module, said.suffix) != (module, "")
