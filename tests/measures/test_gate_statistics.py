"""Gate statistics against numpy over the raw values, against closed forms, and against themselves in parts.

This is one file because what it tests is one value.
"""

import math
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatescope.cells import CELLS
from gatescope.errors import InputError
from gatescope.initialisations import forget_bias
from gatescope.layers import RecurrentLayer
from gatescope.measures import MEASURES
from gatescope.measures import gate_statistics as module_of_measure
from gatescope.measures.gate_statistics import GateStatistics, gate_statistics
from gatescope.measures.intervals import student_t_interval
from gatescope.recording.recorder import Recorder
from gatescope.trace import Trace
from problems import KINDS, Problem

TABLE = [
    replace(problem, proj_size=2 if kind == "lstm-proj" else 0)
    for kind in KINDS
    for problem in (
        Problem(kind, layout="packed-unsorted", given_initial=True, batch=5, time=40),
        Problem(kind, bidirectional=True, layout="packed-sorted", batch=5, time=40),
    )
]


def traces_of(problem: Problem) -> Mapping[str, Trace]:
    module = problem.module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(8)  # gates that saturate, cells that grow
    with Recorder(module) as rec:
        problem.call(module)
    return rec.traces


def numbers(trace: Trace, values: Tensor) -> np.ndarray:
    """One sequence after the other, its steps and no more, `[observation, unit]`."""
    kept = [values[:length, sequence] for sequence, length in enumerate(trace.lengths.tolist())]
    return torch.cat(kept).numpy()


def of_gates(values: Mapping[str, np.ndarray], kind: str = "lstm", h: np.ndarray | None = None) -> Trace:
    """A trace with given gates `[time, sequence, unit]`, of a layer that has none of its own."""
    steps, sequences, units = next(iter(values.values())).shape
    weights = {"weight_ih": torch.zeros(4 * units, 1), "weight_hh": torch.zeros(4 * units, units)}
    zeros = torch.zeros(steps, sequences, units)
    gates = {name: torch.zeros(steps, sequences, units) for name in CELLS[kind].gates}
    return Trace(
        layer=RecurrentLayer("l0", CELLS[kind], weights),
        x=torch.zeros(steps, sequences, 1),
        gates=gates | {name: torch.as_tensor(given) for name, given in values.items()},
        states={name: zeros if h is None or name != "h" else torch.as_tensor(h) for name in CELLS[kind].states},
        initial={name: torch.zeros(sequences, units) for name in CELLS[kind].states},
        lengths=torch.full((sequences,), steps),
        residual=0.0,
    )


def split(trace: Trace, at: int) -> Iterator[Trace]:
    for part in (slice(None, at), slice(at, None)):
        yield replace(
            trace,
            x=trace.x[:, part],
            gates={name: values[:, part] for name, values in trace.gates.items()},
            states={name: values[:, part] for name, values in trace.states.items()},
            initial={name: values[part] for name, values in trace.initial.items()},
            lengths=trace.lengths[part],
        )


def test_it_is_listed_among_the_measures() -> None:
    assert GateStatistics in MEASURES


@pytest.mark.parametrize("problem", TABLE, ids=str)
def test_every_statistic_is_numpys_over_the_valid_steps(problem: Problem) -> None:
    for name, trace in traces_of(problem).items():
        found = gate_statistics(trace)
        gates = {gate: numbers(trace, trace.gates[gate]) for gate in trace.layer.cell.gates}
        h = numbers(trace, trace.states["h"])
        wanted = {"h": h.mean(0)}
        shares = {"saturated h": (np.abs(h) > 0.99).mean(0)}
        np.testing.assert_allclose(found.sd("h"), h.std(0), rtol=1e-12)
        for gate, g in gates.items():
            wanted[gate] = g.mean(0)
            np.testing.assert_allclose(found.sd(gate), g.std(0), rtol=1e-12)
            if gate in "gn":
                shares[f"saturated {gate}"] = (np.abs(g) > 0.99).mean(0)
                continue
            shares[f"left {gate}"], shares[f"right {gate}"] = (g < 0.1).mean(0), (g > 0.9).mean(0)
            wanted[f"learnability {gate}"] = (g * (1 - g)).mean(0) / 0.25
            wanted[f"entropy {gate}"] = (-(g * np.log2(g) + (1 - g) * np.log2(1 - g))).mean(0)
            for unit in range(g.shape[1]):
                p = np.histogram(g[:, unit], bins=10, range=(0, 1))[0] / len(g)
                bits = -sum(share * math.log2(share) for share in p if share)
                assert found.histogram_entropy(gate)[unit] == pytest.approx(bits, abs=1e-12)
        for first, second in [(a, b) for a in gates for b in gates if a != b]:
            for unit in range(gates[first].shape[1]):
                correlation = np.corrcoef(gates[first][:, unit], gates[second][:, unit])[0, 1]
                assert found.correlation(first, second)[unit] == pytest.approx(correlation, abs=1e-12)
        keeping = {"lstm": "f", "gru": "z"}.get(problem.cell)
        if keeping:
            f = gates[keeping]
            np.testing.assert_allclose(found.tau_geo, -1 / np.log(f).mean(0), rtol=1e-12)
            np.testing.assert_allclose(found.tau_arith, -1 / np.log(f.mean(0)), rtol=1e-12)
            np.testing.assert_allclose(found.tau_leak, 1 / (1 - f.mean(0)), rtol=1e-12)
            assert (found.tau_geo <= found.tau_arith).all()
            assert (found.tau_arith <= found.tau_leak).all()
        if problem.cell == "lstm":
            wanted["|i-(1-f)|"] = np.abs(gates["i"] - (1 - gates["f"])).mean(0)
            for unit in range(4):
                coupling = np.corrcoef(gates["i"][:, unit], 1 - gates["f"][:, unit])[0, 1]
                assert found.coupling[unit] == pytest.approx(coupling, abs=1e-12)
            size = np.abs(numbers(trace, trace.states["c"]))
            steps = [np.arange(1, length + 1) for length in trace.lengths.tolist()]
            t = np.concatenate([ts[::-1] if name.endswith("_reverse") else ts for ts in steps])
            wanted["|c|"] = size.mean(0)
            shares["beyond c"] = (size > 2).mean(0)
            assert shares["beyond c"].any()
            np.testing.assert_allclose(found.drift, np.polyfit(t, size, 1)[0], rtol=1e-9)
            np.testing.assert_allclose(found.largest["|c|/t"], (size / t[:, None]).max(0), rtol=1e-12)
        if problem.cell == "gru":
            apart = numbers(trace, trace.previous["h"]) - gates["n"]
            wanted["|h-n|"] = np.abs(apart).mean(0)
        for quantity, values in wanted.items():
            np.testing.assert_allclose(found.mean(quantity), values, rtol=1e-12, atol=1e-15, err_msg=quantity)
        assert shares.keys() | {f"histogram {gate}" for gate in found.sigmoid} == found.counts.keys()
        for quantity, values in shares.items():
            np.testing.assert_array_equal(found.share(quantity), values, err_msg=quantity)
        assert found.n == len(trace.lengths)
        assert found.steps == int(trace.lengths.sum())


@pytest.mark.parametrize("problem", TABLE, ids=str)
def test_the_statistics_of_two_halves_add_up_to_those_of_the_whole(problem: Problem) -> None:
    for trace in traces_of(problem).values():
        whole, (first, second) = gate_statistics(trace), map(gate_statistics, split(trace, 2))
        assert_same(first + second, whole)
        assert_same(second + first, whole)


def test_only_calls_of_one_layer_are_added() -> None:
    module = nn.GRU(3, 4)
    with Recorder(module) as rec:
        for _ in range(3):
            module(torch.randn(5, 2, 3))
    first, second, third = (gate_statistics(trace) for trace in rec.traces.values())
    assert [one.layer for one in (first, second, third)] == ["l0", "l0#1", "l0#2"]
    assert (second + third).layer == (first + second).layer == "l0"
    assert (second + second).layer == "l0#1"
    with pytest.raises(InputError, match="add layer by layer"):
        _ = first + replace(first, layer="l1")


def assert_same(found: GateStatistics, wanted: GateStatistics) -> None:
    assert (found.n, found.steps) == (wanted.n, wanted.steps)
    for quantity, counts in wanted.counts.items():
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(found.counts[quantity], counts)
    for mine, theirs in ((found.sums, wanted.sums), (found.largest, wanted.largest)):
        assert mine.keys() == theirs.keys()
        for quantity, values in theirs.items():
            np.testing.assert_allclose(mine[quantity], values, rtol=1e-12)
    for part in ("moments", "hidden", "sequences"):
        mine, theirs = getattr(found, part), getattr(wanted, part)
        assert mine.n == theirs.n
        np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(mine.squares, theirs.squares, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(mine.products, theirs.products, rtol=1e-12, atol=1e-12)


def test_how_many_sequences_are_taken_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = traces_of(TABLE[4])["l0"]
    whole = gate_statistics(trace)
    monkeypatch.setattr(module_of_measure, "_AT_ONCE", 1)
    assert_same(gate_statistics(trace), whole)


@pytest.mark.parametrize("problem", TABLE[4:8], ids=str)
def test_an_interval_is_students_over_the_means_of_sequences(problem: Problem) -> None:
    for trace in traces_of(problem).values():
        parts = [gate_statistics(part) for part in split(trace, 3)]
        found = reduce(add, parts)
        f = trace.gates["f"]
        means = np.stack([f[:length, b].numpy().mean(0) for b, length in enumerate(trace.lengths.tolist())])
        left = np.stack([(f[:n, b].numpy() < 0.1).mean(0) for b, n in enumerate(trace.lengths.tolist())])
        for quantity, values in {"f": means, "left f": left}.items():
            for unit in (0, 3):
                same_interval(found.interval(quantity, unit), student_t_interval(values[:, unit]))
            same_interval(found.interval(quantity), student_t_interval(values.mean(1)))


def same_interval(found: object, wanted: object) -> None:
    ends = ("mean", "low", "high", "n")
    assert [getattr(found, end) for end in ends] == pytest.approx([getattr(wanted, end) for end in ends], rel=1e-10)


def test_one_sequence_gives_no_interval_and_an_unknown_quantity_is_refused() -> None:
    found = gate_statistics(of_gates({"f": np.full((3, 1, 2), 0.5)}))
    assert found.interval("f").low == -math.inf
    with pytest.raises(InputError, match="choose one of"):
        found.interval("nothing")
    with pytest.raises(InputError, match="choose one of"):
        found.share("nothing")
    with pytest.raises(InputError, match="choose two of the gates i, f, g, o"):
        found.correlation("f", "x")


def test_a_normal_preactivation_saturates_and_forgets_as_the_logit_normal_says() -> None:
    """f = sigmoid(2 x + 1), x standard normal: left .05495, right .27472, tau 2.3026 and 1.5564."""
    module = nn.LSTM(1, 2, dtype=torch.float64)
    for name, value in {"weight_hh": 0.0, "bias_hh": 0.0, "bias_ih": 1.0, "weight_ih": 2.0}.items():
        nn.init.constant_(module.get_parameter(f"{name}_l0"), value)
    with Recorder(module) as rec:
        module(torch.randn(200, 1000, 1, dtype=torch.float64))
    found = gate_statistics(rec.traces["l0"])
    assert found.share("left f") == pytest.approx(0.05495, abs=0.005)
    assert found.share("right f") == pytest.approx(0.27472, abs=0.005)
    assert found.tau_arith == pytest.approx(2.3026, abs=0.02)
    assert found.tau_geo == pytest.approx(1.5564, abs=0.02)


@pytest.mark.parametrize(
    ("bias", "tau", "half_life", "hundredth"),
    [
        (0, 1.443, 1.0, 6.6),
        (1, 3.192, 2.21, 14.7),
        (2, 7.879, 5.46, 36.3),
        (3, 20.58, 14.3, 94.8),
        (5, 148.9, 103.2, 685.8),
    ],
)
def test_a_constant_gate_has_the_half_life_of_its_bias(
    bias: float, tau: float, half_life: float, hundredth: float
) -> None:
    found = gate_statistics(of_gates({"f": np.full((4, 2, 3), 1 / (1 + math.exp(-bias)))}))
    assert found.tau_geo == pytest.approx(tau, rel=1e-3)
    assert found.tau_arith == pytest.approx(found.tau_geo)
    assert found.half_life == pytest.approx(half_life, abs=0.05)
    assert found.carousel_horizon(0.01) == pytest.approx(hundredth, abs=0.05)


@pytest.mark.parametrize(("time_scale", "bias"), [(3, 0.927320), (4, 1.258692)])
def test_a_forget_bias_made_for_a_time_scale_gives_that_time_scale(time_scale: int, bias: float) -> None:
    """b = -ln(e^(1/T) - 1), so that f = e^(-1/T): Mahto et al. 2021, whose lowest layers have T = 3 and 4."""
    made = -math.log(math.expm1(1 / time_scale))
    assert made == pytest.approx(bias, abs=1e-6)
    module = nn.LSTM(2, 3, dtype=torch.float64)
    nn.init.zeros_(module.weight_hh_l0)
    with torch.no_grad():
        module.weight_ih_l0[3:6] = 0
    forget_bias(module, made)
    with Recorder(module) as rec:
        module(torch.randn(20, 4, 2, dtype=torch.float64))
    assert gate_statistics(rec.traces["l0"]).tau_geo == pytest.approx(time_scale, abs=1e-6)


def test_gates_are_classed_by_how_they_are_used() -> None:
    steps = np.arange(1000) / 1000
    f = np.stack([np.full(1000, 0.95), np.full(1000, 0.05), np.where(steps < 0.5, 0.02, 0.98), 0.4 + 0.2 * steps], 1)
    f[:5, :2] = 0.5
    h = np.stack([steps, 1e-7 * steps, np.zeros(1000), 2 * steps], 1)
    found = gate_statistics(of_gates({"f": f[:, None]}, h=h[:, None]))
    assert found.always_open("f").tolist() == [True, False, False, False]
    assert found.always_closed("f").tolist() == [False, True, False, False]
    assert found.toggling("f").tolist() == [False, False, True, False]
    assert found.frozen("f").tolist() == [False] * 4
    assert found.frozen("i").tolist() == [True] * 4
    assert found.dead.tolist() == [False, True, True, False]
    assert gate_statistics(of_gates({"f": f[:, None]})).dead.all()  # where the median does not vary either
    assert np.isnan(found.correlation("f", "o")).all()


def test_a_gate_that_is_exactly_open_or_shut_has_a_time_constant_at_the_end_of_the_scale() -> None:
    found = gate_statistics(of_gates({"f": np.stack([np.ones((3, 2)), np.zeros((3, 2))], 2)}))
    assert found.tau_geo.tolist() == found.tau_arith.tolist() == [math.inf, 0.0]
    assert found.tau_leak.tolist() == [math.inf, 1.0]
    assert found.mean("entropy f").tolist() == [0.0, 0.0]
    assert found.counts["histogram f"].tolist() == [[0] * 9 + [6], [6] + [0] * 9]
    both = found + gate_statistics(of_gates({"f": np.full((3, 2, 2), 0.5)}))
    assert both.tau_geo[0] == pytest.approx(2 / math.log(2))


def test_a_value_that_is_no_number_is_in_no_bin_and_spoils_no_other_unit() -> None:
    f = np.full((4, 2, 2), 0.25)
    f[1, 0, 0] = math.nan
    found = gate_statistics(of_gates({"f": f}))
    assert found.counts["histogram f"].tolist() == [[0, 0, 7] + [0] * 7, [0, 0, 8] + [0] * 7]
    assert np.isnan(found.mean("f")[0])
    assert found.mean("f")[1] == 0.25


def test_what_a_cell_does_not_have_is_refused_in_words() -> None:
    rnn = gate_statistics(traces_of(Problem("rnn-tanh"))["l0"])
    with pytest.raises(InputError, match="keeps no state by a gate"):
        _ = rnn.tau_geo
    with pytest.raises(InputError, match="has no cell state"):
        _ = rnn.drift
    with pytest.raises(InputError, match="call a candidate g or n"):
        gate_statistics(of_gates({"f": np.full((2, 2, 2), 1.5)}))


@pytest.mark.parametrize("kind", KINDS)
def test_its_table_says_of_which_unit_each_number_is_or_that_it_is_of_the_layer(kind: str) -> None:
    found = gate_statistics(traces_of(Problem(kind, proj_size=2 if kind == "lstm-proj" else 0))["l0"])
    frame = found.to_frame()
    columns = ["layer", "direction", "measure", "quantity", "hidden_unit", "value", "low", "high", "unit"]
    assert list(frame.columns) == columns
    of_layer = frame[frame.hidden_unit.isna()]
    assert set(of_layer.quantity) <= set(found.sequences.variables)
    assert (of_layer.low <= of_layer.high).all()
    assert frame[frame.hidden_unit.notna()].groupby("quantity").size().isin([2, 4]).all()
    if kind == "lstm":
        row = frame[(frame.quantity == "left f") & (frame.hidden_unit == 2)]
        assert row["value"].item() == found.share("left f")[2]
        assert set(frame.loc[frame.quantity == "tau_geo", "unit"]) == {"step"}


def streamed(parts: int, steps: int, sequences: int, units: int) -> tuple[GateStatistics, int]:
    """Uniform gates, one trace after the other; and the peak of numpy's memory while they are added up."""
    rng = np.random.default_rng(0)
    total: GateStatistics | None = None
    tracemalloc.start()
    for _ in range(parts):
        found = gate_statistics(of_gates({"f": rng.random((steps, sequences, units))}))
        total = found if total is None else total + found
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total is not None
    return total, peak


def kept(statistics: GateStatistics) -> int:
    """Bytes in the arrays of the statistics."""
    named = [*statistics.counts.values(), *statistics.sums.values(), *statistics.largest.values()]
    moments = [statistics.moments, statistics.hidden, statistics.sequences]
    arrays = [array for one in moments for array in (one.mean, one.squares, one.products)]
    return sum(array.nbytes for array in [*named, *arrays])


def test_more_data_needs_no_more_memory() -> None:
    few, peak_of_few = streamed(parts=2, steps=200, sequences=10, units=64)  # megabytes, beside which caches are small
    many, peak_of_many = streamed(parts=20, steps=200, sequences=10, units=64)
    assert kept(many) == kept(few)
    assert peak_of_many < 1.5 * peak_of_few
    assert many.steps == 10 * few.steps == 40_000
    assert many.n == 200


@pytest.mark.slow
def test_ten_million_values_are_counted_in_the_memory_of_one_part() -> None:
    found, peak = streamed(parts=100, steps=100, sequences=16, units=64)
    assert found.steps * 64 == 10_240_000
    assert peak < 50e6
    assert found.share("left f") == pytest.approx(np.full(64, 0.1), abs=0.005)
    assert found.histogram_entropy("f") == pytest.approx(np.full(64, math.log2(10)), abs=1e-3)
    assert found.tau_geo == pytest.approx(np.ones(64), abs=0.02)  # E ln u = −1
    assert found.tau_arith == pytest.approx(np.full(64, 1 / math.log(2)), abs=0.02)
    assert found.interval("f").low < 0.5 < found.interval("f").high
