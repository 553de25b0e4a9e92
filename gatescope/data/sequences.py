"""From the numbers of a source to sequences: what each dimension is, windows of one long sequence, characters one-hot.

    [time]                        one sequence of one feature
    [time, feature]               one sequence
    [sequence, time, feature]     as it is
    integers, [time] or [sequence, time], where nobody says how many features are wanted: the ids of tokens

One long sequence can be cut into windows that follow each other without overlap; what fills no window is left out.
"""

import numpy as np

from ..errors import InputError
from .data import Cut, Data, Target, checked_lengths
from .found import MOST_NUMBERS, Found, count

TEXT_WINDOW = 200
"""Steps of the windows of a text, where nobody says how many; nobody runs a network over a book in one sequence."""


def sequences(found: Found, *, window: int | None, most: int | None, features: int | None, one_hot: bool) -> Data:
    """The sequences, at most so many; `one_hot` decides for characters only.

    Raises:
        InputError: numbers that cannot be sequences, or with another number of features than the layer takes.
    """
    for said, what in ((window, "a window of {} steps"), (most, "{} sequences")):
        if said is not None and said < 1:
            raise InputError(f"{found.name}: {what.format(said)} cannot be cut; give a number from 1.")
    values, long = _with_dimensions(found, features)
    remarks = list(found.remarks)
    steps = len(values) if long else None
    if long:
        values = (
            values[None] if window is None and not found.tokens else _windows(values, window or TEXT_WINDOW, remarks)
        )
    elif window not in (None, values.shape[1]):
        has = f"{count(len(values), 'sequence')} of {count(values.shape[1], 'step')}"
        raise InputError(f"{found.name} is {has} and not one long one; leave the window out.")
    cut = Cut(steps, len(values))
    lengths = None if found.lengths is None else checked_lengths(found.lengths, values, found.name)
    if most is not None and most < len(values):
        remarks.append(f"the first {most} of {len(values)} sequences")
        values, lengths = values[:most], None if lengths is None else lengths[:most]
    if found.tokens and one_hot:
        values = _one_hot(found, values)
    x = _ids(found, values) if values.ndim == 2 else _floats(found, values, lengths, remarks)
    if features is not None and x.ndim == 3 and x.shape[2] != features:
        by = "give the vocabulary that it was trained with" if found.tokens else f"give data with {features}"
        raise InputError(f"{found.name} has {count(x.shape[2], 'feature')} where the layer takes {features}; {by}.")
    return Data(x, lengths, found.tokens, _what(found, x, lengths, remarks), cut)


def target(found: Found, of: Data) -> Target:
    """Numbers to compare outputs with: an entry for each sequence, or for each step of the long one that was cut.

    Raises:
        InputError: as many entries as neither of them.
    """
    values, steps = found.values, of.x.shape[1]
    whole, had = of.cut
    rows = values.shape[0] if values.ndim else 0
    if whole is not None and rows == whole:
        values = values[: had * steps].reshape(had, steps, *values.shape[1:])
    elif rows != had:
        each = f"{had} sequences" if whole is None else f"{whole} steps, in {had} sequences"
        raise InputError(f"{found.name} has {rows} entries where the data has {each}; give one for each.")
    values = values[: len(of.x)]
    remarks = list(found.remarks)
    is_float = values.dtype.kind == "f"
    y = _floats(found, values, None, remarks) if is_float else np.ascontiguousarray(values, np.int64)
    shape = " x ".join(map(str, y.shape))
    return Target(y, "; ".join([f"{found.name}: {shape} {y.dtype.name}", *remarks, f"sha256 {found.sha256}"]))


def _with_dimensions(found: Found, features: int | None) -> tuple[np.ndarray, bool]:
    """[time, …] of one long sequence and True, or [sequence, time, …] and False."""
    values = found.values
    if not values.size:
        raise InputError(f"{found.name} is empty, of shape {list(values.shape)}; give at least one number.")
    if found.tokens or (values.dtype.kind in "iu" and features is None and values.ndim < 3):
        long = values.ndim == 1
    elif values.ndim in (1, 2, 3):
        long = values.ndim < 3
        values = values[:, None] if values.ndim == 1 else values
    else:
        raise InputError(
            f"{found.name} has {count(values.ndim, 'dimension')} where one to three are wanted; "
            "give [time], [time, feature] or [sequence, time, feature]."
        )
    if long and found.lengths is not None:
        raise InputError(f"{found.name} is one sequence and comes with lengths; give x as [sequence, time, feature].")
    return values, long


def _windows(values: np.ndarray, window: int, remarks: list[str]) -> np.ndarray:
    steps = len(values)
    width = min(window, steps)
    windows, left = divmod(steps, width)
    if windows > 1 or left:
        rest = f", the last {count(left, 'step')} left out" if left else ""
        remarks.append(f"one sequence of {steps} steps cut into {count(windows, 'window')}{rest}")
    return values[: windows * width].reshape(windows, width, *values.shape[1:])


def _one_hot(found: Found, ids: np.ndarray) -> np.ndarray:
    if ids.size * len(found.tokens) > MOST_NUMBERS:
        raise InputError(
            f"{found.name} makes {ids.size * len(found.tokens)} numbers as one-hot characters, above {MOST_NUMBERS}; "
            "choose fewer sequences, or a part of it."
        )
    values = np.zeros((*ids.shape, len(found.tokens)), np.float32)
    np.put_along_axis(values, ids[..., None], 1, axis=-1)
    return values


def _ids(found: Found, values: np.ndarray) -> np.ndarray:
    ids = np.ascontiguousarray(values, np.int64)
    if ids.min() < 0:
        raise InputError(f"{found.name} has {ids.min()} as a token; give ids from 0.")
    return ids


def _floats(found: Found, values: np.ndarray, lengths: np.ndarray | None, remarks: list[str]) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # each is looked at below
        x = np.ascontiguousarray(values, np.float32)
    finite = np.isfinite(x)
    if finite.all():
        return x
    if not np.array_equal(finite, np.isfinite(values)):
        raise InputError(f"{found.name} has numbers beyond float32, 3.4e38; give it another unit.")
    if lengths is not None:
        finite[np.arange(x.shape[1]) >= lengths[:, None]] = True  # padding is no number of the data
    if not finite.all():
        remarks.append(f"{int((~finite).sum())} of {x.size} numbers not finite")
    return x


def _what(found: Found, x: np.ndarray, lengths: np.ndarray | None, remarks: list[str]) -> str:
    each = count(x.shape[2], "feature") if x.ndim == 3 else "ids of tokens"
    ends = [] if lengths is None else [between(lengths)]
    made = f"{found.name}: {count(len(x), 'sequence')} of {count(x.shape[1], 'step')}, {each}"
    return "; ".join([made, *ends, *remarks, f"sha256 {found.sha256}"])


def between(lengths: np.ndarray) -> str:
    """Such as `lengths from 3 to 17 steps`."""
    return f"lengths from {lengths.min()} to {count(int(lengths.max()), 'step')}"
