"""Imports point down only, and each dependency is imported only where it belongs; read from the source."""

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "adamas"
PACKAGE = "adamas/__init__.py"
FLOORS = {
    "_tools": 0,
    **dict.fromkeys(["rules", "formats"], 0.5),
    "backends": 1,
    **dict.fromkeys(["torch", "optax", "_minimize", "schedules"], 2),
    "_convert": 2.25,
    PACKAGE: 2.5,  # the front door: made of what is below, used only from above
    **dict.fromkeys(["experiments", "bench", "playground"], 3),
    **dict.fromkeys(["cli", "__main__"], 4),
}
# The rooms of the experiments, from the ground up.
ROOMS = {
    "__init__": 0,
    **dict.fromkeys(["_cache", "bootstrap", "findings", "charts", "solvers"], 1),
    "scales": 1.5,
    "datasets": 2,
    "problems": 3,
    "online_problems": 4,
    "runs": 5,
    **dict.fromkeys(["records", "trial"], 6),
    "execution": 7,
    "figures": 8,
    "claims": 9,
    "after": 9.5,
    "reports": 10,
    "reproduce": 11,
}
# Where each dependency may be imported; what is not listed, nowhere.
HOMES = {
    "numpy": set(FLOORS),
    "annotated_types": {"_tools", "rules"},
    "platformdirs": {"_tools"},
    "numba": {"backends", "bench"},
    "llvmlite": {"backends"},
    "triton": {"backends"},
    "torch": {"torch", "_convert", "experiments", "bench"},
    "jax": {"optax", "_convert"},
    "optax": {"optax", "_convert"},
    "scipy": {"_minimize", "experiments", "bench"},
    "noisyopt": {"bench"},
    "sklearn": {"experiments"},
    "threadpoolctl": {"experiments"},
    "pooch": {"experiments"},
    "matplotlib": {"experiments", "bench"},
    "jinja2": {"experiments"},
    "pandas": {"experiments"},
    "plotly": {"experiments", "playground"},
    "pyarrow": {"experiments"},
    "ray": {"experiments"},
    "rich": {"cli", "experiments", "bench"},
    "typer": {"cli"},
}
# Backends take the arrays of these, if the caller has them: inside a function, never on import.
LAZY = {("backends", "torch"), ("backends", "jax")}


def imports(node: ast.AST, package: str, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """Each imported name in full ("adamas.rules.Adam"), and whether a function imports it when called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = resolve_name("." * child.level + (child.module or ""), package)
            yield from ((f"{module}.{alias.name}", lazy) for alias in child.names)
        yield from imports(child, package, lazy or isinstance(child, ast.FunctionDef))


def room_is_higher(path: Path, name: str) -> bool:
    """Whether a file of the experiments imports a room above its own; one without a number is above all."""
    own, *_ = [*path.with_suffix("").parts[1:], "__init__"]
    _, _, room, *_ = [*name.split("."), "", ""]
    there = room in ROOMS or (SOURCE / "experiments" / f"{room}.py").exists()
    return own not in ROOMS or ROOMS.get(room if there else "__init__", len(ROOMS)) > ROOMS[own]


def faults(path: Path, text: str) -> list[str]:
    """What the file at `path` (from src/adamas) imports and must not."""
    part = PACKAGE if path == Path("__init__.py") else path.parts[0].removesuffix(".py")
    if part not in FLOORS:
        return [f"{path}: give {part!r} a floor in tests/test_floors.py"]
    found = []
    for name, lazy in imports(ast.parse(text), ".".join(["adamas", *path.parts[:-1]])):
        top, second, *_ = [*name.split("."), ""]
        if top == "adamas":
            target = second if second in FLOORS else PACKAGE
            wrong = FLOORS[target] > FLOORS[part]
            if target == "experiments":
                # Helpers are in _tools: only commands on experiments know the experiments.
                helper = part == "bench" or path.name.startswith("_")
                wrong |= room_is_higher(path, name) if part == target else helper
        elif top in sys.stdlib_module_names:
            wrong = False
        else:
            wrong = part not in HOMES.get(top, ()) and not (lazy and (part, top) in LAZY)
        if wrong:
            found.append(f"{path} must not import {name}")
    return found


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_down(file: Path) -> None:
    assert faults(file.relative_to(SOURCE), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("rules/adam.py", "from ..backends import numba"),
        ("rules/adam.py", "from .. import backends"),
        ("rules/adam.py", "import adamas.torch"),
        ("rules/adam.py", "from adamas import Adam"),
        ("rules/deep/er.py", "from ...cli import main"),
        ("rules/adam.py", "def f():\n    import torch"),
        ("backends/reference.py", "import torch"),
        ("torch/adam.py", "import adamas"),
        ("torch/adam.py", "import requests"),
        ("__init__.py", "from .experiments import run"),
        ("schedules.py", "from .bench import step"),
        ("bench/step.py", "if True:\n    from ..cli import main"),
        ("experiments/charts.py", "from .figures import load"),
        ("experiments/runs/online.py", "from .. import records"),
        ("experiments/problems/mlp.py", "from ..runs.training import Training"),
        ("experiments/figures/fig1.py", "from .. import claims"),
        ("experiments/__init__.py", "from . import figures"),
        ("experiments/newcomer.py", "from . import ExperimentError"),
        ("bench/step.py", "from ..experiments.charts import Style"),
        ("cli/_output.py", "from adamas.experiments import ExperimentError"),
        ("cli/_output.py", "def f():\n    from adamas.experiments.records.store import Store"),
        ("newcomer.py", ""),
    ],
)
def test_a_wrong_import_is_caught(path: str, line: str) -> None:
    assert len(faults(Path(path), line)) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("rules/adam.py", "from ._base import Rule"),
        ("rules/__init__.py", "from . import adam"),
        ("backends/reference.py", "def f():\n    import torch"),
        ("torch/adam.py", "import torch\nfrom .. import backends\nfrom adamas.rules import Adam"),
        ("__init__.py", "from .rules import Adam\nfrom importlib.metadata import version"),
        ("cli/info.py", "from adamas import Adam"),
        ("cli/results.py", "def f():\n    from adamas.experiments.records.store import Store"),
        ("experiments/claims/reach.py", "from .. import ExperimentError\nfrom ..figures.fig1 import BATCH"),
        ("experiments/reproduce.py", "from . import claims, figures\nfrom .reports.collect import Report"),
    ],
)
def test_a_right_import_passes(path: str, line: str) -> None:
    assert faults(Path(path), line) == []


def at_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that a module makes when it is imported: not in a function, not for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import(child)


def graph(root: Path) -> dict[str, set[str]]:
    """Each module of the package at `root`, and those of it that are imported with it."""
    paths = {}
    for path in root.rglob("*.py"):
        *parents, name = path.relative_to(root.parent).with_suffix("").parts
        paths[".".join(parents if name == "__init__" else [*parents, name])] = path
    found: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in at_import(ast.parse(path.read_text(encoding="utf-8"))):
            module = ast.Module([node], [])
            for imported, _ in imports(module, package):
                target = imported if imported in paths else imported.rpartition(".")[0]
                found[name] |= {target} & paths.keys() - {name}
    return found


def circles(modules: dict[str, set[str]]) -> list[list[str]]:
    """The modules that import each other: those left when leaves are taken away from both ends."""
    left = {name: set(targets) for name, targets in modules.items()}
    while True:
        imported = set().union(*left.values()) if left else set()
        ends = {name for name, targets in left.items() if not targets & left.keys() or name not in imported}
        if not ends:
            return [sorted(left)] if left else []
        left = {name: targets - ends for name, targets in left.items() if name not in ends}


def test_no_import_circle() -> None:
    assert circles(graph(SOURCE)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": "from . import b", "b": "from .a import x"}, [["pack.a", "pack.b"]]),
        (
            {"a": "import pack.b", "b": "from .c import x", "c": "from . import a"},
            [["pack.a", "pack.b", "pack.c"]],
        ),
        ({"__init__": "from .a import x", "a": "from . import y"}, [["pack", "pack.a"]]),
        ({"a": "from . import b", "b": "def f():\n    from .a import x"}, []),
        ({"a": "from . import b", "b": "if TYPE_CHECKING:\n    from .a import x"}, []),
        ({"__init__": "from .a import x", "a": "from .b import x", "b": "import sys"}, []),
    ],
)
def test_a_circle_is_found(tmp_path: Path, files: dict[str, str], expected: list[list[str]]) -> None:
    (tmp_path / "pack").mkdir()
    for name, text in {"__init__": "", **files}.items():
        (tmp_path / "pack" / f"{name}.py").write_text(text)
    assert circles(graph(tmp_path / "pack")) == expected
