"""The symbolic interpreter agrees with Python's own on what needs no call, and bounds whatever a file says."""

import math
import pickle
import pickletools
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints.written import Made, Named, Raw, pickled
from gatescope.checkpoints.nodes import Call, Global, Members, Pairs, Persistent, arguments, as_bytes, target
from gatescope.checkpoints.pickles import interpret, is_pickle
from gatescope.checkpoints.walk import walk
from gatescope.errors import CheckpointError

HERE = Path("a.pkl")
ROOT = Path(__file__).parents[2]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=300)
)
keys = st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.tuples(st.integers(), st.text(max_size=2))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=20,
)


def built(node: Any) -> Any:
    """What the nodes stand for; in a test we may build it."""
    match node:
        case list():
            return [built(item) for item in node]
        case tuple():
            return tuple(built(item) for item in node)
        case Pairs():
            return {built(key): built(value) for key, value in node.pairs}
        case Members():
            return {built(item) for item in node.items}
        case Call() if target(node) in ("builtins.set", "__builtin__.set"):
            return set(built(arguments(node)[0]))
        case Call() if target(node) in ("builtins.frozenset", "__builtin__.frozenset"):
            return frozenset(built(arguments(node)[0]))
        case Call():
            return as_bytes(node)
    return node


@pytest.mark.parametrize("protocol", range(6))
@settings(max_examples=60)
@given(value=values)
def test_plain_values_are_what_python_makes_of_them(protocol: int, value: Any) -> None:
    data = pickle.dumps(value, protocol)
    found = interpret(data, HERE)
    assert built(found.root) == value
    assert found.end == len(data)
    assert is_pickle(data) or protocol < 2


@given(value=values, protocol=st.sampled_from([2, 4, 5]), share=st.floats(0, 1, exclude_max=True))
def test_a_pickle_that_ends_early_is_called_truncated(value: Any, protocol: int, share: float) -> None:
    data = pickle.dumps(value, protocol)
    with pytest.raises(CheckpointError, match="truncated"):
        interpret(data[: int(len(data) * share)], HERE)


def test_each_operation_that_python_knows_is_known() -> None:
    for operation in pickletools.opcodes:
        try:
            interpret(operation.code.encode("latin-1") + b".", HERE)
        except CheckpointError as error:
            assert "is no operation" not in str(error)  # noqa: PT017  (any other complaint is fine)


def test_a_call_is_a_node_and_nothing_else() -> None:
    found = interpret(pickled(Made(Named("os", "system"), ("touch x",), {"a": 1})), HERE)
    assert found.globals == (Global("os", "system"),)
    assert found.calls == (found.root,)
    assert found.root.args == ("touch x",)
    assert found.root.states[0].pairs == [("a", 1)]


def test_what_python_2_wrote_is_read() -> None:
    assert interpret(b"S'a\\x41\\'\\n'\n.", HERE).root == "aA'\n"
    assert interpret(b"U\x02\xff\xfe.", HERE).root == b"\xff\xfe"
    assert interpret(b"I01\n.", HERE).root is True
    assert interpret(b"L12L\n.", HERE).root == 12
    assert math.isinf(interpret(b"F1e999\n.", HERE).root)
    assert isinstance(interpret(b"Pname\n.", HERE).root, Persistent)


def test_a_list_that_holds_itself_is_built_once() -> None:
    around: list[Any] = []
    around.append(around)
    root = interpret(pickle.dumps(around), HERE).root
    assert root[0] is root


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "marks": (lambda: b"(" * 2_000 + b".", "more than 1000 containers within each other"),
    "integer": (lambda: b"\x8b" + struct.pack("<I", 1 << 30) + b".", "an integer of 1073741824 bytes"),
    "digits": (lambda: b"I" + b"9" * 5_000 + b"\n.", "is too long"),
    "long digits": (lambda: b"L" + b"9" * 5_000 + b"L\n.", "is too long"),
    "class": (lambda: b"c" + b"a" * 5_000 + b"\nb\n.", "more than 1000 characters"),
    "text": (lambda: b"X\xff\xff\xff\x7f.", "announces 2147483647 bytes"),
    "bytes": (lambda: b"\x8e" + b"\xff" * 8 + b".", "announces 18446744073709551615 bytes"),
    "frame": (lambda: b"\x80\x04\x95" + b"\xff" * 7 + b"\x00.", "announces a frame"),
    "extension 1": (lambda: b"\x82\x01.", "private registry"),
    "extension 2": (lambda: b"\x83\x01\x00.", "private registry"),
    "extension 4": (lambda: b"\x84\x01\x00\x00\x00.", "private registry"),
    "buffers": (lambda: b"\x80\x05\x97.", "in another place"),
    "protocol": (lambda: b"\x80\x06N.", "protocol 6"),
    "no operation": (lambda: b"\xff.", "0xff, is no operation"),
    "empty stack": (lambda: b"R.", "from an empty stack"),
    "no mark": (lambda: b"t.", "never set"),
    "no memo": (lambda: b"h\x05.", "recalls value 5"),
    "memo before the first": (lambda: b"Nq\x00g-1\n.", "recalls value -1"),
    "put before the first": (lambda: b"Np-5\n.", "as number -5"),
    "append to a number": (lambda: b"K\x01K\x02a.", "appends to a int"),
    "key of a list": (lambda: b"]K\x01K\x02s.", "sets a key of a list"),
    "odd pairs": (lambda: b"}(K\x01u.", "key without a value"),
    "state of a number": (lambda: b"K\x01}b.", "state of a int"),
    "two values": (lambda: b"NN.", "stops with 2 values"),
    "no value": (lambda: b".", "stops with 0 values"),
    "class of numbers": (lambda: b"K\x01K\x02\x93.", "not text"),
    "not UTF-8": (lambda: b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
    "no object": (lambda: b"(o.", "no class"),
    "nothing": (lambda: b"", "truncated"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_pickler_writes_is_refused_by_name(name: str) -> None:
    make, says = HOSTILE[name]
    with pytest.raises(CheckpointError, match=says):
        interpret(make(), HERE)


HEAVY = {
    "operations": ('b"N0" * 2_000_001', "more than 4000000 operations"),
    "dicts": ('b"}" * 1_500_000', "more than 144 MB of memory"),
    "tuples": ('b")" + b"\\x85" * 1_500_000', "more than 144 MB of memory"),
    "calls": ('b"N" + b")R" * 1_000_000', "more than 144 MB of memory"),
    "strays in the memo": (
        'b"N" + b"".join(b"r" + n.to_bytes(4, "little") for n in range(10, 8_000_000, 2))',
        "more than 144 MB of memory",
    ),
    "texts": ('b"\\x8c\\x03abc" * 2_500_000', "more than 144 MB of memory"),
    "classes": ('b"".join(b"ca\\n%d\\n" % n for n in range(1_500_000))', "more than 144 MB of memory"),
}


@pytest.mark.parametrize(
    "name", ["dicts", *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY if name != "dicts")]
)
def test_a_hostile_pickle_takes_no_more_time_and_memory_than_it_may(name: str) -> None:
    """In a program of its own, where no call is checked."""
    code, says = HEAVY[name]
    program = (
        "import sys, time, tracemalloc; from pathlib import Path;"
        "from gatescope.checkpoints.pickles import interpret; from gatescope.errors import CheckpointError\n"
        f"data = {code} + b'.'\n"
        "for traced in (False, True):\n"
        "    traced and tracemalloc.start(); begin = time.process_time()\n"
        "    try: interpret(data, Path('a'))\n"
        "    except CheckpointError as error: said = str(error)\n"
        "    if not traced: seconds = time.process_time() - begin\n"
        "print(seconds, tracemalloc.get_traced_memory()[1], said)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, memory, said = ran.stdout.split(maxsplit=2)
    assert says in said
    assert float(seconds) < 5
    assert int(memory) < 256e6


@pytest.mark.parametrize(
    "code",
    [b"]" * 1 + b"\x85" * 30_000, b"]" * 1_000 + b"a" * 999, b")" + b"\x85" * 30_000 + b"}" + b"\x86"],
    ids=["tuples", "lists", "a key"],
)
def test_containers_a_thousand_deep_are_refused_without_recursion(code: bytes) -> None:
    if code.startswith(b"]]"):
        code = b"]" + code + b"a"
    root = interpret(b"\x80\x02" + code + b".", HERE).root
    with pytest.raises(CheckpointError, match="more than 1000 deep"):
        walk(root, lambda node: None, HERE)


def test_a_deep_tuple_may_even_be_a_key_or_in_a_set() -> None:
    deep = Raw(b")" + b"\x85" * 30_000)
    interpret(pickled({"a": 1}).replace(b"u.", b"u") + deep.code + b"Ns.", HERE)
    interpret(b"\x8f(" + deep.code + b"\x90.", HERE)


def test_containers_that_hold_each_other_twice_cost_no_power_of_two() -> None:
    code = b"]q\x00" + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(200))
    looked_at = 0

    def recognise(node: Any) -> None:
        nonlocal looked_at
        looked_at += 1

    walk(interpret(b"\x80\x02(" + code + b"t.", HERE).root, recognise, HERE)
    assert looked_at == 202


def test_a_name_of_a_million_characters_is_refused() -> None:
    with pytest.raises(CheckpointError, match="has 1000000 characters, where 4000 is the limit"):
        walk(interpret(pickle.dumps({"x" * 1_000_000: []}), HERE).root, lambda n: "why" if n == [] else None, HERE)


@pytest.mark.parametrize("name", ["../../etc", "</script>", "a\nb", "\x1b[31m", "\u202e", "\x00", "a" * 3_000, ""])
def test_hostile_names_are_kept_and_shown_escaped(name: str) -> None:
    found = walk(interpret(pickle.dumps({name: [], "b": ()}), HERE).root, lambda n: "why" if n == [] else None, HERE)
    (line,) = found.not_read
    assert line.isprintable()
    assert len(line) < 100


def test_the_value_set_last_under_a_key_is_the_one_that_counts() -> None:
    code = b"}(X\x01\x00\x00\x00aK\x01\x85X\x01\x00\x00\x00aK\x02\x85u"
    found = []
    walk(interpret(b"\x80\x02" + code + b".", HERE).root, found.append, HERE)
    assert found[1:] == [(2,)]
