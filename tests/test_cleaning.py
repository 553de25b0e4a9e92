"""A stranger's text cannot act on the terminal that shows it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.cleaning import clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("encoder.l0", "encoder.l0"),
        ("größe δ 日本", "größe δ 日本"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028end", r"line\u2028end"),
        ("\x9b31m", r"\x9b31m"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_would_be_obeyed_is_shown_instead(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_one_printable_line_and_cleaning_it_again_changes_nothing(text: str) -> None:
    assert clean(text).isprintable()
    assert clean(clean(text)) == clean(text)
    clean(text).encode("utf-8")  # no lone surrogate is left for it to refuse
