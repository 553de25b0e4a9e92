"""Names from outside, made short."""

from gatescope.cleaning import clean
from gatescope.report.names import is_cut, shortened


def test_a_short_name_stays_as_it_is() -> None:
    assert shortened("encoder.l0") == "encoder.l0"
    assert not is_cut("encoder.l0")


def test_a_hostile_name_is_cleaned_and_fits(hostile: str) -> None:
    assert shortened(hostile).isprintable()
    assert len(shortened(hostile)) <= 80
    assert is_cut(hostile) == (len(clean(hostile)) > 80) == (shortened(hostile) != clean(hostile))


def test_two_long_names_stay_apart() -> None:
    assert shortened("a" * 100) != shortened("a" * 101)
    assert shortened("a" * 100, 24) != shortened("a" * 101, 24)
    assert len(shortened("a" * 100, 24)) == 24
