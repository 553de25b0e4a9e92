"""How numbers are written: the same in a sentence, in a table and on an axis."""

import math

import pytest

from gatescope.report.numbers import listed, number, number_from_log, power_of_ten, written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0341, "0.034"),
        (-7.123, "−7.1"),
        (1.2e-5, "1.2 × 10⁻⁵"),
        (0.0012, "0.0012"),
        (0.00012, "1.2 × 10⁻⁴"),
        (9.996, "10"),
        (0.99999, "1.0"),
        (784, "780"),
        (-12345, "−1.2 × 10⁴"),
        (1e300, "1.0 × 10³⁰⁰"),
        (math.nan, "not a number"),
        (math.inf, "infinite"),
        (-math.inf, "minus infinity"),
    ],
)
def test_a_number_has_two_digits_and_no_more_zeros_than_one_can_count(value: float, text: str) -> None:
    assert number(value) == text


def test_three_digits_on_request() -> None:
    assert number(784.4, 3) == "784"
    assert number(-11.44, 3) == "−11.4"


@pytest.mark.parametrize("value", [1.0, 0.5, 9.996, 0.0009996, 1e-5, 3.3e4, 123.0, 99.6])
def test_a_logarithm_is_written_like_its_number(value: float) -> None:
    assert number_from_log(math.log(value)) == number(value)


def test_a_logarithm_may_be_of_a_number_that_no_float_holds() -> None:
    assert number_from_log(-2000 * math.log(10)) == "1.0 × 10⁻²⁰⁰⁰"
    assert number_from_log(-math.inf) == "0"
    assert number_from_log(math.inf) == "infinite"
    assert number_from_log(math.nan) == "not a number"


def test_powers_lists_and_cells() -> None:
    assert power_of_ten(-12) == "10⁻¹²"
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert [written(cell) for cell in (None, 3, 0.0012, "x")] == ["–", "3", "0.00120", "x"]
