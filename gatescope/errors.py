"""What can go wrong, as one family: each message says what was seen, what was wanted and what to do."""


class GatescopeError(Exception):
    """Every error that gatescope raises on purpose.

    The message is one sentence: where and what was seen, what was wanted; what to do, as in
    `encoder.l0: x has 12 features where the layer takes 64; pass x with 64 features in its last dimension`.
    """


class InputError(GatescopeError, ValueError):
    """What was handed in cannot be used."""


class ReplayError(GatescopeError, RuntimeError):
    """The gates behind a recorded output could not be proven."""


class NotRecordedError(GatescopeError, LookupError):
    """Asked for what was not recorded."""


class UnreadableError(GatescopeError, ValueError):
    """A file is not what it should be, or is damaged."""


class CheckpointError(UnreadableError):
    """A checkpoint is damaged, looks hostile, or is of a kind that cannot be read safely; the message says which."""


class MissingExtraError(GatescopeError, ImportError):
    """An optional library is needed and not installed; what to do is the pip command that installs it."""


class GatescopeWarning(UserWarning):
    """Something the person who reads the numbers should know."""
