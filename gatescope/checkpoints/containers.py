"""Which of a file's nested dictionaries holds the network: a state dict, a copy with averaged weights, an optimiser."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

CONTAINERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params"),
    *("checkpoint", "ema_state_dict", "model_ema", "ema_model", "ema"),
)
"""Names under which networks are saved, the likelier first: trained weights before their running averages."""

NEVER_MODULES = frozenset(CONTAINERS) - {"net", "network", "weights", "params"}
"""Those that are not shown as part of a layer's name; DataParallel and Lightning put `module` and `model` before it."""

WRAPPERS = frozenset({"_orig_mod", "_module"})
"""Modules around others, wherever they are in a path: torch.compile's and AllenNLP's."""

_AVERAGED = re.compile(r"(^|_)(ema|swa|avg|averaged)(_|$)", re.IGNORECASE)
_OPTIMISER = re.compile(r"optim|optimi[sz]er|.*_optimi[sz]er|.*_optim|lr_scheduler|scheduler", re.IGNORECASE)


def split(module: str) -> tuple[str, str]:
    """A module's path in the file, as the dictionary that holds the network and the path inside the network."""
    parts = module.split(".") if module else []
    depth = 0
    while depth < len(parts) and (parts[depth] in CONTAINERS or _AVERAGED.search(parts[depth])):
        depth += 1
    return ".".join(parts[:depth]), ".".join(parts[depth:])


def shown(module: str) -> str:
    """A module's path as a recording of the live network has it: without dictionaries and wrappers around it."""
    parts = module.split(".") if module else []
    while parts and (parts[0] in NEVER_MODULES or parts[0] in WRAPPERS):
        parts.pop(0)
    return ".".join(part for part in parts if part not in WRAPPERS)


def shown_apart(modules: Iterable[str]) -> dict[str, str]:
    """Each module's path as it is shown; where two would be shown alike, each as it stands in the file."""
    short = {module: shown(module) for module in modules}
    taken = Counter(short.values())
    return {module: module if taken[path] > 1 else path for module, path in short.items()}


def is_of_an_optimiser(module: str) -> bool:
    """Whether a path leads into the state of an optimiser, which repeats the shapes of the network."""
    return _OPTIMISER.fullmatch(module.partition(".")[0]) is not None


def copies(found: Mapping[str, Collection[object]]) -> dict[str, str]:
    """The containers that hold a layer which another one holds too, each with the container that is chosen instead.

    `found` has, for each container, what is in it: paths and shapes of layers.
    """
    ranked = sorted(found, key=_rank)
    instead: dict[str, str] = {}
    for place, container in enumerate(ranked):
        for other in ranked[:place]:
            if other not in instead and set(found[container]) & set(found[other]):
                instead[container] = other
                break
    return instead


def _rank(container: str) -> tuple[bool, list[int]]:
    parts = container.split(".") if container else []
    places = [CONTAINERS.index(part) if part in CONTAINERS else len(CONTAINERS) for part in parts]
    return any(_AVERAGED.search(part) for part in parts), places
