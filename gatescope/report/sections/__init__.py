"""One measure, one file, one section: what a measurement says, in words, a figure and a table."""

from .contributions import contributions_section
from .fixed_points import fixed_points_section
from .fresh_window import fresh_window_section
from .gate_statistics import gate_statistics_section
from .gates import gates_section
from .gradient_norms import gradient_norms_section
from .lag_curve import lag_curve_section
from .lyapunov import lyapunov_section
from .not_measured import not_measured_section
from .onset import onset_section
from .path_split import path_split_section
from .prediction import prediction_section
from .provenance import provenance_section
from .remedies import remedies_section
from .singular_values import singular_values_section
from .state_geometry import state_geometry_section
from .truncation import truncation_section
from .verdicts import verdicts_section
from .weights import weights_section
from .zero_state import zero_state_section

SECTIONS = (
    verdicts_section,
    not_measured_section,
    prediction_section,
    lag_curve_section,
    fresh_window_section,
    truncation_section,
    path_split_section,
    contributions_section,
    gate_statistics_section,
    remedies_section,
    gates_section,
    lyapunov_section,
    singular_values_section,
    zero_state_section,
    weights_section,
    state_geometry_section,
    fixed_points_section,
    onset_section,
    gradient_norms_section,
    provenance_section,
)
"""Every kind of section, in the order in which a report asks."""
