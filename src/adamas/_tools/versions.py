"""Versions of Python and of installed packages."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

__all__ = ["PACKAGES", "versions"]

# The packages that numbers can depend on.
PACKAGES = ("adamas", "numpy", "numba", "scikit-learn", "scipy", "torch")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of these packages; "not installed" where one is not."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
