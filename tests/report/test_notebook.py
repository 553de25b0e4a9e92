"""An analysis in a notebook: small, without a script, readable on any paper, harmless whatever its names."""

import re
from html.parser import HTMLParser

import pytest

from gatescope.cleaning import clean
from gatescope.report.names import shortened
from gatescope.report.notebook import NAME, notebook_html
from gatescope.report.sections.verdicts import without_lags
from report.analyses import EVERY, analysis_named, analysis_of
from report.examples import HOSTILE


class Reader(HTMLParser):
    """Tags with their attributes, and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("which", EVERY)
def test_a_row_for_each_layer_with_its_verdicts_and_horizons(which: str) -> None:
    analysis = analysis_of(which)
    read = Reader(notebook_html(analysis))
    assert sum(tag == "tr" for tag, _ in read.tags) == 1 + len(analysis.layers)
    text = " ".join(" ".join(read.words).split())
    for verdict in analysis.verdicts:
        assert verdict.layer in text
        assert shortened(" ".join(verdict.claim.split()), 300) in text
    silent = without_lags(analysis.verdicts)
    cells = sum(tag == "td" for tag, _ in read.tags)
    reaching = [found for name, found in analysis.horizons.items() if name not in silent]
    assert cells == 3 * len(analysis.layers) + sum(map(len, reaching))
    for found in reaching:
        for horizon in found:
            assert str(horizon) in text
    assert analysis.provenance["data"] in text
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_it_is_what_a_notebook_shows() -> None:
    assert analysis_of("GRU")._repr_html_() == notebook_html(analysis_of("GRU"))


def test_four_layers_take_less_than_ten_kilobytes() -> None:
    assert len(analysis_of("many-to-many").layers) == 4
    assert len(notebook_html(analysis_of("many-to-many")).encode()) < 10_000


def test_it_runs_nothing_asks_for_nothing_and_has_no_colours_of_its_own() -> None:
    html = notebook_html(analysis_of("many-to-many"))
    for tag, attributes in Reader(html).tags:
        assert tag in {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "br", "p"}
        assert attributes.keys() <= {"style", "title"}
    assert set(re.findall(r"(?:color|background)[^:\"]*:([^;\"]*)", html)) == {"inherit", "transparent"}


@pytest.mark.parametrize("name", [name.replace(".", "·") for name in HOSTILE if name], ids=range(len(HOSTILE)))
def test_a_hostile_name_is_text(name: str) -> None:
    read = Reader(notebook_html(analysis_named(name)))
    assert {tag for tag, _ in read.tags} <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "br", "p"}
    assert all(attributes.keys() <= {"style", "title"} for _, attributes in read.tags)
    assert shortened(f"{name}.l0", NAME) in read.words
    assert all(clean(word) == word for word in read.words)


def test_the_same_analysis_gives_the_same_bytes() -> None:
    assert notebook_html(analysis_of("GRU")) == notebook_html(analysis_of("GRU"))
