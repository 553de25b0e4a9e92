"""The house rules that a machine can see: what no file may say, run or name."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ["gatescope", "tests", "reports", ".ci"]
SUFFIXES = {".py", ".pyi", ".md", ".toml", ".txt", ".html", ".css", ".js", ".json", ".cfg", ".yaml", ".yml", ""}

FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.~])/(work|root|home|Users|farm|mnt|scratch)/"),
    "a folder beside the repository": re.compile(r"\.\./shared"),
    "a page that readers do not have": re.compile(
        r"\b(DESIGN|CONTRACT|MANIFEST|science|reliability|formats)\.md\b|\bDESIGN \d"
    ),
    "a tag of such a page": re.compile(r"\bscience \d+(\.\d+)?\b|\banchors? [AF]\d"),
    "one of our own issues by number": re.compile(r"\b[Ii]ssue #?\d{1,2}\b(?!\d)"),
    "the host of a package registry": re.compile(
        r"\b(pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|download\.pytorch)"
    ),
}
MAY_SAY = {
    ".ci/run": {"a folder beside the repository"},  # real checkpoints lie there on the machines that have them
    "tests/laws/test_house.py": set(FORBIDDEN),
}

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
    "torch.utils.model_zoo.load_url",
    "torch.package.PackageImporter",
    "torch.distributed.checkpoint.load",
    "torch.export.load",
    "torch.serialization.load",
    "torch.storage._load_from_bytes",
    "keras.models.load_model",
    "keras.saving.load_model",
    "tensorflow.keras.models.load_model",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.unsafe_load",
    "eval",
    "exec",
    "compile",
}

LONG = 300
WHY = re.compile(r"\bone file because\b")


def test_no_file_says_what_only_we_understand() -> None:
    said = []
    for path in _texts():
        place = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace")
        for what, pattern in FORBIDDEN.items():
            found = pattern.search(text)
            if found and what not in MAY_SAY.get(place, set()):
                said.append(f"{place}:{text.count(chr(10), 0, found.start()) + 1} names {what}: {found.group()!r}")
    assert not said, "\n".join(said)


@pytest.mark.parametrize(
    "text",
    [
        "see /work" + "/main",
        "in /home" + "/someone/model.pt",
        "from ../" + "shared/real",
        "as science" + " 2.1 says",
        "see DESIGN" + ".md",
        "issue" + " 2 asks",
    ],
)
def test_a_forbidden_word_is_seen(text: str) -> None:
    assert any(pattern.search(text) for pattern in FORBIDDEN.values())


@pytest.mark.parametrize("text", ["https://example.com/home/x", "./work/x", "pytorch issue 12345", "Section 4"])
def test_an_innocent_word_is_let_through(text: str) -> None:
    assert not any(pattern.search(text) for pattern in FORBIDDEN.values())


def test_nothing_in_gatescope_can_run_what_a_file_says() -> None:
    unsafe = [
        f"{_place(path)}:{found}"
        for path in _sources("gatescope")
        for found in _unsafe(path.read_text(encoding="utf-8"))
    ]
    assert not unsafe, "\n".join(unsafe)


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "torch.jit.load(path)",
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "eval(text)",
        "from torch import load",
        "import torch as t\nt.load(path)",
        "from torch import jit\njit.load(path)",
        "from torch import serialization as s\ns.load(path)",
        "import pandas as pd\npd.read_pickle(path)",
        "import keras\nkeras.models.load_model(path)",
        "import torch.hub\ntorch.hub.load_state_dict_from_url(address)",
        "import numpy as np\nnp.lib.npyio.NpzFile(path, allow_pickle=True)",
        "options = {'allow_pickle': True}",
        "torch.storage._load_from_bytes(data)",
    ],
)
def test_a_way_to_run_what_a_file_says_is_seen(source: str) -> None:
    assert list(_unsafe(source))


@pytest.mark.parametrize(
    "source", ["np.load(path, allow_pickle=False)", "re.compile('a')", "import pickletools", "model.eval()"]
)
def test_a_safe_way_is_let_through(source: str) -> None:
    assert not list(_unsafe(source))


def test_a_long_file_says_why_it_is_one_file() -> None:
    for path in [*_sources("gatescope"), *_sources("tests")]:
        text = path.read_text(encoding="utf-8")
        says_why = WHY.search(ast.get_docstring(ast.parse(text)) or "")
        lines = text.count("\n")
        assert lines <= LONG or says_why, (
            f"{_place(path)}: {lines} lines; split it, or say in its docstring: one file because …"
        )


def test_names_are_greek_only_where_the_paper_is_followed_letter_by_letter() -> None:
    for path in [*_sources("gatescope"), *_sources("tests")]:
        if {"cells", "dynamics"} & set(path.relative_to(ROOT).parts):
            continue
        with path.open("rb") as file:
            names = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME]
        strange = [f"{_place(path)}:{name.start[0]} {name.string}" for name in names if not name.string.isascii()]
        assert not strange, strange


def test_shapes_are_never_hidden_from_the_checker() -> None:
    """With `from __future__ import annotations` a shape is a string that nobody checks."""
    for path in _sources("gatescope"):
        text = path.read_text(encoding="utf-8")
        assert "jaxtyping" not in text or "from __future__ import annotations" not in text, _place(path)


def test_shapes_are_checked_in_this_very_run() -> None:
    module = importlib.import_module("gatescope.layers")
    assert type(module.__loader__).__module__.startswith("jaxtyping")


def test_the_example_in_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 1
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", blocks[0]]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["run.html"]


def _unsafe(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    known_as = dict(_aliases(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                f"{node.lineno} imports {name.name}" for name in node.names if _root(name.name) in UNSAFE_MODULES
            )
        elif isinstance(node, ast.ImportFrom):
            named = {f"{node.module}.{name.name}" for name in node.names}
            if _root(node.module or "") in UNSAFE_MODULES or named & UNSAFE_CALLS:
                yield f"{node.lineno} imports {', '.join(sorted(named))}"
        elif isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            called = known_as.get(first, first) + dot + rest
            pickles = [word.value for word in node.keywords if word.arg == "allow_pickle"]
            if called in UNSAFE_CALLS or any(not (isinstance(v, ast.Constant) and v.value is False) for v in pickles):
                yield f"{node.lineno} calls {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and node.value == "allow_pickle":
            yield f"{node.lineno} hands allow_pickle on, where nobody sees its value"


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """By the name that a module or function has in this file, its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.asname, name.name) for name in node.names if name.asname)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((name.asname or name.name, f"{node.module}.{name.name}") for name in node.names)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _texts() -> list[Path]:
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if not _is_left_behind(path)]
    return sorted(path for path in [*ROOT.iterdir(), *inside] if path.is_file() and path.suffix in SUFFIXES)


def _is_left_behind(path: Path) -> bool:
    """By a tool, in a cache of its own."""
    return any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(ROOT).parts[1:])
