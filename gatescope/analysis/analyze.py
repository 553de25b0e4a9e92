"""From a model and data to an `Analysis`: run once, look at each recurrent layer in float64, measure, judge.

No number is computed and no threshold stands here: what is asked of a layer is listed in `questions.py`.
"""

import platform
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from os import PathLike
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import GatescopeWarning, InputError
from ..measures.fresh_window import fresh_window
from ..measures.gradient_norms import gradient_norms_of_sequences
from ..recording.driving import SEQUENCES, STEPS, Cells, Loss, drive, drive_on_noise, left_as_it_was
from ..recording.linearised import LinearisedCall, linearised_calls
from ..recording.recorder import Recorder
from ..remedies.remedies import remedies
from ..remedies.remedy import Remedies
from ..verdicts import RESOLUTION, Level, Thresholds, Verdict, judge, unreached, unread
from .analysis import AnalysedLayer, Analysis
from .one_call import Plan, look_at, windows_of
from .questions import Answers, Asked, Extra

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


def analyze(
    source: nn.Module | Recorder | str | PathLike[str],
    x: Any = None,
    y: Any = None,
    loss: Loss | None = None,
    lag: int | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    windows: Sequence[int] | None = None,
    extra: Collection[Extra] = (),
    cells: Cells | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    shown: Sequence[int] = (0, 1),
    progress: Progress | None = None,
) -> Analysis:
    """Measures how far back the gradient of every recurrent layer reaches, why, and what its gates do.

    ```python
    analysis = gs.analyze(model, x, y, loss=torch.nn.functional.mse_loss, lag=100)
    print(analysis)
    analysis.report("run.html")
    ```

    The model runs as it is and in the mode in which it is; its parameters, gradients, buffers and the state of torch's
    random numbers are afterwards what they were.

    Args:
        source: a model that holds nn.LSTM, nn.GRU, nn.RNN or their cells; or a Recorder that has recorded one.
        x: what the model is called with; a tuple is several arguments, a dict is arguments by name. None: each
            recurrent module by itself on independent standard normal input, 32 sequences of 200 steps, and every result
            says "synthetic".
        y: what the loss is called with beside the model's output.
        loss: `loss(output, y)`, one number. None: a random linear readout of each recurrent module's h_n, a direction
            of its own for each sequence, from `seed`.
        lag: how many steps back the task needs to reach. Without it nothing is called vanishing: only horizons are
            given, since losing what nobody needs is no fault.
        lengths: the number of valid steps of each padded sequence.
        windows: lengths of the fresh windows; 1, 2, 5, 10, … if not given.
        extra: what takes long: `"full_spectrum"` of Lyapunov exponents, `"fixed_points"`, `"remedies"`.
        cells: for modules of one's own, the cell that each is, as for `Recorder`.
        dtype: in which the recorded trajectory is linearised.
        seed: of every random number: same seed, same bytes.
        shown: the sequences of which gates and states are kept for a page.
        progress: called with what is being done, how much is done, and of how much.

    Raises:
        InputError: a source without a recurrent module; a loss that is no single number; lengths that do not fit x.
        ReplayError: the gates of no layer could be proven; where some could, `not_measured` says which could not.
    """
    if lag is not None and lag < 1:
        raise InputError(f"The lag was given as {lag}; lags count steps back from the last: choose 1 or more.")
    ends = None if lengths is None else torch.as_tensor(lengths)
    ran = _ran(source, x, y, loss, ends, cells, seed)
    calls = linearised_calls(ran.recorder, readout=ran.readout, lengths=ends, dtype=dtype)
    whole_model = isinstance(source, nn.Module) and loss is not None and _can_be_cut(x, ends, calls)
    plan = Plan(ran.loss, lag, windows, whole_model, tuple(extra), tuple(shown), seed)
    told, answers = progress or _nobody, Answers()
    for done, call in enumerate(calls):
        told(f"measuring {', '.join(call.names)}", done, len(calls) + whole_model)
        answers += look_at(call, plan)
    if answers.refusals and not answers.layers:
        raise answers.refusals[0]
    if whole_model:
        told("fresh windows of the whole model", len(calls), len(calls) + 1)
        answers.ask("", Asked("fresh_window", lambda: _fresh_windows(source, x, y, loss, windows, calls, seed)))
    if loss is not None:
        answers.ask("", Asked("gradient_norms", lambda: gradient_norms_of_sequences(answers.truncations)))
    if "remedies" in extra:
        told("remedies", len(calls), len(calls) + 1)
        answers.ask("", Asked("remedies", lambda: _remedies(source, x, y, loss, lag, ends, cells, dtype, seed)))
    for suspicion in answers.suspicions:
        warnings.warn(suspicion, GatescopeWarning, stacklevel=2)
    told("done", len(calls) + whole_model, len(calls) + whole_model)
    return Analysis(
        provenance=MappingProxyType(_provenance(ran, calls, answers, dtype, seed)),
        lag=lag,
        layers=tuple(answers.layers),
        measurements=tuple(answers.measurements),
        verdicts=tuple(_verdicts(answers, lag, ran.loss)),
        excerpts=tuple(answers.excerpts),
        not_measured=tuple(answers.not_measured),
    )


@dataclass(frozen=True, eq=False)
class _Ran:
    """The run that was looked at."""

    recorder: Recorder
    data: str
    loss: str
    readout: int | None
    facts: Mapping[str, str]


def _ran(
    source: nn.Module | Recorder | str | PathLike[str],
    x: Any,
    y: Any,
    loss: Loss | None,
    lengths: Tensor | None,
    cells: Cells | None,
    seed: int,
) -> _Ran:
    readout = f"a random linear readout of h_n, a direction of its own for each sequence, seed {seed}"
    if isinstance(source, str | PathLike):
        raise InputError(
            f"{source} is a file, and analyze takes a model or a Recorder; load the model by its own code and give it."
        )
    if isinstance(source, Recorder):
        if x is not None or loss is not None:
            raise InputError(
                "A Recorder was given together with x or a loss, and it holds the data and the gradient of its own "
                "run; give it alone, or give the model."
            )
        felt = bool(len(source.adjoints))
        words = "the loss of the recording" if felt else readout
        return _Ran(source, "as recorded", words, None if felt else seed, {})
    mode = "training" if source.training else "evaluation"
    if x is None:
        if loss is not None:
            raise InputError("A loss was given without data for it; give x (and y), or leave the loss out.")
        data = f"synthetic: independent N(0, 1), {SEQUENCES} sequences of {STEPS} steps, seed {seed}"
        return _Ran(drive_on_noise(source, cells=cells, seed=seed).recorder, data, readout, seed, {"mode": mode})
    ran = drive(source, x, y, loss, lengths=lengths, cells=cells, seed=seed)
    words = readout if loss is None else getattr(loss, "__name__", type(loss).__name__)
    facts = {"mode": mode} if ran.loss is None else {"mode": mode, "value of the loss": f"{ran.loss:.6g}"}
    return _Ran(ran.recorder, f"given: {_described(x)}", words, seed if loss is None else None, facts)


def _described(x: Any) -> str:
    match x:
        case Tensor():
            return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
        case torch.nn.utils.rnn.PackedSequence():
            return f"packed, {int(x.batch_sizes[0])} sequences of up to {len(x.batch_sizes)} steps"
        case dict():
            return ", ".join(f"{name} {_described(one)}" for name, one in x.items())
        case tuple() | list():
            return ", ".join(map(_described, x))
    return type(x).__name__


def _can_be_cut(x: Any, lengths: Tensor | None, calls: Sequence[LinearisedCall]) -> bool:
    """Whether the model can be run anew on the last steps of x, with the same target."""
    if not isinstance(x, Tensor) or x.dim() < 2 or lengths is not None or not calls:
        return False
    felt = [call for call in calls if call.felt]
    return bool(felt) and not any(call.mixes_lags for call in felt) and int(calls[0].ends.max()) in x.shape[:2]


def _fresh_windows(
    model: Any, x: Tensor, y: Any, loss: Any, windows: Sequence[int] | None, calls: Sequence[LinearisedCall], seed: int
) -> Any:
    steps = int(calls[0].ends.max())
    time_dim = 1 if x.shape[1] == steps else 0
    with left_as_it_was(model, seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", GatescopeWarning)  # what there is to say was said of the whole
        return fresh_window(model, x, y, loss, windows_of(windows, steps), time_dim=time_dim)


def _remedies(source: Any, x: Any, y: Any, loss: Loss | None, *how: Any) -> Remedies:
    if isinstance(source, Recorder):
        raise InputError("A Recorder holds no model of which copies could be tried; give the model, and its data.")
    lag, lengths, cells, dtype, seed = how
    return remedies(source, x, y, loss, lag, lengths, cells=cells, dtype=dtype, seed=seed)


def _verdicts(answers: Answers, lag: int | None, loss: str) -> list[Verdict]:
    """In the order of the layers."""
    curves = answers.curves

    def judged(layer: AnalysedLayer) -> tuple[Verdict, ...]:
        if layer.name not in curves:
            return (unreached(layer.name, loss),)
        resolved = Thresholds(dead=RESOLUTION.get(layer.dtype, RESOLUTION["float32"]))
        verdicts = judge(curves[layer.name], lag, thresholds=resolved)
        if layer.name in answers.unread and verdicts[0].level not in {Level.NO_SIGNAL, Level.NON_FINITE}:
            return (unread(curves[layer.name]),)
        return verdicts

    doubt = "".join(f"; {suspicion}" for suspicion in answers.suspicions)
    return [replace(verdict, because=verdict.because + doubt) for layer in answers.layers for verdict in judged(layer)]


def _provenance(
    ran: _Ran, calls: Sequence[LinearisedCall], answers: Answers, dtype: torch.dtype, seed: int
) -> dict[str, str]:
    ran_in = {
        (str(call.ran_in).removeprefix("torch."), call.recorded[0].x.device.type) for call in calls if call.recorded
    }
    residual = max((layer.residual for layer in answers.layers), default=0.0)
    return {
        "data": ran.data,
        "loss": ran.loss,
        **ran.facts,
        "recorded in": ", ".join(f"{kind} on {device}" for kind, device in sorted(ran_in)),
        "linearised in": str(dtype).removeprefix("torch."),
        "replay residual": f"at most {residual:.1e}",
        "seed": str(seed),
        **({"reduced": "; ".join(answers.reductions)} if answers.reductions else {}),
        "versions": f"gatescope {__version__}, torch {version('torch')}, numpy {version('numpy')}, "
        f"Python {platform.python_version()}",
    }


def _nobody(what: str, done: int, of: int) -> None:
    """Nobody wants to know."""
