"""What the source of the torch front end may name: private names of torch, launchers, and where."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import adamas
import adamas.torch

SOURCE = Path(adamas.__file__).parent
FRONT_END = Path(adamas.torch.__file__).parent
COMPAT = FRONT_END / "_compat.py"
# Names by which torch's GradScaler and its own subclasses ask an optimizer: a protocol, to be answered under
# these names, not a use of torch's insides.
PROTOCOL = {"_step_supports_amp_scaling", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"}

PRIVATE_PATH = r"torch(\.\w+)*\._[a-zA-Z]\w*(\.\w+)*"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a chain of attributes that begins with a name; otherwise empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def of_torch(tree: ast.AST) -> dict[str, str]:
    """What the names that a module imports from torch stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "torch":
                    names[alias.asname or "torch"] = alias.name if alias.asname else "torch"
        elif isinstance(node, ast.ImportFrom) and f"{'.' * node.level}{node.module}".split(".")[0] == "torch":
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def private_uses(source: str) -> Iterator[str]:
    """The private names of torch that a module uses: imported, by attribute, on a tensor, or in a string."""
    tree = ast.parse(source)
    names = of_torch(tree)
    for path in names.values():
        if any(map(is_private, path.split("."))):
            yield path
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = dotted(node).partition(".")
            if root in names and any(map(is_private, rest.split("."))):
                yield f"{names[root]}.{rest}"
            elif is_private(node.attr) and node.attr not in PROTOCOL and hasattr(torch.Tensor, node.attr):
                yield f"torch.Tensor.{node.attr}"
        elif isinstance(node, ast.Constant) and re.fullmatch(PRIVATE_PATH, str(node.value)):
            yield node.value


@pytest.mark.parametrize(
    "path", sorted(FRONT_END.rglob("*.py")), ids=lambda path: str(path.relative_to(FRONT_END))
)
def test_private_names_of_torch_stand_in_one_file(path: Path) -> None:
    if path == COMPAT:
        pytest.skip("the file for them")
    assert sorted(set(private_uses(path.read_text("utf-8")))) == []


def test_that_file_has_them() -> None:
    """So the test above sees what it looks for."""
    assert len(set(private_uses(COMPAT.read_text("utf-8")))) >= 3


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch\ntorch._foreach_add_(x, 1)", "torch._foreach_add_"),
        ("from torch._compile import _disable_dynamo", "torch._compile._disable_dynamo"),
        ("from torch.optim import optimizer as o\no._global_hooks", "torch.optim.optimizer._global_hooks"),
        ("import torch.optim as o\no.adam._multi(x)", "torch.optim.adam._multi"),
        ("def f(x):\n    return x._is_zerotensor()", "torch.Tensor._is_zerotensor"),
        ("import torch\ngetattr(torch, 'x', 'torch._C._x')", "torch._C._x"),
    ],
)
def test_every_way_to_a_private_name_is_seen(source: str, expected: str) -> None:
    assert expected in set(private_uses(source))


# Launchers are found by discovery, and named nowhere.


def home(name: str) -> Path:
    """The file of a launcher."""
    from adamas.torch import launchers

    (launcher,) = [launcher for launcher in launchers.all_launchers() if launcher.name == name]
    return Path(inspect.getfile(launcher))


def literals(source: str) -> Iterator[tuple[int, str]]:
    """String literals that are no documentation, with the line each stands on."""
    tree = ast.parse(source)
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def names_in(path: Path, names: list[str]) -> Iterator[str]:
    """Literals that are one of these names, or (an error message, say) quote one.

    Some launchers have the name of a package; where that stands in a line that says nothing of backends, the
    package is meant.
    """
    source = path.read_text("utf-8")
    lines = source.splitlines()
    for line, text in literals(source):
        for name in names:
            if text != name and not re.search(rf"['\"`]{re.escape(name)}['\"`]", text):
                continue
            if importlib.util.find_spec(name) is None or "backend" in lines[line - 1] + text:
                yield f"{path.relative_to(SOURCE)}:{line}: {text!r}"


def test_no_launcher_is_named_outside_its_file() -> None:
    from adamas.torch import launchers

    paths = sorted(SOURCE.rglob("*.py"))
    names = {path: [name for name in launchers.names() if path != home(name)] for path in paths}
    assert [found for path in paths for found in names_in(path, names[path])] == []


def test_there_are_launchers() -> None:
    from adamas.torch import launchers

    assert len(launchers.names()) == len(set(launchers.names())) >= 2
    assert all(home(name).parent == FRONT_END / "launchers" for name in launchers.names())
