"""How lags, counts and factors are written in the sentences of a verdict."""

import math

import numpy as np

from ..measures.lag_curve import LagCurve


def object_of(curve: LagCurve, quantity: str) -> str:
    """What the numbers are numbers of."""
    norms = {"pair": "the whole recurrent state"}
    return f"gradient of {norms.get(quantity, quantity)}, layer {curve.layer} ({curve.cell}), loss: {curve.loss}"


def factor(log_factor: float) -> str:
    """0.37, 2.5, 3.1e-8; also what is too small or too large for a float."""
    power = log_factor / math.log(10)
    if -2 <= power < 2:
        return f"{math.exp(log_factor):.2g}"
    digits = f"{10 ** (power - math.floor(power)):.1f}".removesuffix(".0")
    return f"1e{math.floor(power) + 1}" if digits == "10" else f"{digits}e{math.floor(power)}"


def span(lags: np.ndarray) -> str:
    """7 steps, 3 to 7 steps."""
    low, high = (int(lags.min()), int(lags.max())) if len(lags) else (0, 0)
    return steps(high) if low == high else f"{low} to {steps(high)}"


def steps(number: int) -> str:
    return count(number, "step")


def gradients(number: int) -> str:
    return count(number, "gradient")


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def are(number: int) -> str:
    return "is" if number == 1 else "are"
