"""The section on what was found."""

import pytest

from gatescope.report.sections.verdicts import FEW, level_name, loud, quiet, tone, verdicts_section
from gatescope.verdicts import Level, Verdict


def test_the_first_claim_leads_unless_a_better_sentence_is_handed_in() -> None:
    assert verdicts_section([_verdict(Level.STABLE)]).lead == "stable 0.5."
    assert verdicts_section([_verdict(Level.STABLE)], lead="All 3 work.").lead == "All 3 work."
    assert verdicts_section([]).lead == "Nothing was judged."


@pytest.mark.parametrize("level", Level)
def test_every_level_has_a_name_and_a_tone(level: Level) -> None:
    assert level_name(level)[0].isupper()
    assert tone(level) in {"alarm", "fine", "open"}


def test_what_vanishes_explodes_or_breaks_is_an_alarm() -> None:
    assert {level for level in Level if tone(level) != "alarm"} == {
        Level.STABLE,
        Level.NOT_EXPLODING,
        Level.BORDERLINE,
        Level.INSUFFICIENT,
    }


def test_few_verdicts_stand_in_the_open_and_of_many_the_alarms() -> None:
    few = [_verdict(Level.STABLE)] * FEW
    assert loud(few) == few
    assert quiet(few) == []
    many = [*few, _verdict(Level.DEAD)]
    assert loud(many) == [_verdict(Level.DEAD)]
    assert quiet(many) == few


def _verdict(level: Level) -> Verdict:
    return Verdict(level, f"{level} 0.5.", "because", "source", "encoder.l0")
