"""JSON state dicts: Python's own parser is the oracle of the numbers; what is no JSON is refused where it breaks."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gatescope as gs
from checkpoints.made import stack_outputs, torchs_outputs
from gatescope.errors import CheckpointError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


def test_a_network_gives_what_it_gave_before_it_was_saved(tmp_path: Path) -> None:
    lstm = nn.LSTM(5, 7)
    state = {name: value.tolist() for name, value in lstm.state_dict().items()}
    (tmp_path / "a.json").write_text(json.dumps({"epoch": 3, "state_dict": {"rnn." + n: v for n, v in state.items()}}))
    found = gs.read(tmp_path / "a.json")
    assert found.format == "JSON"
    assert found.layers[0].name == "rnn.l0"
    x = torch.randn(10, 3, 5)
    expected = torchs_outputs(lstm, x).double()
    torch.testing.assert_close(stack_outputs(found.layers, x), expected, rtol=1e-6, atol=1e-6)


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_every_regular_list_of_numbers_is_found_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], indent: int | None, escaped: bool
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=escaped), encoding="utf-8", errors="surrogatepass")
    expected: dict[str, np.ndarray] = {}
    _regular(value, "", expected)
    if len(set(paths := list(_paths(value, "")))) < len(paths):  # a.b under the top, and b under a
        return
    found = gs.read(path).arrays
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.shape == expected[name].shape
        np.testing.assert_array_equal(array.read(), expected[name])


@pytest.mark.parametrize(
    "text",
    [
        b"{", b'{"a"', b'{"a":}', b'{"a":[1,2}', b'{"a":[1,,2]}', b'{"a" 1}', b'{"a":1}x', b'{"a":[1 2]}', b"{'a':1}",
        b'{"a":"\x01"}', b'{"a":tru}', b'{"a":01}', b'{"a":1,}', b'["a",]', b'{"\\ud8":1}', b'{"a":[[1],[2]',
        b'{"a": +1}', b'{"a":[01]}', b'{"a":[1e]}', b'{"a":[Nan]}',
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text)
    with pytest.raises(CheckpointError):
        _all_numbers(tmp_path / "a")


@pytest.mark.parametrize("text", [b'{"a":' * 500 + b"1" + b"}" * 500, b'{"a":' + b"[" * 9999 + b"]" * 9999 + b"}"])
def test_what_is_nested_deeper_than_any_network_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text)
    with pytest.raises(CheckpointError, match="nested more than 64 deep"):
        gs.read(tmp_path / "a")


@pytest.mark.parametrize("text", ['{"a": [1, 2], "a": [3]}', '{"a": 1, "a": 2}', '{"a.b": [1], "a": {"b": [1]}}'])
def test_a_name_that_comes_twice_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(CheckpointError, match=r"the name a(\.b)? is in it twice"):
        gs.read(tmp_path / "a")


@pytest.mark.parametrize("unit", [b"[],", b'"",', b"1,", b"[1],", b"{},", b'[[1],["a"]],', b'{"a":1},'])
def test_a_long_text_without_a_network_is_done_with_in_time(unit: bytes, tmp_path: Path) -> None:
    """Eight megabytes, which are not to take longer than what is hostile may ever take."""
    (tmp_path / "a").write_bytes(b'{"a":[' + unit * ((8 << 20) // len(unit)) + b'"x"]}')
    start = time.process_time()
    with suppress(CheckpointError):
        gs.read(tmp_path / "a")
    assert time.process_time() - start < 5


def _all_numbers(path: Path) -> list[np.ndarray]:
    return [array.read() for array in gs.read(path).arrays.values()]


def _regular(value: Any, name: str, found: dict[str, np.ndarray]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _regular(inner, f"{name}.{key}" if name else key, found)
    elif isinstance(value, list) and name and _is_regular(value):
        found[name] = np.array([float(v) for v in _flat(value)]).reshape(_shape(value))
    elif isinstance(value, list):
        for place, inner in enumerate(one for one in value if isinstance(one, list | dict)):
            _regular(inner, f"{name}.{place}" if name else str(place), found)


def _paths(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and not _is_regular(value):
        for place, inner in enumerate(one for one in value if isinstance(one, list | dict)):
            yield from _paths(inner, f"{name}.{place}" if name else str(place))
    else:
        yield name


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *_shape(value[0])) if isinstance(value, list) else ()


def _flat(value: Any) -> list[float]:
    return [inner for one in value for inner in _flat(one)] if isinstance(value, list) else [value]


def _is_regular(value: Any) -> bool:
    if not isinstance(value, list):
        return type(value) in (int, float)
    return bool(value) and all(_is_regular(one) for one in value) and len({_shape(one) for one in value}) == 1
