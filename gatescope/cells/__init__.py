"""Every kind of cell that gatescope knows, by name."""

from .cell import Affine, Cell, Named, Pullback, Weights
from .gru import GRU
from .gru_reset_before import GRUResetBefore
from .lstm import LSTM
from .rnn import ReluRNN, TanhRNN

CELLS: dict[str, Cell] = {cell.kind: cell for cell in (TanhRNN(), ReluRNN(), LSTM(), GRU(), GRUResetBefore())}
"""The kinds: `rnn-tanh`, `rnn-relu`, `lstm` (projection included), `gru`, `gru-reset-before`."""

__all__ = ["CELLS", "Affine", "Cell", "Named", "Pullback", "Weights"]
