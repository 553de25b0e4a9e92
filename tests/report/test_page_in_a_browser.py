"""The page as a reader meets it, in a browser, from a file: silent, safe, in both themes, without scripts too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from jinja2 import Environment, PackageLoader

from gatescope.report import html as html_module
from gatescope.report.analysis_report import analysis_report
from gatescope.report.html import render_html
from gatescope.report.notebook import notebook_html
from gatescope.report.section import Report
from gatescope.report.sections import lag_curve_section
from report.analyses import analysis_named
from report.examples import HOSTILE, SECTION_EXAMPLES, WORST, report_of

pytestmark = pytest.mark.browser

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_html(report)


def test_the_page_asks_for_nothing_and_complains_of_nothing(visit: Visit, page: str) -> None:
    with visit(page) as seen:
        assert seen.requests == []
        assert seen.said == []


def test_every_picture_of_both_themes_is_drawn(visit: Visit, page: str) -> None:
    with visit(page) as seen:
        widths = seen.page.eval_on_selector_all("img", "found => found.map(one => one.naturalWidth)")
        assert len(widths) == 4
        assert all(width > 100 for width in widths)


def test_hostile_names_in_every_field_run_nothing_and_ask_for_nothing(visit: Visit) -> None:
    report = report_of(" ".join(name for name in HOSTILE if len(name) < 1000))
    with visit(render_html(report)) as seen:
        assert not seen.ran
        assert seen.requests == []
        assert seen.said == []


def test_without_escaping_the_policy_alone_lets_nothing_run(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    naive = _naive_page(monkeypatch)
    with visit(naive) as seen:
        assert not seen.ran
        assert any("Content Security Policy" in message for message in seen.said)
        assert sorted(seen.requests) == sorted(seen.blocked) != []


def test_without_escaping_and_without_policy_the_names_would_run(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows that the two tests above can fail."""
    naive = _naive_page(monkeypatch).replace("Content-Security-Policy", "nothing")
    with visit(naive) as seen:
        assert seen.ran


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scripts", [True, False])
def test_pictures_follow_the_systems_theme_also_without_scripts(
    visit: Visit, page: str, scheme: str, scripts: bool
) -> None:
    with visit(page, color_scheme=scheme, java_script_enabled=scripts) as seen:
        assert _visible(seen, "picture.light") == (scheme == "light")
        assert _visible(seen, "picture.dark") == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_button_switches_words_and_pictures_and_back(visit: Visit, page: str, scheme: str) -> None:
    with visit(page, color_scheme=scheme) as seen:
        before = _paper(seen)
        seen.page.click("#theme")
        assert _paper(seen) != before
        assert _visible(seen, "picture.light") == (scheme == "dark")
        assert seen.page.get_attribute("#theme", "aria-pressed") == str(scheme == "light").lower()
        seen.page.click("#theme")
        assert _paper(seen) == before
        assert _visible(seen, "picture.light") == (scheme == "light")


def test_without_scripts_there_is_no_button_and_everything_else(visit: Visit, page: str) -> None:
    with visit(page, java_script_enabled=False) as seen:
        assert not _visible(seen, "#theme")
        assert _visible(seen, "h1")
        seen.page.click("summary")
        assert _visible(seen, "details table")


def test_print_shows_the_light_pictures_and_unfolds_everything(visit: Visit, page: str) -> None:
    with visit(page, color_scheme="dark") as seen:
        seen.page.emulate_media(media="print")
        assert _visible(seen, "picture.light")
        assert not _visible(seen, "picture.dark")
        seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert seen.page.eval_on_selector_all("details", "found => found.every(one => one.open)")
        seen.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert not seen.page.eval_on_selector_all("details", "found => found.every(one => one.open)")


@pytest.fixture(scope="module")
def wide_page(report: Report) -> str:
    """With a table that is wider than a telephone."""
    return render_html(replace(report, sections=(SECTION_EXAMPLES[lag_curve_section]("LSTM"),)))


@pytest.mark.parametrize("width", [320, 768, 1600])
def test_nothing_sticks_out_sideways(visit: Visit, wide_page: str, width: int) -> None:
    with visit(wide_page, viewport={"width": width, "height": 800}) as seen:
        seen.page.eval_on_selector_all("details", "found => found.forEach(one => { one.open = true })")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def analysis_page() -> str:
    """Of a layer whose name is all of the worst ones."""
    return render_html(analysis_report(analysis_named(" ".join(WORST).replace(".", "·"))))


def test_the_page_of_an_analysis_is_silent_whatever_its_layers_are_called(visit: Visit, analysis_page: str) -> None:
    with visit(analysis_page) as seen:
        assert not seen.ran
        assert seen.requests == []
        assert seen.said == []
        widths = seen.page.eval_on_selector_all("img", "found => found.map(one => one.naturalWidth)")
        assert all(width > 100 for width in widths)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_of_an_analysis_does_not_stick_out_sideways(visit: Visit, analysis_page: str, width: int) -> None:
    with visit(analysis_page, viewport={"width": width, "height": 800}) as seen:
        seen.page.eval_on_selector_all("details", "found => found.forEach(one => { one.open = true })")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_of_an_analysis_stand_out_from_the_paper(visit: Visit, analysis_page: str, scheme: str) -> None:
    with visit(analysis_page, color_scheme=scheme) as seen:
        seen.page.eval_on_selector_all("details", "found => found.forEach(one => { one.open = true })")
        assert seen.page.evaluate(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3, AA


@pytest.mark.parametrize("paper", ["#ffffff", "#111111"])
def test_a_notebook_shows_the_table_in_its_own_colours(visit: Visit, paper: str) -> None:
    ink = "#000000" if paper == "#ffffff" else "#eeeeee"
    shown = notebook_html(analysis_named(" ".join(WORST).replace(".", "·")))
    page = f"<!doctype html><body style='background:{paper};color:{ink};width:60em'>{shown}</body>"
    with visit(page) as seen:
        assert not seen.ran
        assert seen.requests == []
        assert seen.said == []
        colours = seen.page.eval_on_selector_all("td", "found => found.map(one => getComputedStyle(one).color)")
        assert set(colours) == {"rgb(0, 0, 0)" if paper == "#ffffff" else "rgb(238, 238, 238)"}


def test_a_name_without_a_break_does_not_widen_the_page(visit: Visit) -> None:
    with visit(render_html(report_of("x" * 10_000)), viewport={"width": 320, "height": 800}) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_narrow_page_shows_figures_made_for_it(visit: Visit, page: str) -> None:
    for width, natural in ((360, 330), (1200, 760)):
        with visit(page, viewport={"width": width, "height": 800}) as seen:
            assert seen.page.evaluate("document.querySelector('picture.light img').naturalWidth") == natural


def test_the_keyboard_reaches_everything_and_one_sees_where_it_is(visit: Visit, page: str) -> None:
    with visit(page) as seen:
        reached = []
        for _ in range(30):
            seen.page.keyboard.press("Tab")
            reached.append(
                seen.page.evaluate(
                    "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
                )
            )
            assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            if reached[-1] == "SUMMARY":
                break
        assert reached[0] == "skip"
        assert "theme" in reached
        assert "SUMMARY" in reached


def test_the_skip_link_leads_past_the_contents(visit: Visit, page: str) -> None:
    with visit(page) as seen:
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_stand_out_from_the_paper(visit: Visit, page: str, scheme: str) -> None:
    with visit(page, color_scheme=scheme) as seen:
        seen.page.eval_on_selector_all("details", "found => found.forEach(one => { one.open = true })")
        assert seen.page.evaluate(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3, AA


CONTRAST = """() => {
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((part) => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const paper = (one) => {
    for (let up = one; up; up = up.parentElement) {
      const colour = getComputedStyle(up).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
  };
  const ratios = [...document.body.querySelectorAll("*")]
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((one) => one.tagName !== "SCRIPT")
    .map((one) => [light(getComputedStyle(one).color), light(paper(one))])
    .map((pair) => (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05));
  return Math.min(...ratios);
}"""
"""The lowest contrast between any words and what lies behind them."""


def _naive_page(monkeypatch: pytest.MonkeyPatch) -> str:
    """The page as it would be if nothing were escaped."""
    templates = PackageLoader("gatescope.report")
    naive = Environment(loader=templates, autoescape=False)  # noqa: S701
    naive.filters |= html_module._environment().filters
    monkeypatch.setattr(html_module, "_environment", lambda: naive)
    return render_html(report_of(" ".join(HOSTILE[:11])))


def _visible(seen: Any, selector: str) -> bool:
    return bool(seen.page.locator(selector).first.is_visible())


def _paper(seen: Any) -> str:
    return str(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
