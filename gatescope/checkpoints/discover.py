"""Which arrays of a checkpoint are recurrent layers: decided by names and shapes, with the evidence for each.

    rows(weight_hh) / hidden units = 4: an LSTM, 3: a GRU, 1: a simple RNN

where the hidden units are cols(weight_hr) with a projection, else cols(weight_hh). Shapes decide, not the words in a
name; where they contradict each other, or the file does not say enough, the arrays are a `Maybe`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .allennlp_convention import by_allennlps_names
from .candidate import Candidate
from .checkpoint import Checkpoint
from .containers import copies, is_of_an_optimiser, shown, shown_apart, split
from .found import CellName, Clip, Discovery, FoundLayer, Maybe
from .keras_convention import by_keras_names
from .names import PARAMETERS, layer_name
from .per_gate import by_names_per_gate
from .tensorflow_convention import by_tensorflows_names
from .torch_convention import by_torchs_names

CONVENTIONS: tuple[Callable[[Sequence[str], Checkpoint], list[Candidate]], ...] = (
    by_torchs_names,
    by_allennlps_names,
    by_keras_names,
    by_tensorflows_names,
    by_names_per_gate,
)
"""How recurrent weights are named; what one convention has taken, the next ones do not see."""


def discover(checkpoint: Checkpoint) -> Discovery:
    """The recurrent layers of a checkpoint, in the order of the file, and what only might be one."""
    left = [name for name in checkpoint.arrays if _is_under(name, checkpoint.key) and not is_of_an_optimiser(name)]
    candidates: list[Candidate] = []
    for convention in CONVENTIONS:
        candidates += (found := convention(left, checkpoint))
        taken = {name for candidate in found for name in candidate.names}
        left = [name for name in left if name not in taken]
    candidates = _in_the_order_of_the_file(candidates, checkpoint)
    candidates, aliases = _each_module_once(candidates, checkpoint)
    candidates, notes = _one_copy(candidates, checkpoint.key)
    paths = shown_apart(_below(candidate.module, checkpoint.key) for candidate in candidates)
    layers, maybe = [], []
    for candidate in candidates:
        name = layer_name(paths[_below(candidate.module, checkpoint.key)], candidate.suffix)
        others = (shown(_below(alias, checkpoint.key)) for alias in aliases[id(candidate)])
        known_as = tuple(layer_name(other, candidate.suffix) for other in others)
        judged = _judged(_settled(candidate, name, checkpoint.settled), name, known_as, checkpoint)
        if isinstance(judged, FoundLayer):
            layers.append(judged)
        else:
            maybe.append(judged)
    return Discovery(_with_depths_of_cells(layers), (*maybe, *_told_of(checkpoint)), tuple(notes))


def _with_depths_of_cells(layers: Sequence[FoundLayer]) -> tuple[FoundLayer, ...]:
    """A cell `layers.1` that takes what the cell `layers.0` gives lies above it in a stack."""
    given = {layer.name: layer.proj_size or layer.hidden_size for layer in layers}
    counted: list[FoundLayer] = []
    for layer in layers:
        path, _, number = layer.name.rpartition(".")
        above = 0 < len(number) <= 3 and number.isdecimal() and number.isascii() and int(number) > 0
        if above and given.get(f"{path}.{int(number) - 1}") == layer.input_size:
            counted.append(replace(layer, index=int(number)))
        else:
            counted.append(layer)
    return tuple(counted)


def _is_under(name: str, key: str | None) -> bool:
    return key is None or name.startswith(f"{key}.")


def _below(module: str, key: str | None) -> str:
    return module if key is None else module.removeprefix(key).removeprefix(".")


def _in_the_order_of_the_file(candidates: Sequence[Candidate], checkpoint: Checkpoint) -> list[Candidate]:
    """Modules as their first array is met; within a module, as its convention gives them."""
    met = {name: place for place, name in enumerate(checkpoint.arrays)}
    first: dict[str, int] = {}
    for candidate in candidates:
        place = min(met[name] for name in candidate.names)
        first[candidate.module] = min(place, first.get(candidate.module, place))
    return sorted(candidates, key=lambda candidate: first[candidate.module])


def _each_module_once(
    candidates: Sequence[Candidate], checkpoint: Checkpoint
) -> tuple[list[Candidate], dict[int, list[str]]]:
    """Without those that are the very same arrays under another name, and those other names."""
    known: dict[object, Candidate] = {}
    aliases: dict[int, list[str]] = {}
    for candidate in candidates:
        likeness = candidate.suffix, tuple(id(checkpoint.arrays[name]) for name in candidate.names)
        first = known.setdefault(likeness, candidate)
        aliases.setdefault(id(first), [])
        if first is not candidate:
            aliases[id(first)].append(candidate.module)
    return list(known.values()), aliases


def _one_copy(candidates: list[Candidate], key: str | None) -> tuple[list[Candidate], list[str]]:
    """Where the same network is there twice, as with averaged weights, the copy that was trained."""
    found: dict[str, set[object]] = {}
    for candidate in candidates:
        container, path = split(_below(candidate.module, key))
        found.setdefault(container, set()).add(_likeness(candidate, path))
    instead = copies(found)
    kept = []
    for candidate in candidates:
        container, path = split(_below(candidate.module, key))
        if container not in instead or _likeness(candidate, path) not in found[instead[container]]:
            kept.append(candidate)
    notes = [
        f"the same layers are under {other!r} and under {chosen!r}; those under {chosen or 'no name'!r} are taken, "
        f"and key={_joined(key, other)!r} takes the others"
        for other, chosen in instead.items()
    ]
    return kept, notes


def _joined(key: str | None, container: str) -> str:
    return f"{key}.{container}" if key else container


def _likeness(candidate: Candidate, path: str) -> object:
    return path, candidate.suffix, tuple((name, array.shape) for name, array in candidate.weights.items())


def _settled(candidate: Candidate, name: str, settled: Mapping[str, str]) -> Candidate:
    return candidate.choices.get(settled.get(name, ""), candidate)


def _told_of(checkpoint: Checkpoint) -> list[Maybe]:
    """What a reader has seen that looks recurrent and is in no array."""
    return [
        Maybe(tuple(hint.get("arrays", ())) or (path,), str(hint["maybe"]), "")
        for path, hint in checkpoint.hints.items()
        if "maybe" in hint and _is_under(f"{path}.", checkpoint.key)
    ]


def _judged(candidate: Candidate, name: str, aliases: tuple[str, ...], checkpoint: Checkpoint) -> FoundLayer | Maybe:
    hint = checkpoint.hints.get(candidate.module, {})
    doubt = candidate.doubt or str(hint.get("doubt", "")) or _contradiction(candidate)
    if doubt:
        choices = " or ".join(f"--map {name}={choice}" for choice in list(candidate.choices)[:4])
        return Maybe(candidate.names, f"{name}: {doubt}", choices)
    weights = candidate.weights
    rows, columns = weights["weight_hh"].shape
    hidden = weights["weight_hr"].shape[1] if "weight_hr" in weights else columns
    cell, remarks = _cell(candidate, rows // hidden, hint, checkpoint.nonlinearity)
    batch_first = hint.get("batch_first")
    return FoundLayer(
        name=name,
        cell=cell,
        input_size=weights["weight_ih"].shape[1],
        hidden_size=hidden,
        proj_size=columns if "weight_hr" in weights else 0,
        bias="bias_ih" in weights or "bias_hh" in weights,
        direction="reverse" if candidate.reverse else "forward",
        index=candidate.index,
        parameters=tuple(dict.fromkeys(hint.get("parameters", {}).get(one, one) for one in candidate.names)),
        why="; ".join((_shapes(candidate, rows, columns, hidden), *candidate.remarks, *remarks)),
        sources={parameter: weights[parameter] for parameter in PARAMETERS if parameter in weights},
        clip=candidate.clip or _clip(hint),
        batch_first=batch_first if isinstance(batch_first, bool) else None,
        aliases=aliases,
    )


def _contradiction(candidate: Candidate) -> str:
    """What the shapes say against a layer; empty where they agree."""
    w = {name: array.shape for name, array in candidate.weights.items()}
    if any(len(shape) != (1 if name.startswith("bias") else 2) or 0 in shape for name, shape in w.items()):
        return "its shapes are " + ", ".join(f"{name} {_times(shape)}" for name, shape in w.items())
    rows, columns = w["weight_hh"]
    hidden = w["weight_hr"][1] if "weight_hr" in w else columns
    if rows % hidden or rows // hidden not in (1, 3, 4):
        return f"{rows} rows for {hidden} hidden units make {rows / hidden:g} blocks, where cells have 4, 3 or 1"
    if "weight_hr" in w and (w["weight_hr"][0] != columns or rows // hidden != 4):
        return f"its projection is {_times(w['weight_hr'])} where weight_hh is {_times(w['weight_hh'])}"
    wrong = [name for name, shape in w.items() if name != "weight_hr" and shape[0] != rows]
    return f"weight_hh has {rows} rows, and {wrong[0]} has {w[wrong[0]][0]}" if wrong else ""


def _shapes(candidate: Candidate, rows: int, columns: int, hidden: int) -> str:
    size = f"weight_hh is {rows} × {columns}"
    blocks = rows // hidden
    counted = f"{blocks} blocks of {hidden} rows" if blocks > 1 else "one block"
    if "weight_hr" in candidate.weights:
        return f"{size}, which is {counted}, and weight_hr projects {hidden} units to {columns}"
    return f"{size}, which is {counted}"


def _cell(
    candidate: Candidate, blocks: int, hint: Mapping[str, Any], nonlinearity: str | None
) -> tuple[CellName, list[str]]:
    """The cell, and what beside the shapes speaks for it."""
    said = [f"its class is {hint['class']}"] if hint.get("class") else []
    if candidate.cell is not None:
        return candidate.cell, said
    if blocks == 4:
        return "lstm", said
    if blocks == 3:
        return (
            ("gru-reset-before", [*said, "it resets before the product"])
            if hint.get("reset_after") is False
            else ("gru", said)
        )
    told = _nonlinearity(hint)
    if told:
        return told, [*said, f"the file says {told.removeprefix('rnn-')}"]
    match nonlinearity:
        case "tanh":
            return "rnn-tanh", [*said, "tanh is what you said"]
        case "relu":
            return "rnn-relu", [*said, "relu is what you said"]
    return "rnn", [*said, "whether tanh or relu is not in the file; --nonlinearity says it"]


def _nonlinearity(hint: Mapping[str, Any]) -> CellName | None:
    said = {str(hint.get("nonlinearity")).lower(), str(hint.get("mode")).lower().removeprefix("rnn_")}
    return "rnn-tanh" if "tanh" in said else "rnn-relu" if "relu" in said else None


def _clip(hint: Mapping[str, Any]) -> Clip | None:
    bound = hint.get("clip")
    return Clip(preactivation=float(bound)) if isinstance(bound, int | float) and bound > 0 else None


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"
