"""A matplotlib figure laid out in CSS pixels from its top left, which comes out as a small SVG, the same every time."""

import base64
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from PIL import Image

from .names import shortened
from .palette import FONTS, Theme


@dataclass(frozen=True)
class Picture:
    """One drawn figure, its size in CSS pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


ROOMY = 500
"""From this width on, in CSS pixels, things stand side by side as on a wide page."""

_SVG = "http://www.w3.org/2000/svg"
_GROUPS = {
    "figure",
    "axes",
    "matplotlib.axis",
    "xtick",
    "ytick",
    "line2d",
    "patch",
    "text",
    "FillBetweenPolyCollection",
}
"""How matplotlib names its groups, to which nothing refers."""
_LINK = "{http://www.w3.org/1999/xlink}href"
_PNG = "data:image/png;base64,"
_PLACES = {"d", "x", "y", "transform"}
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


class Sheet:
    """The paper that a figure is drawn on."""

    def __init__(self, width: float, height: float, theme: Theme) -> None:
        self.width, self.height, self.theme = round(width), round(height), theme
        self.figure = Canvas(figsize=(self.width / 96, self.height / 96), dpi=96)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without a frame but for a line below, and hairlines across."""
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height), facecolor="none"
        )
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(self.theme.hairline)
        axes.tick_params(length=0, labelsize=points(11.5), labelcolor=self.theme.muted, pad=4)
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis="y", color=self.theme.hairline, lw=0.8)
        return axes

    def text(self, left: float, top: float, text: str, size: float = 12, **look: Any) -> None:
        """One line of text below and right of the point, unless `look` says otherwise."""
        place = {"va": "top", "ha": "left", "color": self.theme.muted} | look
        self.figure.text(left / self.width, 1 - top / self.height, text, fontsize=points(size), **place)

    def picture(self) -> Picture:
        """The sheet as SVG: no date, no background, the reader's own letters, nothing in them that does not print."""
        for written in (*self.figure.texts, *(text for axes in self.figure.axes for text in axes.texts)):
            written.set_text(shortened(written.get_text()))  # what else is written are the numbers of ticks
        buffer = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's letters have it
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        return Picture(_slim(buffer.getvalue()), "image/svg+xml", self.width, self.height)


def _slim(svg: str) -> bytes:
    """The same picture in half the bytes: what is invisible left out, places to a hundredth of a point."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            child.tail = None
            if child.tag == f"{{{_SVG}}}metadata" or child.get("style") == "fill: none":
                parent.remove(child)
        if parent.tag != f"{{{_SVG}}}text":
            parent.text = (parent.text or "").strip() or None
        _slim_attributes(parent.attrib)
        if parent.tag == f"{{{_SVG}}}image":
            parent.set(_LINK, _PNG + _in_few_colours(parent.get(_LINK, "").removeprefix(_PNG)))
    style = next(root.iter(f"{{{_SVG}}}style"))
    style.text = f"{style.text} text{{font-family:{FONTS}}}"
    return ElementTree.tostring(root)


def _in_few_colours(png: str) -> str:
    """The same pixels from a palette, where there are no more colours than one holds: a quarter of the bytes."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        pixels = np.asarray(image.convert("RGB"))
    colours, which = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        return png
    small = Image.fromarray(which.reshape(pixels.shape[:2]).astype(np.uint8), "P")
    small.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _slim_attributes(attributes: dict[str, str]) -> None:
    if attributes.get("id", "").partition("_")[0] in _GROUPS:
        del attributes["id"]
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    for name in _PLACES & set(attributes):
        places = " ".join(attributes[name].split())
        attributes[name] = re.sub(r"\d+\.\d+", lambda place: f"{float(place[0]):.2f}", places)
    if "style" in attributes:
        attributes["style"] = attributes["style"].replace("font-family: 'DejaVu Sans'; ", "").replace(": ", ":")


def points(pixels: float) -> float:
    """CSS pixels as the points in which matplotlib counts."""
    return pixels * 0.75
