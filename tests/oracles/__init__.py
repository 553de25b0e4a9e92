"""What gatescope is measured against: textbook loops, torch's autograd, networks whose gradient is known in advance.

Nothing in this folder imports gatescope. Everything runs in float64 and prefers being obvious to being fast.
"""

from oracles.closed_forms import (
    ClosedForm,
    StepContributions,
    first_underflows,
    forget_gate_alone,
    halving_rnn,
    keep_gate_alone,
    orthogonal_rnn,
    permutation_rnn,
    plain_loop_adjoints,
    step_contributions,
)
from oracles.steps import NO_NUDGE, STEPS, Moment, Weights
from oracles.unrolled import LayerRun, Run, affine_adjoints, textbook, true_adjoints

__all__ = [
    "NO_NUDGE",
    "STEPS",
    "ClosedForm",
    "LayerRun",
    "Moment",
    "Run",
    "StepContributions",
    "Weights",
    "affine_adjoints",
    "first_underflows",
    "forget_gate_alone",
    "halving_rnn",
    "keep_gate_alone",
    "orthogonal_rnn",
    "permutation_rnn",
    "plain_loop_adjoints",
    "step_contributions",
    "textbook",
    "true_adjoints",
]
