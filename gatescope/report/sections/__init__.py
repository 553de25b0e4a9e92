"""One measure, one file, one section: what a measurement says, in words, a figure and a table."""

from .fresh_window import fresh_window_section
from .gates import gates_section
from .lag_curve import lag_curve_section
from .prediction import prediction_section
from .provenance import provenance_section
from .verdicts import verdicts_section

SECTIONS = (
    verdicts_section,
    prediction_section,
    lag_curve_section,
    fresh_window_section,
    gates_section,
    provenance_section,
)
"""Every kind of section, in the order in which a report asks."""
