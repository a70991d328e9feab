"""The public names: listed, one path each (ruff keeps them sorted); nothing heavy is imported unasked."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files

import pytest

import adamas

OPTIONAL = {"jax", "matplotlib", "optax", "pooch", "rich", "scipy", "sklearn", "torch", "typer"}
MODULES = ["adamas"] + [
    f"adamas.{module.name}"
    for module in pkgutil.iter_modules(adamas.__path__)
    if not module.name.startswith("_")
]


def public_objects(module: str) -> Iterator[tuple[str, object]]:
    """The classes and functions a module lists; constants may well be equal by chance."""
    for name in importlib.import_module(module).__all__:
        value = getattr(sys.modules[module], name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value


@pytest.mark.parametrize("module", MODULES)
def test_every_listed_name_exists_once(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(sys.modules[module], name)] == []


def test_every_public_name_has_one_path() -> None:
    # `adamas` itself is the front door: it shows again what lives below.
    paths = defaultdict(set)
    for module in MODULES[1:]:
        for name, value in public_objects(module):
            paths[id(value)].add(f"{module}.{name}")
    assert [sorted(names) for names in paths.values() if len(names) > 1] == []


def test_the_front_door_renames_nothing() -> None:
    below = {(name, id(value)) for module in MODULES[1:] for name, value in public_objects(module)}
    # A function of a private module has its one path here.
    shown = [(name, x) for name, x in public_objects("adamas") if "._" not in x.__module__]
    assert [name for name, value in shown if (name, id(value)) not in below] == []


def test_what_is_imported_late_is_listed_and_is_no_other_name() -> None:
    assert set(adamas._LAZY) <= set(dir(adamas)) & set(adamas.__all__)
    with pytest.raises(AttributeError, match="did you mean 'minimize'"):
        _ = adamas.minimise


@pytest.mark.parametrize("module", ["adamas", "adamas.rules", "adamas.backends"])
def test_import_brings_in_no_optional_dependency(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert OPTIONAL.isdisjoint(result.stdout.split())


def test_types_are_shipped() -> None:
    assert (files("adamas") / "py.typed").is_file()


def test_version_is_the_installed_one() -> None:
    assert adamas.__version__ == version("adamas")


def test_a_source_tree_on_the_path_is_imported_without_being_installed() -> None:
    program = """
import importlib.metadata as metadata
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
import adamas
print(adamas.__version__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "not installed\n"
