"""Tasks of which the needed lag, the chance level and the best possible error are known before anything is trained."""

from .sine import sine
from .task import Task

TASKS = (sine,)
"""Every generator: called with its own settings and a seed, it returns a `Task`."""

__all__ = ["TASKS", "Task", "sine"]
