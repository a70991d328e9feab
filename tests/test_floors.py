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
    **dict.fromkeys(["torch", "optax", "minimize", "schedules"], 2),
    PACKAGE: 2.5,  # the front door: made of what is below, used only from above
    **dict.fromkeys(["experiments", "bench"], 3),
    **dict.fromkeys(["cli", "__main__"], 4),
}
# Where each dependency may be imported; what is not listed, nowhere.
HOMES = {
    "numpy": set(FLOORS),
    "annotated_types": {"_tools", "rules"},
    "platformdirs": {"_tools"},
    "numba": {"backends", "bench"},
    "llvmlite": {"backends"},
    "torch": {"torch", "experiments", "bench"},
    "jax": {"optax"},
    "optax": {"optax"},
    "scipy": {"minimize", "experiments"},
    "sklearn": {"experiments"},
    "threadpoolctl": {"experiments"},
    "pooch": {"experiments"},
    "matplotlib": {"experiments", "bench"},
    "jinja2": {"experiments"},
    "pandas": {"experiments"},
    "plotly": {"experiments"},
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
    ],
)
def test_a_right_import_passes(path: str, line: str) -> None:
    assert faults(Path(path), line) == []
