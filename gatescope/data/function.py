"""`module:function`: a function of one's own, imported from here and called with nothing; it returns x, or
x and lengths.

The one kind that runs code, and only because whoever gives the spec names it.
"""

import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .found import Found, Options, digest_of
from .place import Place, shown

_SPEC = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")

_LONGEST_ERROR = 300


def is_function(place: Place) -> bool:
    return place.path is None and _SPEC.fullmatch(place.spec) is not None


def read_function(place: Place, options: Options) -> Found:
    """What the function returns.

    Raises:
        InputError: there is no such function, it raises, or it returns no numbers.
    """
    said = _SPEC.fullmatch(place.spec)
    if said is None:
        raise InputError(f"{place.name} names no function; give one as in module:function.")
    with _beside_us(), _theirs(place, "could not be imported"):
        module = importlib.import_module(said["module"])
    function = getattr(module, said["function"], None)
    if not callable(function):
        has = "has no" if function is None else "has no function, but a value"
        raise InputError(f"{place.name}: the module {said['module']} {has} {said['function']}; name a function of it.")
    with _beside_us(), _theirs(place, "could not be called"):
        returned = function()
    x, lengths = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    with _theirs(place, "returned what makes no array"):
        values = _array(x)
        ends = None if lengths is None else _array(lengths)
    for numbers in (values, ends):
        if numbers is not None and numbers.dtype.kind not in "fiub":
            raise InputError(
                f"{place.name} returned {shown(type(x).__name__)} of {numbers.dtype}, where real numbers are wanted; "
                "return x as an array, or x and lengths."
            )
    return Found(values, place.name, digest_of(values), lengths=ends)


def _array(values: Any) -> np.ndarray:
    """Of a torch tensor too, without importing torch: who returns one has it."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values
        return np.asarray(values.numpy())
    return np.asarray(values)


@contextmanager
def _beside_us() -> Iterator[None]:
    """Modules in the current folder can be imported, as with `python -m`."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextmanager
def _theirs(place: Place, what: str) -> Iterator[None]:
    """What goes wrong in there is said in one sentence, with the place in their code."""
    try:
        yield
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if Path(last.filename) == Path(__file__) else f" at {shown(Path(last.filename).name)}:{last.lineno}"
        saw = f"{type(error).__name__}: {shown(str(error), _LONGEST_ERROR)}" if str(error) else type(error).__name__
        raise InputError(
            f"{place.name} {what} ({saw}{where}); the error is in that function, mend it there."
        ) from error
