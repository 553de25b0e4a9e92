"""What the demo found, in sentences of which every number and every name is computed."""

from collections.abc import Mapping
from typing import TypeVar

from ..measures.fresh_window import ALL
from ..report.numbers import listed, number, number_from_log
from ..verdicts import Level, judge_attenuation, judge_exploding
from .demo import PLAIN, Demo, Moment

Layer = TypeVar("Layer")


def findings(demo: Demo) -> tuple[str, ...]:
    """The sentences, the most important first."""
    return (
        _learnt(demo),
        _needed(demo),
        _whole_window(demo),
        _gates(demo),
        _exploding(demo),
        _parameters(demo),
        _twins(demo),
        _proof(demo),
    )


def _learnt(demo: Demo) -> str:
    better = [network for network in demo.networks if network.error < demo.persistence]
    errors = listed([f"{number(network.error)} ({network.name})" for network in demo.networks])
    return (
        f"{len(better)} of {len(demo.networks)} networks predict the next value of held-out windows better than "
        f"repeating the last value does; the mean squared errors are {errors}, against {number(demo.persistence)}."
    )


def _needed(demo: Demo) -> str:
    lag = demo.task.needed_lag
    judged = [
        (f"{network.name}, {layer}", judge_attenuation(curve, lag).level)
        for network in demo.networks
        for layer, curve in network.after.curves.items()
    ]
    others = [f"{where} ({level})" for where, level in judged if level is not Level.STABLE]
    return (
        "The task needs only two steps back: the next value of a sine follows from the last two, which stand at lags 0 "
        f"and {lag}. At lag {lag} the gradient after training is stable in every layer of every network"
        f"{', except ' + listed(others) if others else ''}."
    )


def _whole_window(demo: Demo) -> str:
    plain = [network for network in demo.networks if network.initialisation == PLAIN]
    lag = demo.settings.window - 1
    lost = [
        network.name
        for network in plain
        if judge_attenuation(_top(network.after.curves), lag).level in (Level.VANISHING, Level.DEAD)
    ]
    before = listed([f"{_left(network.before)} ({network.name})" for network in plain])
    after = listed([f"{_left(network.after)} ({network.name}, {_log(network.after)})" for network in plain])
    return (
        f"At lag {lag}, the first step of the window, what is left of the last step's gradient in the top layer is "
        f"{before} before training and {after} after it. A task that needed this lag would find it vanishing in "
        f"{listed(lost) if lost else 'none of them'}; this task does not need it."
    )


def _gates(demo: Demo) -> str:
    kept = listed(
        [
            f"{_left(network.before)} before and {_left(network.after)} after training with {network.initialisation} "
            f"(mean forget gate {_forget_gate(network.before)} and {_forget_gate(network.after)})"
            for network in demo.networks
            if network.cell == "lstm"
        ]
    )
    return (
        "How far the gates let a gradient through depends on how they start: at lag "
        f"{demo.settings.window - 1}, in the top layer of the same LSTM, what is left is {kept}."
    )


def _exploding(demo: Demo) -> str:
    exploding = [
        f"{network.name}, {layer}"
        for network in demo.networks
        for layer, curve in network.after.curves.items()
        if judge_exploding(curve).level is Level.EXPLODING
    ]
    return f"After training the gradient explodes in {listed(exploding) if exploding else 'no layer of any network'}."


def _parameters(demo: Demo) -> str:
    network = next(network for network in demo.networks if network.cell == "lstm")
    measured = network.before.windows
    middle, last = len(measured.windows) // 2, len(measured.windows) - 1
    norms = measured.parameters[ALL]
    start = _top(measured.initial).mean(1)
    return (
        f"The gradient of the parameters does not show it: in the untrained {network.name} a window of "
        f"{measured.windows[last]} steps instead of {measured.windows[middle]} multiplies its norm by "
        f"{number(norms[last] / norms[middle])}, and the gradient at the start of the window by "
        f"{number_from_log(start[last] - start[middle])}."
    )


def _twins(demo: Demo) -> str:
    return (
        "Held out does not mean new here: without noise the series repeats, and no held-out window differs from the "
        f"most similar one that was trained on by more than {number(demo.twin)}."
    )


def _proof(demo: Demo) -> str:
    residual = max(moment.residual for network in demo.networks for moment in (network.before, network.after))
    return (
        "The gates explain the hidden states that the networks' own kernels returned: the largest replay residual is "
        f"{number(residual)}."
    )


def _top(by_layer: Mapping[str, Layer]) -> Layer:
    """What belongs to the last layer, the one that the loss reads."""
    return [*by_layer.values()][-1]


def _left(moment: Moment) -> str:
    return number_from_log(_top(moment.attenuations).value.mean)


def _log(moment: Moment) -> str:
    log = _top(moment.attenuations).value
    low, high = number(log.low, 3), number(log.high, 3)
    return f"log attenuation {number(log.mean, 3)}, 95 % CI [{low}, {high}] over {log.n} windows"


def _forget_gate(moment: Moment) -> str:
    return number(float(_top(moment.traces).gates["f"].mean()))
