"""Arrays made of others, which are read only when they themselves are."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .block_orders import Family, in_torch_order
from .checkpoint import StoredArray

Change = Callable[[np.ndarray], np.ndarray]


def reordered(stored: StoredArray, order: str, family: Family) -> StoredArray:
    """Row blocks from an order such as `iofg` into torch's."""
    return _changed(stored, stored.shape, partial(in_torch_order, order=order, family=family))


def transposed(stored: StoredArray) -> StoredArray:
    """A matrix, the other way round."""
    return _changed(stored, stored.shape[::-1], np.transpose)


def part(stored: StoredArray, axis: int, start: int, stop: int) -> StoredArray:
    """The entries from `start` up to `stop` along one axis."""
    shape = (*stored.shape[:axis], stop - start, *stored.shape[axis + 1 :])
    return _changed(stored, shape, partial(_taken, axis=axis, start=start, stop=stop))


def entry(stored: StoredArray, index: int) -> StoredArray:
    """One entry along the first axis, which is dropped."""
    return _changed(stored, stored.shape[1:], partial(_entry, index=index))


def reshaped(stored: StoredArray, shape: tuple[int, ...]) -> StoredArray:
    """The same numbers in another shape."""
    return _changed(stored, shape, partial(np.reshape, shape=shape))


def negated(stored: StoredArray) -> StoredArray:
    """Every number with the other sign."""
    return _changed(stored, stored.shape, np.negative)


def shifted(stored: StoredArray, start: int, stop: int, by: float) -> StoredArray:
    """A vector with something added to some of its entries."""
    return _changed(stored, stored.shape, partial(_shifted, start=start, stop=stop, by=by))


def stacked(parts: Sequence[StoredArray]) -> StoredArray:
    """Arrays below each other."""
    shape = (sum(one.shape[0] for one in parts), *parts[0].shape[1:])
    return StoredArray(shape, parts[0].dtype, partial(_stacked, tuple(parts)))


def total(parts: Sequence[StoredArray]) -> StoredArray:
    """The sum of arrays of one shape."""
    return StoredArray(parts[0].shape, parts[0].dtype, partial(_total, tuple(parts)))


def zeros(size: int, dtype: str) -> StoredArray:
    """A vector of zeros, for a bias that only some of the blocks have."""
    return StoredArray((size,), dtype, partial(np.zeros, size, "float64" if dtype == "float64" else "float32"))


def _changed(stored: StoredArray, shape: tuple[int, ...], change: Change) -> StoredArray:
    return StoredArray(shape, stored.dtype, partial(_read_changed, stored, change))


def _read_changed(stored: StoredArray, change: Change) -> np.ndarray:
    return np.ascontiguousarray(change(stored.read()))


def _taken(values: np.ndarray, *, axis: int, start: int, stop: int) -> np.ndarray:
    return values.take(range(start, stop), axis=axis)


def _entry(values: np.ndarray, *, index: int) -> np.ndarray:
    return np.asarray(values[index])


def _shifted(values: np.ndarray, *, start: int, stop: int, by: float) -> np.ndarray:
    moved = values.copy()
    moved[start:stop] += by
    return moved


def _stacked(parts: tuple[StoredArray, ...]) -> np.ndarray:
    return np.concatenate([one.read() for one in parts], axis=0)


def _total(parts: tuple[StoredArray, ...]) -> np.ndarray:
    values = parts[0].read()
    for one in parts[1:]:
        values = values + one.read()
    return values
