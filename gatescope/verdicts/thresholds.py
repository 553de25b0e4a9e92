"""Every threshold of judgement, each with where it comes from; there are no others in this package.

Thresholds on a gradient are factors on that of the last step.
"""

from dataclasses import dataclass

from ..errors import InputError

MIN_SEQUENCES = 8
"""Ours: from 8 sequences on the t interval covers 94 to 95 % in simulation."""
MIN_LAGS = 10
"""Ours: fewer lags show no rate."""
VANISHING = 1e-2
"""Ours. Evidence: delayed recall, 35 networks x 3 seeds, solved by 98 % where the attenuation at the needed lag was
above 1e-2, by 60 % for 1e-4 to 1e-2, 47 % for 1e-7 to 1e-4, 6 % below. One task, one learning rate: no law."""
EXPLODING = 1e2
"""Ours: the mirror image of `VANISHING`."""
MIN_GRADIENTS = 30
"""Ours: where a tenth of all gradients is large, the chance to see at most one of them in 30 is 18 %; in 8, 81 %."""
LARGE = 10.0
"""Over the median norm. Source: Pascanu, Mikolov & Bengio 2013, who clip at up to ten times the average."""
HEAVY_TAIL = 1e-2
"""Ours: the share of large gradients from which on a tail is heavy. A lognormal with s = 1 has 1.07 %, with s = 0.5 two
in a million."""
RESOLUTION = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Half the distance from 1 to the next number: added to a gradient of strength 1, anything below is rounded away.
Source: IEEE 754; bfloat16 has 8 bits of significand."""
ROUNDING = 1e-9
"""Logarithms and rates closer than this are equal."""
FRACTIONS = (0.5, 0.1, 0.01, RESOLUTION["float32"])
"""What horizons are given for: the half-life, a tenth, a hundredth, the resolution of float32."""


@dataclass(frozen=True)
class Thresholds:
    """Where the levels begin, as factors on the gradient of the last step."""

    vanishing: float = VANISHING
    exploding: float = EXPLODING
    dead: float = RESOLUTION["float32"]
    """The resolution of the dtype in which the network trains: `RESOLUTION["bfloat16"]` and so on."""

    def __post_init__(self) -> None:
        if not 0 < self.dead <= self.vanishing < 1 < self.exploding:
            raise InputError(
                f"The thresholds dead = {self.dead:g}, vanishing = {self.vanishing:g}, exploding = {self.exploding:g} "
                "are out of order; choose 0 < dead <= vanishing < 1 < exploding."
            )


DEFAULT = Thresholds()
VANISHING_SOURCE = "threshold: ours, see verdicts/thresholds.py; Bengio, Simard & Frasconi 1994 for the effect"
EXPLODING_SOURCE = "threshold: ours, see verdicts/thresholds.py; Pascanu, Mikolov & Bengio 2013 for the effect"
ABSTENTION_SOURCE = "what must hold before a gradient can be judged: ours, see verdicts/thresholds.py"
