"""An analysis for a terminal: the answer of each layer first, how far it reaches, why, and what is not known.

No line is longer than 100 columns. That nothing explodes is a clause and no headline, and layers of which the same is
not known stand together; where there are many layers, causes are given for the first few that have a finding.
"""

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from ..remedies.remedy import Remedies
from ..verdicts import Horizon, Level, Verdict
from ..verdicts.reach import has_signal, reach
from ..verdicts.words import count, steps

if TYPE_CHECKING:
    from .analysis import AnalysedLayer, Analysis

WIDTH = 100
FEW = 4
"""So many layers have their causes."""
BELOW = ("a half", "a tenth", "a hundredth", "what float32 resolves")
"""What each of a layer's horizons is below."""
_FINE = {Level.STABLE, Level.NOT_EXPLODING}


def in_words(analysis: "Analysis") -> str:
    """The findings, as lines."""
    explained = _explained(analysis)
    lines = [_wrapped(_run(analysis), 0)]
    for together in _alike(analysis):
        lines += ["", *_of_layers(analysis, together)]
        if together[0].name in explained:
            lines += [_wrapped(sentence, 4) for sentence in analysis.causes[together[0].name]]
        lines += [_wrapped(cure, 4) for cure in _cures(analysis, together[0].name)]
    if not analysis.layers:
        lines.append("Nothing was judged.")
    elif len(explained) < len(analysis.layers):
        lines += ["", "Why, in the layers without a reason here: analysis.causes."]
    named = {layer.name for layer in analysis.layers}
    below = [_wrapped(_judged(one), 0) for one in analysis.verdicts if one.layer not in named]
    below += [_wrapped(f"Suspicion: {one}.", 0) for one in analysis.suspicions]
    below += [_wrapped(f"Not measured: {one}", 0) for one in _missing(analysis)]
    return "\n".join(lines + [""] * bool(below) + below)


def _run(analysis: "Analysis") -> str:
    facts = analysis.provenance
    value = f", {facts['value of the loss']}" if "value of the loss" in facts else ""
    lag = "No lag given: nothing is called vanishing" if analysis.lag is None else f"The task needs lag {analysis.lag}"
    return f"Data {facts.get('data', 'unknown')}. Loss: {facts.get('loss', 'unknown')}{value}. {lag}."


def _of_layer(analysis: "Analysis", name: str) -> list[Verdict]:
    return [one for one in analysis.verdicts if one.layer == name]


def _explained(analysis: "Analysis") -> set[str]:
    """The layers whose causes are given."""
    names = [layer.name for layer in analysis.layers]
    if len(names) <= FEW:
        return set(names)
    found = {one.layer for one in analysis.verdicts if one.level not in _FINE and not one.level.abstains}
    return set([name for name in names if name in found][:FEW])


def _alike(analysis: "Analysis") -> "list[list[AnalysedLayer]]":
    """The layers in their order; those of which the same cannot be told together, at the place of the first."""
    groups: dict[object, list[AnalysedLayer]] = {}
    for layer in analysis.layers:
        verdicts = _of_layer(analysis, layer.name)
        said = tuple((one.level, one.claim) for one in verdicts)
        alike = verdicts and all(one.level.abstains for one in verdicts)
        groups.setdefault(said if alike else layer.name, []).append(layer)
    return list(groups.values())


def _of_layers(analysis: "Analysis", layers: "Sequence[AnalysedLayer]") -> Iterator[str]:
    first = layers[0].name
    name = first if len(layers) == 1 else f"{first} to {layers[-1].name} ({len(layers)} layers)"
    verdicts = _of_layer(analysis, first)
    loud = [one for one in verdicts if one.level is not Level.NOT_EXPLODING]
    calm = _calm(analysis, first) if len(loud) < len(verdicts) else ""
    reached = _reached(analysis.horizons.get(first, ()))
    if not loud:
        said = [part for part in (reached, calm and f"{calm}, {_over(analysis, first)}") if part]
        yield _wrapped(f"{name}: the gradient {'; it '.join(said) or 'was not judged'}.", 0)
        return
    levels = [one.level for one in loud]
    at_all = calm.replace("does not explode", "does not") if Level.EXPLODING in levels else calm
    for place, one in enumerate(loud):
        known = one.level in levels[:place]
        yield _wrapped(one.claim if known else f"{name}: {str(one.level).upper()}. {one.claim}", 4 if known else 0)
        yield _wrapped(f"{_sentence(one.ground)}{f'; it {at_all}' * bool(calm)}.", 4)
    if reached:
        yield _wrapped(f"The gradient {reached}.", 4)


def _judged(verdict: Verdict) -> str:
    if verdict.level is Level.NOT_EXPLODING:
        return f"{verdict.layer}: {verdict.claim}"
    return f"{verdict.layer}: {str(verdict.level).upper()}. {verdict.claim} {_sentence(verdict.ground)}."


def _calm(analysis: "Analysis", name: str) -> str:
    return f"does not explode over {steps(reach(analysis.curves[name], 'pair'))}"


def _over(analysis: "Analysis", name: str) -> str:
    sequences = int(has_signal(analysis.curves[name], "pair").sum())
    return f"a mean over {count(sequences, 'sequence')}"


def _reached(found: Sequence[Horizon]) -> str:
    """How far back the gradient falls below each fraction, with the ends of the interval."""
    if not found:
        return ""
    there = [(name, one) for name, one in zip(BELOW, found, strict=True) if one.lag is not None]
    beyond = [name for name, one in zip(BELOW, found, strict=True) if one.lag is None][:1]
    never = [f"not below {name} within {steps(found[0].longest)}" for name in beyond]
    if not there:
        return f"does {never[0].replace('below', 'fall below', 1)}"
    (name, first), *others = there
    said = [f"falls below {name} at lag {first}", *(f"{name} at {one}" for name, one in others)]
    return ", ".join(said) + "".join(f", and {one}" for one in never)


def _cures(analysis: "Analysis", name: str) -> list[str]:
    tried = [one for one in analysis.measurements if isinstance(one, Remedies)]
    return [one.sentence(name) for one in tried if one.of(name)]


def _missing(analysis: "Analysis") -> Iterator[str]:
    """Each question without an answer once, with the first layer and its reason."""
    missing: dict[tuple[str, str], list[str]] = {}
    for one in analysis.not_measured:
        missing.setdefault((one.measure, one.why.replace(one.layer, "")), []).append(f"{one.layer}\n{one.why}")
    for (measure, _), where in missing.items():
        layer, why = where[0].split("\n", 1)
        more = f" and of {len(where) - 1} more" if len(where) > 1 else ""
        yield f"{measure} of {layer}{more}: {why}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _wrapped(text: str, indent: int) -> str:
    return fill(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
