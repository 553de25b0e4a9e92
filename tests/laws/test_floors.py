"""Imports go down only: no room of the house knows anything of a floor above its own."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gatescope"

FLOORS = [
    ["errors"],
    ["cleaning"],
    ["writing"],
    ["shapes"],
    ["cells"],
    ["layers"],
    ["labelled"],
    ["trace"],
    ["kernels"],
    ["nonfinite"],
    ["initialisations"],
    ["dynamics"],
    ["recording", "checkpoints", "data"],
    ["measures"],
    ["verdicts"],
    ["causes"],
    ["remedies"],
    ["analysis"],
    ["report"],
    ["tasks"],
    ["research"],
    ["bench", "selftest"],
    ["cli"],
]
"""Rooms from the ground up; rooms that share a floor do not know each other."""

HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}

EXCEPTIONS = {
    ("analysis", "report"): "Analysis.report() and _repr_html_ draw themselves, importing inside the method",
}
"""Imports that go up, each allowed inside a function only."""

IMPORTS_BY_NAME = {
    "gatescope/__init__.py": "the public names are loaded when they are first used",
    "gatescope/cli/__init__.py": "a verb is loaded when it is run",
    "gatescope/cli/analyze.py": "--model and --loss name the user's own functions",
    "gatescope/data/function.py": "the function is the user's own, named in the spec",
}
"""Files in which a module is named by a string."""


class Import(NamedTuple):
    """One import statement, resolved: the module or name that it reaches, and whether it waits inside a function."""

    target: str
    line: int
    inside_a_function: bool


def test_every_module_stands_on_a_floor() -> None:
    rooms = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if _is_room(path)}
    assert rooms <= set(HEIGHT), f"say in FLOORS where these stand: {sorted(rooms - set(HEIGHT))}"


def test_imports_go_down_only() -> None:
    placed = [path for path in _modules() if _room(_name_of(path)) in HEIGHT]
    climbs = [climb for path in placed for climb in _climbs(_name_of(path), path.read_text(encoding="utf-8"))]
    assert not climbs, "\n".join(climbs)


def test_modules_are_named_by_strings_only_where_laziness_is_the_point() -> None:
    for path in _modules():
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _imports_by_name(node)]
        place = path.relative_to(ROOT).as_posix()
        assert not calls or place in IMPORTS_BY_NAME, (
            f"{place}:{calls[0].lineno} imports by name; say so here, or import"
        )


def test_the_oracles_know_nothing_of_gatescope() -> None:
    for path in sorted((ROOT / "tests" / "oracles").rglob("*.py")):
        for found in _imports("oracles", path.read_text(encoding="utf-8")):
            assert found.target.partition(".")[0] != "gatescope", f"{path.name}:{found.line} imports what it judges"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gatescope.cells.lstm", "from gatescope.layers import RecurrentLayer"),
        ("gatescope.cells.lstm", "import gatescope.report.html"),
        ("gatescope.cells.lstm", "from ..trace import Trace"),
        ("gatescope.cells.lstm", "from .. import measures"),
        ("gatescope.cells.lstm", "from gatescope import verdicts"),
        ("gatescope.cells.lstm", "from gatescope import Recorder"),
        ("gatescope.cells.lstm", "import gatescope"),
        ("gatescope.cells.lstm", "import gatescope as gs"),
        ("gatescope.cells.__init__", "from ..layers import RecurrentLayer"),
        ("gatescope.layers", "def f():\n    from .recording import recorder"),
        ("gatescope.layers", "if TYPE_CHECKING:\n    from .recording.recorder import Recorder"),
        ("gatescope.layers", "try:\n    from .measures import lag_curve\nexcept ImportError:\n    pass"),
        ("gatescope.recording.recorder", "from gatescope.checkpoints import read"),
        ("gatescope.data.npy", "from ..recording import store"),
        ("gatescope.analysis", "from .report import html"),
    ],
)
def test_an_import_that_climbs_is_seen(module: str, source: str) -> None:
    assert _climbs(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gatescope.cells.lstm", "from .cell import Cell\nfrom ..errors import InputError\nimport torch"),
        ("gatescope.cells.__init__", "from .lstm import LSTM"),
        (
            "gatescope.report.sections.lag_curve",
            "from ...measures.lag_curve import LagCurve\nfrom ..section import Section",
        ),
        ("gatescope.cli.demo", "from gatescope import __version__\nfrom gatescope import Recorder"),
        ("gatescope.report.html", "from gatescope import __version__"),
        ("gatescope.analysis", "def report(self):\n    from .report import html"),
    ],
)
def test_an_import_that_goes_down_is_let_through(module: str, source: str) -> None:
    assert not _climbs(module, source)


def _climbs(module: str, source: str) -> list[str]:
    room = _room(module)
    return [
        f"{module}:{found.line} stands in {room} and imports {found.target}"
        for found in _imports(module, source)
        if found.target.split(".")[0] == "gatescope"
        and not _goes_down(room, _room(_home(found.target)))
        and not (found.inside_a_function and (room, _room(found.target)) in EXCEPTIONS)
    ]


def _goes_down(room: str, target: str) -> bool:
    """Nobody below looks at the whole house: a bare `import gatescope` goes nowhere on its floor."""
    return target == "__version__" or room == target or (target in HEIGHT and HEIGHT[target] < HEIGHT[room])


def _home(target: str) -> str:
    """Where a public name such as `gatescope.Trace` lives; any other target is its own home."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {name.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    return homes.get(target.removeprefix("gatescope.")) or target


def _imports(module: str, source: str) -> Iterator[Import]:
    def visit(node: ast.AST, *, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(name.name, node.lineno, inside) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            yield from (Import(f"{whole}.{name.name}", node.lineno, inside) for name in node.names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside=inside)

    return visit(ast.parse(source), inside=False)


def _imports_by_name(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in {"import_module", "__import__"}


def _room(module: str) -> str:
    return module.removeprefix("gatescope").removeprefix(".").partition(".")[0]


def _name_of(path: Path) -> str:
    """With `__init__` kept, so that a dot means the same folder in every file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def _is_room(path: Path) -> bool:
    if path.is_dir():
        return any(path.rglob("*.py"))
    return path.suffix == ".py" and path.stem != "__init__"
