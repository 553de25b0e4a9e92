"""Figures: the same bytes every time, small, readable in both themes, whatever the names and numbers."""

import xml.etree.ElementTree as ElementTree
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

from gatescope.report.figures import NARROW, WIDE, draw
from gatescope.report.palette import DARK, LIGHT, THEMES, Theme
from gatescope.report.plot import Curve, Curves, Map, Maps, Mark, Panel, Plot, Rule
from report.examples import curves, maps

LAGS = np.arange(21.0)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_figure_is_well_formed_small_and_the_same_every_time(theme: Theme, width: int) -> None:
    for plot in (curves(), maps()):
        picture = draw(plot, theme, width)
        assert picture.data == draw(plot, theme, width).data
        assert picture.width == width
        assert ElementTree.fromstring(picture.data).tag == "{http://www.w3.org/2000/svg}svg"
        assert len(picture.data) < 60_000


def test_a_figure_is_the_same_whatever_the_readers_own_settings() -> None:
    expected = draw(curves(), LIGHT)
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "text.usetex": True, "lines.linewidth": 9}):
        assert draw(curves(), LIGHT) == expected
        assert mpl.rcParams["font.size"] == 30


def test_a_hostile_name_is_drawn_as_text(hostile: str) -> None:
    for plot in (curves(hostile), maps(hostile)):
        texts = _texts(plot)
        assert all(text.isprintable() and len(text) <= 80 for text in texts)
        assert {element.tag for element in _svg(plot).iter()} <= {element.tag for element in _svg(_like(plot)).iter()}


def test_a_name_in_dollars_is_no_formula() -> None:
    assert "$\\frac{1}{$" in _texts(curves("$\\frac{1}{$"))


def test_a_figure_asks_for_nothing() -> None:
    for plot in (curves(), maps()):
        for element in _svg(plot).iter():
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith(("#", "data:image/png;base64,"))


def test_a_map_is_an_image_never_a_mesh() -> None:
    large = Maps((Map("f", "forget gate", np.random.default_rng(0).random((256, 500)), "gate"),))
    svg = _svg(large)
    assert len(_all(svg, "image")) == 2  # the map and its scale
    assert len(_all(svg, "path")) < 60


def test_a_gradient_too_small_for_a_float_is_still_a_point() -> None:
    deep = Curve("LSTM", LAGS, -100.0 * LAGS)
    texts = _texts(Curves((Panel((deep,), "", "lag", "norm"),), y_scale="log10"))
    assert "10⁻²⁰⁰⁰" in texts


@pytest.mark.parametrize(("low", "high"), [(-0.0231, -0.0216), (-4.2, -3.5), (-4.1, -3.95), (0.0, 0.3), (3.01, 3.02)])
def test_a_narrow_range_has_ticks_that_fit_beside_the_axis(low: float, high: float) -> None:
    curve = Curve("", LAGS[:2], np.array([low, high]))
    ticks = [
        text for text in _texts(Curves((Panel((curve,), "", "lag", "norm"),), y_scale="log10")) if text[0].isdigit()
    ]
    assert len(ticks) - len({"0", "1"}) >= 2
    assert all(" " not in text and len(text) <= 8 for text in ticks)


def test_an_exact_zero_is_a_cross_and_what_is_missing_a_gap() -> None:
    def uses(*values: float) -> int:
        curve = Curve("LSTM", np.arange(4.0), np.array(values, dtype=float))
        return len(_all(_svg(Curves((Panel((curve,), "", "lag", "norm"),), y_scale="log10")), "use"))

    assert uses(0, -1, -2, -np.inf) == uses(0, -1, -2, -3) + 1
    assert uses(0, -1, -2, np.nan) == uses(0, -1, -2, -3)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [-np.inf, -np.inf], [1.0], [2.0, 2.0], [1e-300, 1e300]])
@pytest.mark.parametrize("scale", ["linear", "log10"])
def test_a_curve_with_little_in_it_is_drawn_all_the_same(values: list[float], scale: str) -> None:
    curve = Curve("LSTM", np.arange(float(len(values))), np.array(values, dtype=float))
    _svg(Curves((Panel((curve,), "one", "lag", "norm"),), y_scale=scale))  # type: ignore[arg-type]


def test_a_map_with_nothing_finite_in_it_is_drawn_all_the_same() -> None:
    _svg(Maps((Map("c", "cell state", np.full((3, 4), np.nan), "signed"), Map("h", "", np.zeros((1, 1)), "signed"))))


def test_names_at_the_ends_of_curves_do_not_lie_on_each_other() -> None:
    same = tuple(Curve(name, LAGS, -LAGS, colour=n) for n, name in enumerate(("LSTM", "GRU", "tanh RNN", "RNN relu")))
    svg = _svg(Curves((Panel(same, "", "lag", "norm"),), y_scale="log10"))
    heights = sorted(float(text.attrib["y"]) for text in _all(svg, "text") if text.text in {one.label for one in same})
    assert len(heights) == 4
    assert min(np.diff(heights)) > 8  # points; the letters are 9 high


def test_the_number_of_the_lead_stands_beside_its_dot() -> None:
    panel = Panel(curves().panels[0].curves, marks=(Mark(19, -3.8, "1.6 × 10⁻⁴"),))
    assert "1.6 × 10⁻⁴" in _texts(Curves((panel,), y_scale="log10"))


def test_a_rule_outside_the_axes_is_left_out() -> None:
    panel = Panel(curves().panels[0].curves, rules=(Rule("x", 500, "needed: lag 500"),))
    assert "needed: lag 500" not in _texts(Curves((panel,), y_scale="log10"))


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_colour_that_writes_stands_out_from_the_paper(theme: Theme) -> None:
    for colour in (theme.ink, theme.muted, *theme.series):
        assert _contrast(colour, theme.paper) >= 4.5, colour  # WCAG 2.2, 1.4.3, AA


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("sight", ["all colours", "no red", "no green", "no blue"])
def test_series_stay_apart_for_every_kind_of_colour_vision(theme: Theme, sight: str) -> None:
    seen = [_lab(np.clip(np.array(SIGHT[sight]) @ _linear(colour), 0, 1)) for colour in theme.series]
    assert (
        min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 20
    )  # CIE76; 2.3 is just seen


def test_light_and_dark_differ_in_colour_only() -> None:
    light, dark = _svg(curves(), LIGHT), _svg(curves(), DARK)
    assert [element.tag for element in light.iter()] == [element.tag for element in dark.iter()]
    assert draw(curves(), LIGHT).data != draw(curves(), DARK).data


# Machado, Oliveira & Fernandes 2009, severity 1.0, on linear RGB
SIGHT = {
    "all colours": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _linear(colour: str) -> np.ndarray:
    part = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def _contrast(one: str, other: str) -> float:
    light = [float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other)]
    return (max(light) + 0.05) / (min(light) + 0.05)


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ linear / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _like(plot: Plot) -> Plot:
    return curves() if isinstance(plot, Curves) else maps()


def _svg(plot: Plot, theme: Theme = LIGHT) -> ElementTree.Element:
    return ElementTree.fromstring(draw(plot, theme).data)


def _all(svg: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    return svg.findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


def _texts(plot: Plot) -> list[str]:
    return [text.text or "" for text in _all(_svg(plot), "text")]
