"""The page of an analysis: whatever was measured, absent, cut or not finite, it says so in words and in order."""

import re
import warnings
from dataclasses import replace

import pytest
from markupsafe import escape
from rich.cells import cell_len

from gatescope.analysis.analysis import Analysis
from gatescope.measures.fresh_window import FreshWindow
from gatescope.report import html as html_module
from gatescope.report.analysis_report import MAPPED, analysis_report, spoken_lag
from gatescope.report.figures import NARROW, draw
from gatescope.report.html import render_html
from gatescope.report.names import shortened
from gatescope.report.notebook import notebook_html
from gatescope.report.numbers import number_from_log
from gatescope.report.palette import LIGHT
from gatescope.report.section import Report, Section
from gatescope.report.sheet import Picture
from gatescope.report.text import render_text
from gatescope.verdicts import Level, attenuation
from report.analyses import EVERY, STEPS, analysis_named, analysis_of
from report.examples import WORST, remedies_of


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without its drawings, which take long and have tests of their own."""
    monkeypatch.setattr(html_module, "draw", lambda plot, theme, width: Picture(b"<svg/>", "image/svg+xml", width, 100))


@pytest.fixture(params=EVERY)
def analysis(request: pytest.FixtureRequest) -> Analysis:
    return analysis_of(request.param)


@pytest.fixture
def report(analysis: Analysis) -> Report:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return analysis_report(analysis)


def test_every_measure_that_has_an_answer_has_its_section_and_no_other(analysis: Analysis, report: Report) -> None:
    silent = {one.layer for one in analysis.verdicts if one.level in (Level.NO_SIGNAL, Level.NON_FINITE)}
    heard = {layer.name for layer in analysis.layers} - silent
    of_lags = {"lag_curve", "truncation", "path_split", "contributions"}
    expected = {"found", "gates"} | ({"not_measured"} if analysis.not_measured else set())
    for one in analysis.measurements:
        layers = set(one.initial) if isinstance(one, FreshWindow) else {getattr(one, "layer", "")}
        broken = isinstance(one, FreshWindow) and not layers & heard and _is_broken(analysis)
        if not broken and (one.measure not in of_lags or layers & heard):
            expected.add(one.measure)
    assert {section.key.replace("-", "_") for section in report.sections} == expected


def test_the_answer_comes_first(analysis: Analysis, report: Report) -> None:
    assert report.sections[0].key == "found"
    assert report.sections[0].lead.endswith(".")
    assert {verdict.layer for verdict in report.sections[0].verdicts} == {layer.name for layer in analysis.layers}
    for layer in analysis.layers:
        assert layer.name in report.summary
    assert analysis.provenance["data"] in report.summary


def test_a_verdict_on_the_weights_of_all_layers_is_with_the_answer_and_not_among_the_layers() -> None:
    analysis = analysis_of("LSTM stack")
    weights = replace(analysis.verdicts[0], layer="the weights of all recurrent layers", claim="None of 32 is large.")
    report = analysis_report(replace(analysis, verdicts=(*analysis.verdicts, weights)))
    assert weights in report.sections[0].verdicts
    assert "all recurrent layers" not in report.summary
    assert weights.claim in notebook_html(replace(analysis, verdicts=(*analysis.verdicts, weights)))


def test_alarms_stand_before_what_is_fine() -> None:
    levels = [verdict.level for verdict in _found(analysis_report(analysis_of("bidirectional"))).verdicts]
    assert levels == [Level.NO_SIGNAL, Level.STABLE, Level.NOT_EXPLODING]


def test_what_was_not_measured_is_said_with_its_reason(undrawn: None, analysis: Analysis, report: Report) -> None:
    said = {row[2] for section in report.sections if section.key == "not-measured" for row in section.tables[0].rows}
    assert said == {one.why for one in analysis.not_measured}
    page = render_html(replace(report, sections=report.sections[:2]))
    for one in analysis.not_measured:
        assert str(escape(one.why)) in page


def test_no_number_is_written_as_a_machine_writes_it(report: Report) -> None:
    """A measure's own words about its input are its own."""
    own = [section for section in report.sections if section.key not in ("not-measured", "found")]
    text = render_text(replace(report, sections=tuple(own)), width=200)
    assert not re.search(r"\b(nan|inf|None|True|False)\b|np\.|\barray\(", text)


def test_every_sentence_of_every_section_ends_and_says_a_number(report: Report) -> None:
    for section in report.sections:
        assert section.lead.endswith(".")
        assert not re.search(r"  |\.\.|,\.| \.", section.lead)
        if section.figures and section.key not in ("gates", "gate-statistics"):
            assert re.search(r"\d|infinity", section.lead)


def test_every_section_is_on_the_page_and_in_the_terminal(undrawn: None, report: Report) -> None:
    html, text = render_html(report), render_text(report, width=80)
    assert max(map(cell_len, text.splitlines())) <= 80
    for section in report.sections:
        assert f'id="{section.key}"' in html
        assert section.title in text
        assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)


def test_every_figure_can_be_drawn(report: Report) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for section in report.sections:
            for figure in section.figures:
                assert len(draw(figure.plot, LIGHT, NARROW).data) < 80_000


@pytest.mark.parametrize("which", ["GRU", "not a number"])
def test_the_same_analysis_gives_the_same_bytes(which: str) -> None:
    assert render_html(analysis_report(analysis_of(which))) == render_html(analysis_report(analysis_of(which)))


def test_a_layer_has_one_colour_on_the_whole_page() -> None:
    colours: dict[str, set[int]] = {}
    names = {layer.name for layer in analysis_of("many-to-many").layers}
    for section in analysis_report(analysis_of("many-to-many")).sections:
        for figure in section.figures:
            for panel in getattr(figure.plot, "panels", ()):
                for curve in panel.curves:
                    if curve.label in names:
                        colours.setdefault(curve.label, set()).add(curve.colour)
    assert colours.keys() == names
    assert all(len(numbers) == 1 for numbers in colours.values())
    assert len(set.union(*colours.values())) == len(names)


def test_the_lag_curve_says_what_is_left_at_the_lag_that_the_task_needs() -> None:
    analysis = analysis_of("LSTM stack")
    assert spoken_lag(analysis) == analysis.lag == 5
    (lags,) = _all(analysis, "lag-curve")
    for curve in analysis.curves.values():
        assert number_from_log(attenuation(curve, 5).value.mean) in lags.lead


def test_without_a_needed_lag_the_page_speaks_of_where_a_hundredth_is_left() -> None:
    analysis = analysis_of("GRU")
    (hundredth,) = [one for one in analysis.horizons["rnn.l0"] if one.fraction == 0.01]
    assert spoken_lag(analysis) == hundredth.lag
    assert "No needed lag was given" in analysis_report(analysis).summary


def test_a_lag_beyond_the_data_is_spoken_of_as_far_as_they_go() -> None:
    assert spoken_lag(analysis_of("short")) == 4
    assert "The task needs lag 50" in analysis_report(analysis_of("short")).summary


def test_a_cut_gradient_is_spoken_of_before_it_is_cut() -> None:
    assert 0 < spoken_lag(analysis_of("relu RNN")) < STEPS


def test_layers_that_the_loss_does_not_read_are_named_and_not_drawn() -> None:
    horizons = {row[0]: row[4] for row in _found(analysis_report(analysis_of("bidirectional"))).tables[0].rows}
    assert horizons["rnn.l0"] is not None
    assert horizons["rnn.l0_reverse"] is None
    (lags,) = _all(analysis_of("bidirectional"), "lag-curve")
    assert "rnn.l0_reverse" in lags.prose[0]
    assert {curve.label for panel in lags.figures[0].plot.panels for curve in panel.curves} == {"rnn.l0"}  # type: ignore[union-attr]


def test_fresh_windows_are_of_the_whole_model_or_of_each_layer() -> None:
    (whole,) = _all(analysis_of("LSTM stack"), "fresh-window")
    assert [panel.title for panel in whole.figures[0].plot.panels] == ["Loss", "Weights", "Start"]  # type: ignore[union-attr]
    (alone,) = _all(analysis_of("padded"), "fresh-window")
    assert [panel.title for panel in alone.figures[0].plot.panels] == ["Weights", "Start"]  # type: ignore[union-attr]
    assert "the layer by itself" in alone.figures[0].caption


def test_the_provenance_has_each_layers_loss_residual_and_what_was_reduced(analysis: Analysis, report: Report) -> None:
    entries, layers, losses, reduced = report.provenance.tables
    assert dict(analysis.provenance).items() <= {row[0]: row[1] for row in entries.rows}.items()
    for place, layer in enumerate(analysis.layers):
        row = dict(zip(layers.columns, layers.rows[place], strict=True))
        assert (row["layer"], row["cell"], row["units"]) == (layer.name, layer.cell, layer.hidden_size)
        assert row["replay residual"] == layer.residual
        assert losses.rows[place][1] == layer.loss or not layer.loss
    assert [row[1] for row in reduced.rows] == ["; ".join(one.reductions) for one in analysis.excerpts]
    drawn = [section for section in report.sections if section.key == "gates"]
    for one in analysis.excerpts[:MAPPED]:
        for reduction in one.reductions:
            assert any(reduction in figure.caption for figure in drawn[0].figures)


def test_causes_that_are_handed_in_stand_with_the_answer() -> None:
    why = {"rnn.l0": ("The forget gate is shut.", "It was never open.")}
    report = analysis_report(analysis_of("LSTM stack"), why=why)
    (notes,) = _found(report).notes
    assert (notes.title, notes.sentences) == ("Why, in rnn.l0", why["rnn.l0"])
    for shown in (render_html(report), render_text(report)):
        assert all(text in shown for text in (notes.title, *notes.sentences))


def test_remedies_have_their_section_and_their_sentence_with_the_answer() -> None:
    analysis = analysis_of("LSTM stack")
    tried = remedies_of()
    report = analysis_report(replace(analysis, measurements=(*analysis.measurements, tried)))
    best = tried.best("rnn.l0")
    assert best is not None
    assert str(best) in _found(report).prose[0]
    (section,) = [section for section in report.sections if section.key == "remedies"]
    assert str(best) in section.lead
    assert len(section.tables[0].rows) == len(tried.remedies)


@pytest.mark.parametrize("name", [name.replace(".", "·") for name in WORST], ids=range(len(WORST)))
def test_a_hostile_name_of_a_layer_is_text_everywhere(undrawn: None, name: str) -> None:
    analysis = analysis_named(name)
    report = analysis_report(analysis)
    assert shortened(f"{name}.l0") in report.summary
    html, text = render_html(report), render_text(report, width=80)
    assert "<script>window" not in html
    assert "<img src=x" not in html
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert all(len(section.lead) < 1000 for section in report.sections)


def _found(report: Report) -> Section:
    return report.sections[0]


def _all(analysis: Analysis, key: str) -> list[Section]:
    return [section for section in analysis_report(analysis).sections if section.key == key]


def _is_broken(analysis: Analysis) -> bool:
    return any(one.level is Level.NON_FINITE for one in analysis.verdicts)
