"""The page as a file: whole, safe whatever its names, the same bytes every time."""

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from gatescope.cleaning import clean
from gatescope.report import html as html_module
from gatescope.report.html import render_html, write_html
from gatescope.report.section import Report
from gatescope.report.sheet import Picture
from report.examples import report_of

BINDING = {"href", "src", "srcset", "action", "data", "poster", "formaction", "background", "cite", "ping"}
"""Attributes through which a page may ask for something."""


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.own: dict[str, str] = {}
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("style", "script"):
            self.own[self._inside] = data
        else:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def page(report: Report) -> Reader:
    return Reader(render_html(report))


@pytest.fixture(scope="session")
def hostile_page(hostile: str) -> Reader:
    """Without its drawings: they enter as data, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_module, "draw", lambda plot, theme, width: Picture(b"<svg/>", "image/svg+xml", width, 100))
        return Reader(render_html(report_of(hostile)))


def test_a_hostile_name_stays_text_in_every_field(hostile_page: Reader, page: Reader, hostile: str) -> None:
    def shape(found: Reader) -> list[tuple[str, set[str]]]:
        return [(tag, set(attributes) - {"title"}) for tag, attributes in found.tags if "title" not in attributes]

    assert shape(hostile_page) == shape(page)
    assert hostile_page.own == page.own
    titles = {attributes["title"] for _, attributes in hostile_page.tags if "title" in attributes}
    assert titles <= {clean(text) for text in (hostile, f"{hostile} 2")}  # a name that is cut keeps its full text there


def test_a_hostile_name_is_shown_as_it_is_written(hostile_page: Reader, hostile: str) -> None:
    text = "".join(hostile_page.words)
    assert f"{clean(hostile)} lead" in text
    assert f"{clean(hostile)} claims" in text


def test_a_long_name_is_cut_in_a_table_and_whole_in_its_title() -> None:
    page = Reader(render_html(report_of("x" * 10_000)))
    assert "x" * 10_000 in {attributes.get("title") for attributes in page.all("span")}
    assert max(len(word) for word in page.words if "…" in word) <= 80


def test_the_policy_is_first_and_lets_run_only_what_it_names(report: Report) -> None:
    html = render_html(report)
    page = Reader(html)
    assert re.search(r"<head>\s*<meta http-equiv=\"Content-Security-Policy\"", html)
    script, style = (_hash(page.own[tag]) for tag in ("script", "style"))
    assert page.all("meta")[0]["content"] == (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert len(page.all("script")) == len(page.all("style")) == 1


def test_the_character_set_is_named_where_browsers_look_for_it(report: Report) -> None:
    assert '<meta charset="utf-8">' in render_html(report).encode()[:1024].decode()


def test_no_style_and_no_event_stands_in_an_attribute(page: Reader) -> None:
    for _, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_the_page_asks_for_nothing(page: Reader) -> None:
    for tag, attributes in page.tags:
        for name in BINDING & set(attributes):
            assert attributes[name].startswith(("#", "data:image/svg+xml;base64,")), (tag, name)
    assert "url(" not in page.own["style"]
    assert "@import" not in page.own["style"]


def test_every_picture_says_what_it_shows(page: Reader) -> None:
    pictures = page.all("img")
    assert len(pictures) == 4  # two figures, each light and dark
    assert all(picture["alt"] and int(picture["width"]) > 0 and int(picture["height"]) > 0 for picture in pictures)


def test_headings_go_down_one_by_one_and_names_are_unique(page: Reader) -> None:
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    names = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert not [name for name, times in names.items() if times > 1]
    for link in page.all("a"):
        assert link["href"][1:] in names


def test_every_table_has_a_caption_and_every_row_a_name(page: Reader, report: Report) -> None:
    assert len(page.all("caption")) == len(page.all("table")) > 0
    rows = sum(len(table.rows) for section in (*report.sections, report.provenance) for table in section.tables)
    assert len([cell for cell in page.all("th") if cell.get("scope") == "row"]) == rows


def test_a_table_shows_three_digits_and_a_dash_for_what_was_not_measured(page: Reader) -> None:
    assert {"–", "0.00120"} <= set(page.words)


def test_a_power_of_ten_does_not_break_at_the_end_of_a_line() -> None:
    words = Reader(render_html(report_of("1.2 × 10⁻⁵"))).words
    assert "1.2\u00a0×\u00a010⁻⁵ lead" in words


def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    assert render_html(report) == render_html(report)


def test_a_page_names_no_folder_of_this_machine(report: Report) -> None:
    html = render_html(report)
    assert str(Path.home()) not in html
    assert str(Path.cwd()) not in html


def test_the_colours_of_the_page_are_those_of_its_figures() -> None:
    from gatescope.report.palette import DARK, LIGHT

    style = files("gatescope.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    for theme, times in ((LIGHT, 1), (DARK, 2)):
        for name in ("paper", "ink", "muted", "hairline"):
            assert style.count(f"--{name}: {getattr(theme, name)};") == times, (theme.name, name)


def test_a_page_is_written_whole_into_a_folder_that_did_not_exist(report: Report, tmp_path: Path) -> None:
    path = write_html(report, tmp_path / "new" / "page.html")
    assert path.read_text(encoding="utf-8") == render_html(report)


@pytest.mark.parametrize("name", ["report.css", "report.js"])
def test_our_own_files_cannot_end_their_element(name: str) -> None:
    text = files("gatescope.report").joinpath("templates", name).read_text(encoding="utf-8")
    assert "</" not in text
    assert "<!--" not in text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
