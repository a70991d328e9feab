"""Versions of Python and of installed packages."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping

__all__ = ["PACKAGES", "installed", "versions"]

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


@functools.cache
def installed() -> Mapping[str, str]:
    """Return `versions()` as they were when this process first asked: each answer takes milliseconds."""
    return versions()
