"""From a model and data to an `Analysis`: run once, look at each recurrent layer in float64, measure, judge.

No number is computed and no threshold stands here: what is asked of a layer is listed in `questions.py`.
"""

import platform
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from os import PathLike
from types import MappingProxyType
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from .. import __version__
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.reading import read
from ..errors import GatescopeWarning, InputError
from ..measures.fresh_window import ALL
from ..measures.gradient_norms import GradientNorms
from ..recording.driving import Cells, Loss
from ..recording.recorder import Recorder
from ..recording.setting import Setting
from ..verdicts import (
    MIN_GRADIENTS,
    RESOLUTION,
    Level,
    Thresholds,
    Verdict,
    entangled,
    judge,
    judge_training,
    unreached,
    unread,
)
from .analysis import AnalysedLayer, Analysis
from .asked_for import (
    SHOWN,
    known_extras,
    longer_than_the_data,
    refuse_what_did_not_run,
    refuse_what_does_not_fit_together,
    whole_lag,
)
from .one_call import Plan, look_at
from .questions import Answers, Extra
from .ran import Ran, ran_model, ran_recorder
from .ran_checkpoint import ran_checkpoint
from .whole_model import can_be_cut, of_whole_model

Source = nn.Module | Recorder | Checkpoint | str | PathLike[str]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


def analyze(
    source: Source,
    x: Any = None,
    y: Any = None,
    loss: Loss | None = None,
    lag: SupportsIndex | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    windows: Sequence[int] | None = None,
    extra: Extra | Collection[Extra] = (),
    cells: Cells | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    shown: Sequence[int] = SHOWN,
    layer: str | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Analysis:
    """Measures how far back the gradient of every recurrent layer reaches, why, and what its gates do.

    ```python
    analysis = gs.analyze(model, x, y, loss=torch.nn.functional.mse_loss, lag=100)
    print(analysis)
    analysis.report("run.html")
    ```

    The model runs as it is and in the mode in which it is; its parameters, gradients, buffers and the state of torch's
    random numbers are afterwards what they were. It runs once for the data and, where a loss is given and its input can
    be cut, once more for every fresh window, so that its own hooks fire each time; remedies run copies.

    Args:
        source: a model that holds nn.LSTM, nn.GRU, nn.RNN or their cells; a Recorder that has recorded one; or a
            checkpoint, or the path of one, whose layers are run without the model's code.
        x: what the model is called with; a tuple is several arguments, a dict is arguments by name. None: each
            recurrent module by itself on independent standard normal input, 32 sequences of 200 steps, and every result
            says "synthetic".
        y: what the loss is called with beside the model's output.
        loss: `loss(output, y)`, one number. None: a random linear readout of each recurrent module's h_n, a direction
            of its own for each sequence, from `seed`.
        lag: how many steps back the task needs to reach. Without it nothing is called vanishing: only horizons are
            given, since losing what nobody needs is no fault.
        lengths: the number of valid steps of each padded sequence, from whose ends lags count. A bare nn.LSTM, nn.GRU
            or nn.RNN is given packed sequences; any other model is called with x as it is.
        windows: lengths of the fresh windows; 1, 2, 5, 10, … if not given.
        extra: what takes long: `"full_spectrum"` of Lyapunov exponents, `"fixed_points"`, `"remedies"`; one or more.
        cells: for modules of one's own, the cell that each is, as for `Recorder`.
        dtype: in which the recorded trajectory is linearised.
        seed: of every random number: same seed, same bytes.
        shown: the sequences of which gates and states are kept for a page, counted from 0.
        layer: of a file, the name of the layer or of its module, to which alone the data go.
        device: of a file, where its layers run; a model runs where it is.
        progress: called with what is being done, how much is done, and of how much.

    Returns:
        The `Analysis`: `print` says what was found; `verdicts`, `horizons`, `causes` and `to_frame()` hold it, `report`
        and `save` write it, and `not_measured` says what has no answer and why. A layer is judged from 8 sequences of
        10 steps on; with fewer its verdict is "insufficient data", and the numbers are there all the same.

    Raises:
        InputError: a source without a recurrent module, or none of whose was called; a loss that is no single number;
            lengths that do not fit x; a lag that is no whole number; an extra or a sequence that does not exist.
        ReplayError: the gates of no layer could be proven; where some could, `not_measured` says which could not.
    """
    ends = None if lengths is None else torch.as_tensor(lengths)
    lag, asked_for = None if lag is None else whole_lag(lag), known_extras(extra)
    refuse_what_does_not_fit_together(x, y, loss, windows)
    how = Setting(x, y, loss, lag, ends, cells, dtype, seed)
    ran = _ran(source, how, layer, device)
    refuse_what_did_not_run(ran, shown)
    cut = can_be_cut(source, how, ran.calls)
    plan = Plan(ran.loss, lag, windows, whole_model=cut, extra=asked_for, shown=tuple(shown), seed=seed)
    told, answers = progress or _nobody, Answers.without(ran.refused)
    for done, call in enumerate(ran.calls):
        told(f"measuring {', '.join(call.names)}", done, len(ran.calls) + 1)
        answers += look_at(call, plan)
    if answers.refusals and not answers.layers:
        raise answers.refusals[0]
    for asked in of_whole_model(source, how, answers, ran.calls, windows, asked_for):
        told(f"measuring {asked.measure} of the whole model", len(ran.calls), len(ran.calls) + 1)
        answers.ask(ALL, asked)
    answers.not_measured += longer_than_the_data(windows, answers.layers)
    for suspicion in answers.suspicions:
        warnings.warn(suspicion, GatescopeWarning, stacklevel=2)
    told("done", len(ran.calls) + 1, len(ran.calls) + 1)
    return Analysis(
        provenance=MappingProxyType(_provenance(ran, answers, how)),
        lag=lag,
        layers=tuple(answers.layers),
        measurements=tuple(answers.measurements),
        verdicts=tuple(_verdicts(answers, lag, ran.loss)),
        excerpts=tuple(answers.excerpts),
        not_measured=tuple(answers.not_measured),
        suspicions=tuple(answers.suspicions),
    )


def _ran(source: Source, how: Setting, layer: str | None, device: str | torch.device) -> Ran:
    if isinstance(source, str | PathLike):
        source = read(source)
    if isinstance(source, Checkpoint):
        return ran_checkpoint(source, how, layer=layer, device=device)
    if layer is not None:
        raise InputError(f"The layer {layer} was asked for, which chooses among those of a file; leave it out.")
    return ran_recorder(source, how) if isinstance(source, Recorder) else ran_model(source, how)


def _verdicts(answers: Answers, lag: int | None, loss: str) -> list[Verdict]:
    """In the order of the layers, then of all of them together."""
    curves = answers.curves

    def judged(layer: AnalysedLayer) -> tuple[Verdict, ...]:
        if layer.name in answers.entangled:
            return (entangled(layer.name, loss),)
        if layer.name not in curves:
            return (unreached(layer.name, loss),)
        resolved = Thresholds(dead=RESOLUTION.get(layer.dtype, RESOLUTION["float32"]))
        verdicts = judge(curves[layer.name], lag, thresholds=resolved)
        if layer.name in answers.unread and verdicts[0].level not in {Level.NO_SIGNAL, Level.NON_FINITE}:
            return (unread(curves[layer.name]),)
        return verdicts

    def spread() -> Iterator[Verdict]:
        """Of the gradients of single sequences, where there are enough."""
        for norms in answers.measurements:
            if isinstance(norms, GradientNorms) and norms.n >= MIN_GRADIENTS:
                verdict = judge_training(norms, whose="of single sequences")
                yield replace(verdict, layer=f"the weights of {norms.layer}")

    doubt = "".join(f"; {suspicion}" for suspicion in answers.suspicions)
    verdicts = [*(verdict for layer in answers.layers for verdict in judged(layer)), *spread()]
    return [replace(verdict, because=verdict.because + doubt) for verdict in verdicts]


def _provenance(ran: Ran, answers: Answers, how: Setting) -> dict[str, str]:
    ran_in = {
        (str(call.ran_in).removeprefix("torch."), call.recorded[0].x.device.type) for call in ran.calls if call.recorded
    }
    residual = max((layer.residual for layer in answers.layers), default=0.0)
    return {
        **ran.facts,
        "data": ran.data,
        "loss": ran.loss,
        "ran in": ", ".join(f"{kind} on {device}" for kind, device in sorted(ran_in)),
        "linearised in": str(how.dtype).removeprefix("torch."),
        "replay residual": f"at most {residual:.1e}",
        "seed": str(how.seed),
        **({"reduced": "; ".join(answers.reductions)} if answers.reductions else {}),
        "versions": f"gatescope {__version__}, torch {version('torch')}, numpy {version('numpy')}, "
        f"Python {platform.python_version()}",
    }


def _nobody(what: str, done: int, of: int) -> None:
    """Nobody wants to know."""
