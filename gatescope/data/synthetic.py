"""`synthetic:normal,B=32,T=200[,F=8]`: B sequences of T steps of F independent numbers, normal with mean 0 and
variance 1; F is what the layer takes, where it is not said.
"""

import math

import numpy as np

from ..errors import InputError
from .found import MOST_NUMBERS, Found, Options, digest_of
from .place import Place, quoted

_PREFIX = "synthetic:"
_FORM = "synthetic:normal,B=32,T=200,F=8"
_MEANING = {"B": "sequences", "T": "steps", "F": "features"}


def is_synthetic(place: Place) -> bool:
    return place.path is None and place.spec.startswith(_PREFIX)


def read_synthetic(place: Place, options: Options) -> Found:
    """The numbers, float32 [sequence, time, feature], the same for the same seed.

    Raises:
        InputError: the spec does not say how many, or too many.
    """
    kind, *parts = place.spec.removeprefix(_PREFIX).split(",")
    if kind != "normal":
        raise InputError(f"{place.name} asks for {quoted(kind)}; there is only normal, as in {_FORM}.")
    sizes = {} if options.features is None else {"F": options.features}
    given: set[str] = set()
    for part in parts:
        name, _, number = part.partition("=")
        if name not in _MEANING or name in given or not (number.isascii() and number.isdigit() and int(number[:10])):
            raise InputError(f"{place.name} says {quoted(part)}; give B, T and F once each, as in {_FORM}.")
        given.add(name)
        sizes[name] = int(number[:10])
    missing = [f"{name} ({meaning})" for name, meaning in _MEANING.items() if name not in sizes]
    if missing:
        raise InputError(f"{place.name} does not say {' and '.join(missing)}; give all, as in {_FORM}.")
    shape = (sizes["B"], sizes["T"], sizes["F"])
    if math.prod(shape) > MOST_NUMBERS:
        raise InputError(f"{place.name} asks for {math.prod(shape)} numbers, above {MOST_NUMBERS}; ask for fewer.")
    values = np.random.default_rng(options.seed).standard_normal(shape, dtype=np.float32)
    return Found(values, place.name, digest_of(values), remarks=(f"seed {options.seed}",))
