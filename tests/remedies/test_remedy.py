"""What is said of changes: their rank, the best, the table and the file."""

import dataclasses
import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from gatescope.analysis.analysis import Analysis
from gatescope.analysis.archive import load
from gatescope.measures.intervals import Interval
from gatescope.remedies.remedies import remedies
from gatescope.remedies.remedy import Remedies, Remedy, ranked
from gatescope.verdicts import Level, Verdict
from remedies.models import last_output, one


def made_up(change: str, after: float, *, lag: int = 100, level: Level = Level.STABLE, mean: float = 1.0) -> Remedy:
    verdict = Verdict(level, "", "", "", "l0")
    interval, difference = Interval(after, after, after, 9), Interval(mean, mean, mean, 9)
    nothing = (None, None, (verdict,), None, None)
    return Remedy("l0", "forward", change, "", "", lag, Interval(-9, -9, -9, 9), interval, difference, *nothing)


def test_ranks_by_nearness_then_what_explodes_then_what_cannot_be_told() -> None:
    given = [
        made_up("untold", -0.1, mean=math.nan),
        made_up("explodes", 5.0, level=Level.EXPLODING),
        made_up("far", -8.0),
        made_up("abstains", -0.1, level=Level.INSUFFICIENT),
        made_up("near", 1.0),
        made_up("nearer a step", -1.5, lag=200),
    ]
    ranks = [r.change for r in ranked(given)]
    assert ranks == ["nearer a step", "near", "far", "explodes", "untold", "abstains"]


def test_only_what_surely_comes_nearer_and_does_not_explode_helps() -> None:
    assert made_up("nearer", 5.0, mean=14.0).helps
    assert not made_up("nearer", 5.0, mean=0.0).helps  # the interval is 0 alone
    assert not made_up("further", 10.0, mean=19.0).helps
    assert not made_up("explodes", 5.0, mean=14.0, level=Level.EXPLODING).helps
    assert not made_up("abstains", 5.0, mean=14.0, level=Level.INSUFFICIENT).helps


def test_the_best_is_one_that_helps() -> None:
    worse = made_up("worse", -20.0, mean=-11.0)
    found = Remedies("given", "mse_loss", 0, (worse,), (), (), ())
    assert found.best("l0") is None
    assert found.sentence("l0") == "None of 1 measured changes surely helps l0."
    better = dataclasses.replace(found, remedies=(made_up("chrono", -2.0), worse))
    assert better.best("l0") == better.remedies[0]
    assert better.sentence("l0").startswith("The best of 2 measured changes is chrono: 100 steps back")


def test_the_frame_is_tidy() -> None:
    found = remedies(nn.LSTM(3, 8), torch.randn(20, 8, 3), torch.randn(8, 8), last_output, lag=10)
    frame = found.to_frame()
    assert set(frame["measure"]) == {"remedies"}
    chrono = frame[(frame["change"] == "chrono") & (frame["layer"] == "l0")].set_index("quantity")
    difference = one(found, "chrono").difference
    row = chrono.loc["log attenuation difference"]
    assert (row["value"], row["low"], row["high"]) == (difference.mean, difference.low, difference.high)
    assert row["lag"] == 10
    assert row["unit"] == "nats"
    assert np.isinf(chrono.loc["horizon after", "value"])  # not within the twenty steps
    assert frame[frame["change"].isna() & (frame["quantity"] == "steps for bias 0.1")]["value"].item() == (
        found.truncation[0].steps
    )
    assert len(frame[frame["quantity"].str.startswith("clip at")]) == 5
    assert not frame.duplicated(["layer", "change", "quantity", "lag"]).any()


def test_an_analysis_keeps_them_in_its_file(tmp_path: Path) -> None:
    found = remedies(nn.LSTM(3, 8), torch.randn(20, 8, 3), torch.randn(8, 8), last_output, lag=10)
    analysis = Analysis(MappingProxyType({}), 10, (), (found,), (), ())
    again = load(analysis.save(tmp_path / "run.gatescope")).measurements[0]
    assert isinstance(again, Remedies)
    assert again.to_frame().equals(found.to_frame())
    assert again.remedies == found.remedies
    assert (again.truncation, again.left_out, again.loss) == (found.truncation, found.left_out, found.loss)
    assert list(analysis.measured("remedies").values()) == [found]
