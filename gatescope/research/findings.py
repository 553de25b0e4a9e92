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
        _used(demo),
        _one_training(demo),
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
        "The task needs only two steps back, the last two values: the next value of a sine follows from these, at lags "
        f"0 and {lag}. At lag {lag} the gradient after training is stable in every layer of every network"
        f"{', except ' + listed(others) if others else ''}."
    )


def _whole_window(demo: Demo) -> str:
    plain = [network for network in demo.networks if network.initialisation == PLAIN]
    lag = demo.settings.window - 1
    lost = [
        f"layer {layer} of the {network.name}"
        for network in plain
        for layer, curve in network.after.curves.items()
        if judge_attenuation(curve, lag).level in (Level.VANISHING, Level.DEAD)
    ]
    before = listed([f"{_left_by_layer(network.before)} ({network.name})" for network in plain])
    after = listed([f"{_left_by_layer(network.after)} ({network.name})" for network in plain])
    layers = " and ".join(plain[0].after.curves)
    return (
        f"At lag {lag}, the first step of the window, what is left of the last step's gradient in the layers {layers} "
        f"is {before} before training and {after} after it. After it, that is surely less than a hundredth in "
        f"{listed(lost) if lost else 'none of them'}; what reaches the input goes through the first layer. This task "
        "does not need that lag."
    )


def _used(demo: Demo) -> str:
    networks = demo.networks
    middle = len(networks[0].after.windows.windows) // 2
    window = networks[0].after.windows.windows[middle]
    times = listed([f"{number(one.after.windows.loss[middle] / demo.persistence)} ({one.name})" for one in networks])
    return (
        f"The trained networks use more than the task needs: they learned from windows of {demo.settings.window} "
        f"steps, and shown only the last {window} their error is so many times that of repeating the last value: "
        f"{times}. Networks trained on {window} steps would be others."
    )


def _one_training(demo: Demo) -> str:
    n = next(iter(demo.networks[0].after.attenuations.values())).value.n
    return (
        f"The 95 % intervals on this page are over {n} windows, phases of one sine, for one training of each network "
        f"from seed {demo.settings.seed}; another seed moves the numbers by more than that, so they rank no kind of "
        "cell."
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
    layer, starts = next(iter(measured.initial.items()))
    start = starts.mean(1)
    return (
        "The gradient of the parameters does not show how far back a network feels: in the untrained "
        f"{network.name} a window of {measured.windows[last]} steps instead of {measured.windows[middle]} multiplies "
        f"its norm by {number(norms[last] / norms[middle], 3)}, and the gradient at the start of the window, in layer "
        f"{layer}, by {number_from_log(start[last] - start[middle])}."
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


def _left_by_layer(moment: Moment) -> str:
    return " and ".join(number_from_log(one.value.mean) for one in moment.attenuations.values())


def _forget_gate(moment: Moment) -> str:
    return number(float(_top(moment.traces).gates["f"].mean()))
