"""One question, one file, one frozen answer: numbers with their unit, never a judgement and never a picture."""

from .fresh_window import FreshWindow
from .lag_curve import LagCurve

MEASURES = (LagCurve, FreshWindow)
"""Every kind of answer; `measure` is its name, `to_frame()` a tidy table."""
