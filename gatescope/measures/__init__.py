"""One question, one file, one frozen answer: numbers with their unit, never a judgement and never a picture."""

from .contributions import Contributions
from .fixed_points import FixedPoints
from .fresh_window import FreshWindow
from .gate_statistics import GateStatistics
from .gradient_norms import GradientNorms
from .lag_curve import LagCurve
from .lyapunov import Lyapunov
from .onset import Onset
from .padding import Padding
from .path_split import PathSplit
from .singular_values import SingularValues
from .state_geometry import StateGeometry
from .sum_rule import SumRule
from .truncation import Truncation
from .weights import LayerWeights
from .zero_state import ZeroState

MEASURES = (
    LagCurve,
    FreshWindow,
    Truncation,
    Contributions,
    PathSplit,
    GateStatistics,
    Lyapunov,
    SumRule,
    LayerWeights,
    ZeroState,
    SingularValues,
    StateGeometry,
    FixedPoints,
    Onset,
    GradientNorms,
    Padding,
)
"""Every kind of answer; `measure` is its name, `to_frame()` a tidy table."""
