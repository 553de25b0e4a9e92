"""An analysis in a notebook: one small table and where it comes from, as HTML that runs nothing and asks for nothing.

It has no colours of its own but the notebook's, so that it can be read in a light and in a dark one.
"""

from collections.abc import Iterable

from markupsafe import Markup

from ..analysis.analysis import Analysis
from ..verdicts import Verdict
from .names import is_cut, shortened
from .sections.verdicts import level_name, tone, without_lags

ROWS = 24
"""So many layers have a row; a notebook is to stay small."""
HORIZONS = ("half", "tenth", "hundredth", "float32")
NAME, SENTENCE = 60, 300
"""So many letters of a name and of a sentence are shown."""
_CELL = "text-align:left;vertical-align:top;padding:.25em .9em .25em 0;white-space:normal"
_LEVEL = {"alarm": "font-weight:bold", "fine": "font-weight:normal", "open": "font-style:italic"}


def notebook_html(analysis: Analysis) -> str:
    """One row a layer: name, cell, verdict, claim, horizons; a line of provenance below."""
    verdicts: dict[str, list[Verdict]] = {}
    for one in analysis.verdicts:
        verdicts.setdefault(one.layer, []).append(one)
    silent = without_lags(analysis.verdicts)
    horizons = {name: found for name, found in analysis.horizons.items() if name not in silent}
    rows = [
        Markup("<tr>{}</tr>").format(
            _joined(
                (
                    _cell(layer.name, NAME),
                    _cell(f"{layer.cell}, {layer.hidden_size}", NAME),
                    _verdict(verdicts.get(layer.name, [])),
                    *(_cell(str(one), NAME) for one in horizons.get(layer.name, ())),
                )
            )
        )
        for layer in analysis.layers[:ROWS]
    ]
    more = len(analysis.layers) - len(rows)
    below = [f"and {more} more layers"] * bool(more) + [
        f"{name}: {analysis.provenance[name]}" for name in ("data", "loss", "versions") if name in analysis.provenance
    ]
    layers = {layer.name for layer in analysis.layers}
    below += [f"{one.layer}: {one.claim}" for one in analysis.verdicts if one.layer not in layers]
    if analysis.not_measured:
        below.append(f"not measured: {len(analysis.not_measured)}")
    heads = ("layer", "cell, units", "verdict", *(f"lag below {name}" for name in HORIZONS))
    return str(
        Markup(
            '<div style="color:inherit;background:transparent"><table style="border-collapse:collapse;color:inherit">'
            "<thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
            '<p style="opacity:.75;font-size:.85em;margin:.4em 0 0">{}</p></div>'
        ).format(
            _joined(Markup('<th style="{}">{}</th>').format(_CELL, head) for head in heads),
            _joined(rows),
            shortened("; ".join(below), 2 * SENTENCE),
        )
    )


def _verdict(verdicts: list[Verdict]) -> Markup:
    parts = (
        Markup('<span style="{}">{}.</span> {}').format(
            _LEVEL[tone(one.level)], level_name(one.level), shortened(one.claim, SENTENCE)
        )
        for one in verdicts
    )
    return Markup('<td style="{}">{}</td>').format(_CELL, Markup("<br>").join(parts))


def _cell(text: str, longest: int) -> Markup:
    title = Markup(' title="{}"').format(shortened(text, SENTENCE)) if is_cut(text, longest) else Markup("")
    return Markup('<td style="{}"{}>{}</td>').format(_CELL, title, shortened(text, longest))


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
