"""What the name of one gate's own matrix says: `W_xf`, `Whi`, `U_z`, `forget_gate`, `reset_gate_hidden`."""

import re
from typing import Literal, NamedTuple

Side = Literal["input", "hidden", "both", "either"]
CANDIDATE = "~"
"""The block that goes through tanh, whatever letter it is given: g, c, n or h."""


class GateName(NamedTuple):
    """Which block of which product."""

    gate: str
    """i f o of an LSTM, r z of a GRU, or the candidate."""
    side: Side
    """`both`: one matrix for the input and the hidden state in a row; `either`: the name alone does not say."""
    letters: str
    """The two letters after W, as torch's formulae have them: `if`, `hn`; else empty."""
    bias: bool
    """Whether it names a bias by its own letter, as `b_f` does."""


_TWO_LETTERS = re.compile(r"(?P<what>[WwBb])_?(?P<side>[xih])_?(?P<gate>[ifgcozrnh])")
_ARROW = re.compile(r"(?P<side>[xih])2(?P<gate>[ifgcozrn])")
_ONE_LETTER = re.compile(r"(?P<what>[WwUuRrBb])_?(?P<gate>[ifgcozrnh])")
_PEEPHOLE = re.compile(r"[WwVv]_?c_?[ifo]|.*peephole.*", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

_GATE_WORDS = {
    **dict.fromkeys(("input", "in", "i"), "i"), **dict.fromkeys(("forget", "f"), "f"),
    **dict.fromkeys(("output", "out", "o"), "o"), **dict.fromkeys(("reset", "r"), "r"),
    **dict.fromkeys(("update", "z"), "z"),
    **dict.fromkeys(("cell", "candidate", "cand", "modulation", "new", "g", "n", "c"), CANDIDATE),
}  # fmt: skip
_SIDE_WORDS: dict[str, Side] = {
    **dict.fromkeys(("x", "input", "ih", "in", "xh"), "input"),
    **dict.fromkeys(("h", "hidden", "hh", "hid", "state", "recurrent", "rec"), "hidden"),
}
_FILLERS = {"gate", "linear", "lin", "fc", "layer", "w", "weight", "proj", "to", "the"}
_LONGEST = 60


def gate_named(child: str) -> GateName | None:
    """What a name says, if it is one of a gate."""
    if len(child) > _LONGEST:
        return None
    if match := _TWO_LETTERS.fullmatch(child):
        side: Side = "hidden" if match["side"] == "h" else "input"
        return GateName(_gate(match["gate"]), side, match["side"] + match["gate"], match["what"] in "Bb")
    if match := _ARROW.fullmatch(child):
        return GateName(_gate(match["gate"]), "hidden" if match["side"] == "h" else "input", "", bias=False)
    if match := _ONE_LETTER.fullmatch(child):
        recurrent = match["what"] in "UuRr"
        return GateName(_gate(match["gate"]), "hidden" if recurrent else "either", "", match["what"] in "Bb")
    return _by_words(child)


def is_a_peephole(child: str) -> bool:
    """Whether a name is one of a weight from the cell state to a gate."""
    return len(child) <= _LONGEST and _PEEPHOLE.fullmatch(child) is not None


def _gate(letter: str) -> str:
    return CANDIDATE if letter in "gcnh" else letter


def _by_words(child: str) -> GateName | None:
    words = [word.lower() for word in _WORD.findall(child)]
    if "".join(words) != child.replace("_", "").lower() or not any(len(word) > 2 for word in words):
        return None
    bias = words[0] in {"b", "bias"} or words[-1] in {"b", "bias"}
    words = [word for word in words if word not in {"b", "bias"}]
    said = [place for place, word in enumerate(words[:-1]) if words[place + 1] == "gate" and word in _GATE_WORDS]
    told = [place for place, word in enumerate(words) if word in _GATE_WORDS and len(word) > 2]
    places = said or ([place for place in told if words[place] != "input"] or told)
    if len(places) != 1 and not (len(places) == 2 and not said):
        return None
    place = places[0]
    rest = [word for at, word in enumerate(words) if at != place and word not in _FILLERS]
    if len(rest) > 1 or any(word not in _SIDE_WORDS for word in rest):
        return None
    return GateName(_GATE_WORDS[words[place]], _SIDE_WORDS[rest[0]] if rest else "both", "", bias)
