"""The report as one HTML file: no network, readable without JavaScript, in the dark and in print, the same every time.

Whatever a stranger can name is made harmless twice over: `clean` makes every string visible on its way into the
template, and Jinja's autoescape makes it text. Should both fail, the Content-Security-Policy lets nothing run but the
one script whose hash it names.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..cleaning import clean
from ..writing import atomic_write
from .figures import NARROW, WIDE, draw
from .names import is_cut, shortened
from .numbers import written
from .palette import THEMES
from .section import Figure, Report
from .sections.verdicts import level_name, loud, quiet, tone
from .sheet import Picture


def render_html(report: Report) -> str:
    """The whole page."""
    style, script = _own("report.css"), _own("report.js")
    sections = [(section, [_drawn(figure) for figure in section.figures]) for section in report.sections]
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            sections=sections,
            style=style,
            script=script,
            policy=_policy(style, script),
            version=__version__,
        )
    )


def write_html(report: Report, path: Path) -> Path:
    """Write the page to `path`, making its folder; a file that stood there is replaced as a whole or not at all."""
    return atomic_write(path, render_html(report).encode())


@dataclass(frozen=True)
class _Drawn:
    said: Figure
    wide: dict[str, Picture]
    narrow: dict[str, Picture]


def _drawn(figure: Figure) -> _Drawn:
    wide, narrow = ({theme.name: draw(figure.plot, theme, width) for theme in THEMES} for width in (WIDE, NARROW))
    return _Drawn(figure, wide, narrow)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gatescope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cut": shortened,
        "data_uri": _data_uri,
        "is_cut": is_cut,
        "level_name": level_name,
        "lines": str.splitlines,
        "loud": loud,
        "quiet": quiet,
        "tone": tone,
        "written": written,
    }
    return environment


def _shown(value: object) -> object:
    """What the template writes: every plain string goes through `clean`, whoever wrote the template line."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return clean(value).replace(" × 10", "\u00a0×\u00a010")  # a number stays on one line


def _data_uri(picture: Picture) -> Markup:
    return Markup(f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}")  # noqa: S704


def _own(name: str) -> Markup:
    """A style sheet or script of this package: the only text that enters the page as it is."""
    return Markup(files("gatescope.report").joinpath("templates", name).read_text(encoding="utf-8"))  # noqa: S704


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
