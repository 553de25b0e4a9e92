"""How a number is written in a sentence, a table and on an axis, so that the three always agree."""

import math
from collections.abc import Sequence

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 2) -> str:
    """`value` to `digits` significant digits: 0.034, 1.2 × 10⁻⁵, −7.1, 0; not finite in words."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinity"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return _placed(mantissa, int(exponent), digits)


def number_from_log(log: float, digits: int = 2) -> str:
    """exp(`log`), as `number` writes it, also where the value itself would under- or overflow."""
    if not math.isfinite(log):
        return number(math.exp(log) if log < 0 else log, digits)
    power = math.floor(log / math.log(10))
    mantissa = f"{math.exp(log - power * math.log(10)):.{digits - 1}f}"
    if mantissa.startswith("10"):  # 9.99 was rounded up
        mantissa, power = f"{1:.{digits - 1}f}", power + 1
    return _placed(mantissa, power, digits)


def power_of_ten(power: int) -> str:
    """10⁻³ for -3."""
    return "10" + str(power).translate(_SUPERSCRIPT)


def written(cell: str | int | float | None) -> str:
    """What a table's cell shows: numbers to three digits, a dash for what was not measured."""
    if cell is None:
        return "–"
    return number(cell, 3) if isinstance(cell, float) else str(cell)


def _placed(mantissa: str, power: int, digits: int) -> str:
    if -3 <= power < max(digits, 4):
        return f"{float(f'{mantissa}e{power}'):.{max(digits - 1 - power, 0)}f}".replace("-", "−")
    return f"{mantissa.replace('-', '−')} × {power_of_ten(power)}"


def counted(many: int, what: str) -> str:
    """1 step, 2 steps."""
    return f"{many} {what}" if many == 1 else f"{many} {what}s"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
