"""Modules found by being there: a package's public modules, by name."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.util import find_spec
from types import ModuleType

__all__ = ["load", "names"]


def names(package: str) -> list[str]:
    """The public modules of the package of this full name, sorted; neither it nor they are imported."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return sorted(module.name for module in pkgutil.iter_modules(folders or []) if module.name[0] != "_")


def load(package: str, name: str, error: type[Exception] = ValueError) -> ModuleType:
    """The package's module of that name.

    Raises:
        error: there is none; the message lists those that exist.
    """
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2].removesuffix("s")
        raise error(f"unknown {kind} {name!r}; known: {', '.join(known)}")
    return importlib.import_module(f"{package}.{name}")
