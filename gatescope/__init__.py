"""Every gate of any LSTM, GRU or RNN in PyTorch, at every timestep, with the true gradient.

The names below are loaded when they are first used, so that `import gatescope` costs nothing and imports no torch.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Recorder": "gatescope.recording.recorder",
    "RecordingLSTMCell": "gatescope.recording.modules",
    "RecordingGRUCell": "gatescope.recording.modules",
    "RecordingRNNCell": "gatescope.recording.modules",
    "RecordingLSTM": "gatescope.recording.modules",
    "RecordingGRU": "gatescope.recording.modules",
    "RecordingRNN": "gatescope.recording.modules",
    "RecurrentLayer": "gatescope.layers",
    "Trace": "gatescope.trace",
    "Adjoint": "gatescope.trace",
    "Cell": "gatescope.cells",
    "CELLS": "gatescope.cells",
    "read": "gatescope.checkpoints.reading",
    "Checkpoint": "gatescope.checkpoints.checkpoint",
    "analyze": "gatescope.analysis.analyze",
    "load": "gatescope.analysis.archive",
    "Analysis": "gatescope.analysis.analysis",
    "Excerpt": "gatescope.analysis.excerpt",
    "Verdict": "gatescope.verdicts",
    "Level": "gatescope.verdicts",
    "GatescopeError": "gatescope.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gatescope' has no attribute {name!r}; it has {', '.join(_HOMES)}", name=name)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
