"""The weight that a network uses, from what its file keeps of it: weight norm, pruning, weight drop.

    weight norm:  W = g v / |v|     |v| over every axis but those that g has
    pruning:      W = mask ⊙ W_orig
    weight drop:  W = W_raw         what is beside it is the weight with one step's dropout

Salimans & Kingma 2016; Merity, Keskar & Socher 2017.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from .checkpoint import StoredArray


class Resolved(NamedTuple):
    """One weight: where its numbers come from, under which names they are in the file, and how it is kept."""

    source: StoredArray
    names: tuple[str, ...]
    remark: str
    """Empty where the weight is kept as it is."""


def resolved(forms: Mapping[str, str], arrays: Mapping[str, StoredArray]) -> Resolved | None:
    """The weight behind the names in the file, by form; None where these forms do not say what it is."""
    for magnitude, direction in (("g", "v"), ("original0", "original1")):
        if {magnitude, direction} <= forms.keys():
            g, v = arrays[forms[magnitude]], arrays[forms[direction]]
            if not _scales(g.shape, v.shape):
                return None
            source = StoredArray(v.shape, v.dtype, partial(_normed, g, v))
            return Resolved(source, (forms[magnitude], forms[direction]), "weight norm, recomputed as g v / |v|")
    if {"orig", "mask"} <= forms.keys():
        kept, mask = arrays[forms["orig"]], arrays[forms["mask"]]
        if kept.shape != mask.shape:
            return None
        source = StoredArray(kept.shape, kept.dtype, partial(_pruned, kept, mask))
        return Resolved(source, (forms["orig"], forms["mask"]), "pruned: the mask times the original")
    if "raw" in forms:
        return Resolved(arrays[forms["raw"]], (forms["raw"],), "weight drop: the raw weight, without dropout")
    if "" in forms:
        return Resolved(arrays[forms[""]], (forms[""],), "")
    return None


def _scales(g: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether one shape can be the other's norms."""
    return not g or (len(g) == len(v) and all(a in (1, b) for a, b in zip(g, v, strict=True)))


def _normed(g: StoredArray, v: StoredArray) -> np.ndarray:
    magnitude, direction = g.read(), v.read()
    axes = tuple(axis for axis in range(direction.ndim) if magnitude.ndim == 0 or magnitude.shape[axis] == 1)
    norm = np.sqrt(np.square(direction, dtype=np.float64).sum(axis=axes, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # a direction of zeros has none: NaN, as in torch
        weight: np.ndarray = (direction * (magnitude / norm)).astype(direction.dtype)
    return weight


def _pruned(kept: StoredArray, mask: StoredArray) -> np.ndarray:
    weight = kept.read()
    product: np.ndarray = (weight * mask.read()).astype(weight.dtype)
    return product
