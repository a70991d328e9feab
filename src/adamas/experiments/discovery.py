"""Modules found by being there: a package's public modules, by name."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from . import ExperimentError


def names(package: ModuleType) -> list[str]:
    """The package's public modules, sorted; none of them is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name[0] != "_")


def load(package: ModuleType, name: str) -> ModuleType:
    """The package's module of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    known = names(package)
    if name not in known:
        kind = package.__name__.rpartition(".")[2].removesuffix("s")
        raise ExperimentError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
    return importlib.import_module(f"{package.__name__}.{name}")
