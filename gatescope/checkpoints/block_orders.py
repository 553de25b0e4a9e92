"""In which order each framework stacks the blocks of its gates, and how a stack becomes torch's.

    torch     LSTM i f g o     GRU r z n
    Keras     LSTM i f g o     GRU z r n
    ONNX      LSTM i o f g     GRU z r n
    TF1       LSTM i g f o
    haste     LSTM i g f o     GRU z r n

in torch's letters: Keras and ONNX call the candidates c and h, TensorFlow 1 calls g j.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

Family = Literal["lstm", "gru", "rnn"]

TORCH: Mapping[Family, str] = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}
KERAS: Mapping[Family, str] = {"lstm": "ifgo", "gru": "zrn", "rnn": "h"}
ONNX: Mapping[Family, str] = {"lstm": "iofg", "gru": "zrn", "rnn": "h"}
TF1: Mapping[Family, str] = {"lstm": "igfo"}
HASTE: Mapping[Family, str] = {"lstm": "igfo", "gru": "zrn"}


def in_torch_order(rows: np.ndarray, order: str, family: Family) -> np.ndarray:
    """The row blocks of an array, from an order such as `iofg` into torch's."""
    blocks = np.split(rows, len(order), axis=0)
    return np.concatenate([blocks[order.index(gate)] for gate in TORCH[family]], axis=0)
