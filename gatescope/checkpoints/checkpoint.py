"""What a checkpoint file holds: named arrays that are read when they are asked for, and what else is known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    from .found import Discovery, FoundLayer, Maybe


@dataclass(frozen=True, eq=False)
class StoredArray:
    """One array in a file, of which only name, shape and type are known until it is read."""

    shape: tuple[int, ...]
    dtype: str
    """As torch and numpy name it: `float32`, `bfloat16`, `int64`."""
    read: Callable[[], "numpy.ndarray"] = field(repr=False)
    """The numbers, native-endian and owned; bfloat16 widened to float32. Raises CheckpointError where they are bad."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One file, or one folder or set of shards that belong together."""

    path: str
    """As it was given."""
    format: str
    """In words: `torch zip`, `torch legacy`, `safetensors`."""
    arrays: Mapping[str, StoredArray]
    """By their raw path in the file, with dots: `state_dict.encoder.weight_ih_l0`."""
    hints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By the path of a module that the file describes: its `class` and plain attributes, such as `num_layers`,
    `batch_first`, `nonlinearity`, `proj_size`."""
    notes: tuple[str, ...] = ()
    """What whoever reads the file should know: `not built: mypkg.Config`, `no checksum`."""
    not_read: tuple[str, ...] = ()
    """Arrays that are in the file and could not be read, each with why."""
    dangers: tuple[str, ...] = ()
    """Calls that opening the file elsewhere would make: `os.system`. None of them was made here."""
    key: str | None = None
    """The path of the nested dictionary in which alone layers are looked for; None: wherever they are."""
    nonlinearity: str | None = None
    """`tanh` or `relu`, as you said it, for simple RNNs of which the file does not say."""
    settled: Mapping[str, str] = field(default_factory=dict)
    """What you said of layers that only might be some, by name: `gru-reset-before`, `lstm:xh`."""

    @property
    def layers(self) -> tuple["FoundLayer", ...]:
        """The recurrent layers, each with the evidence for it, in the order of the file."""
        return self.discovered.layers

    @property
    def maybe(self) -> tuple["Maybe", ...]:
        """What looks recurrent on evidence that is not sufficient, each with what would settle it."""
        return self.discovered.maybe

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything about the file that whoever reads its numbers should know."""
        dangers = (f"opening it elsewhere would call {call}; nothing was called here" for call in self.dangers)
        return (*dangers, *self.discovered.notes, *self.notes, *(f"not read: {what}" for what in self.not_read))

    @cached_property
    def discovered(self) -> "Discovery":
        """Layers, what might be some, and what was chosen where there was a choice; found when first asked for."""
        from .discover import discover

        return discover(self)
