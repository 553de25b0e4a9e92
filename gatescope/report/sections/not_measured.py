"""What has no answer, and why: a page that leaves it out would look as if nothing were missing."""

from collections.abc import Sequence

from ...analysis.analysis import NotMeasured
from ..names import shortened
from ..numbers import counted, listed
from ..section import Section, Table
from .provenance import SENTENCE


def not_measured_section(missing: Sequence[NotMeasured]) -> Section:
    """One row a question, with the reason in its measure's own words."""
    questions = [*dict.fromkeys(_plain(one.measure) for one in missing)]
    layers = [*dict.fromkeys(shortened(one.layer) for one in missing if one.layer)]
    of = f" of {listed(layers)}" if layers else ""
    return Section(
        key="not-measured",
        title="What was not measured",
        lead=f"Without an answer: {counted(len(missing), 'question')}{of}, on {listed(questions)}.",
        tables=(
            Table(
                caption="Questions without an answer, and why",
                columns=("layer", "question", "why"),
                rows=tuple((one.layer or "the whole model", _plain(one.measure), one.why) for one in missing),
                longest=SENTENCE,
            ),
        ),
    )


def _plain(measure: str) -> str:
    return shortened(measure).replace("_", " ")
