"""The public names, for type checkers; `__init__.py` loads them when they are first used."""

from gatescope.analysis.analysis import Analysis as Analysis
from gatescope.analysis.analyze import analyze as analyze
from gatescope.analysis.archive import load as load
from gatescope.analysis.excerpt import Excerpt as Excerpt
from gatescope.cells import CELLS as CELLS
from gatescope.cells import Cell as Cell
from gatescope.checkpoints.checkpoint import Checkpoint as Checkpoint
from gatescope.checkpoints.reading import read as read
from gatescope.errors import GatescopeError as GatescopeError
from gatescope.layers import RecurrentLayer as RecurrentLayer
from gatescope.recording.modules import RecordingGRU as RecordingGRU
from gatescope.recording.modules import RecordingGRUCell as RecordingGRUCell
from gatescope.recording.modules import RecordingLSTM as RecordingLSTM
from gatescope.recording.modules import RecordingLSTMCell as RecordingLSTMCell
from gatescope.recording.modules import RecordingRNN as RecordingRNN
from gatescope.recording.modules import RecordingRNNCell as RecordingRNNCell
from gatescope.recording.recorder import Recorder as Recorder
from gatescope.trace import Adjoint as Adjoint
from gatescope.trace import Trace as Trace
from gatescope.verdicts import Level as Level
from gatescope.verdicts import Verdict as Verdict

__version__: str
