"""Every judgement: whether a gradient vanishes or explodes over a lag, or whether nobody can tell.

`thresholds.py` is the only place with thresholds. A verdict has a level, a claim in words, the numbers behind it with
their intervals, and the source of what it was held against.
"""

from .abstaining import entangled, unreached, unread
from .at_lag import judge, judge_attenuation, judge_exploding
from .decay import Attenuation, Horizon, attenuation, horizons
from .thresholds import (
    DEFAULT,
    EXPLODING,
    FRACTIONS,
    HEAVY_TAIL,
    LARGE,
    MIN_GRADIENTS,
    MIN_LAGS,
    MIN_SEQUENCES,
    RESOLUTION,
    ROUNDING,
    VANISHING,
    Thresholds,
)
from .training import judge_training
from .verdict import Level, Verdict

__all__ = [
    "DEFAULT",
    "EXPLODING",
    "FRACTIONS",
    "HEAVY_TAIL",
    "LARGE",
    "MIN_GRADIENTS",
    "MIN_LAGS",
    "MIN_SEQUENCES",
    "RESOLUTION",
    "ROUNDING",
    "VANISHING",
    "Attenuation",
    "Horizon",
    "Level",
    "Thresholds",
    "Verdict",
    "attenuation",
    "entangled",
    "horizons",
    "judge",
    "judge_attenuation",
    "judge_exploding",
    "judge_training",
    "unreached",
    "unread",
]
