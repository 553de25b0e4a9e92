"""A report with an innocent name, one with each hostile name, and a browser that notes what a page does."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatescope.report.section import Report
from report.examples import HOSTILE, report_of


@pytest.fixture(scope="session", params=HOSTILE, ids=lambda name: ascii(name)[1:25])
def hostile(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def report() -> Report:
    return report_of("encoder.l0")


@dataclass
class Visit:
    """What a page did, besides being shown."""

    page: Any
    requests: list[str] = field(default_factory=list)
    """What it asked for beyond itself and its own data."""
    blocked: list[str] = field(default_factory=list)
    """What of that its policy kept from being sent."""
    said: list[str] = field(default_factory=list)
    """Console messages, uncaught errors, dialogs."""

    @property
    def ran(self) -> bool:
        """Whether a hostile name was run as a script."""
        return bool(self.page.evaluate("'ran' in window"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's own browser, driven by Playwright; its tests are marked `browser`."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is missing; install it with: pip install playwright"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Callable[..., Any]:
    """`with visit(html, color_scheme="dark", …) as seen:` opens the page from a file, as a reader would."""

    @contextmanager
    def open_page(html: str, **settings: Any) -> Iterator[Visit]:
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        context = chromium.new_context(**settings)
        seen = Visit(context.new_page())
        seen.page.on("request", lambda request: request.url.startswith("data:") or seen.requests.append(request.url))
        seen.page.on("requestfailed", lambda request: request.failure == "csp" and seen.blocked.append(request.url))
        seen.page.on("console", lambda message: seen.said.append(message.text))
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("dialog", lambda dialog: (seen.said.append(dialog.message), dialog.dismiss()))
        seen.page.goto(path.as_uri())
        seen.page.wait_for_load_state("load")
        seen.requests.remove(path.as_uri())
        yield seen
        context.close()

    return open_page
