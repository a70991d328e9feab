"""Kernels as generated modules, with the machine code that Numba keeps beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numba
from numba.core.errors import NumbaError

from .._generated import cache_folder, module_name, run_module, temporary_folder

__all__ = ["cache_folder", "load_module"]


def load_module(name: str, text: str) -> ModuleType:
    """Run `text` as a module from a file of the cache folder, named by `name` and the hash of the text.

    What is damaged there (a crash, a full disk) or not ours is discarded and made again.
    """
    name, folder = module_name(name, text), cache_folder()
    try:
        return run_module(name, text, folder)
    except NumbaError:
        raise
    except Exception:
        for damaged in _machine_code(name, folder):
            damaged.unlink(missing_ok=True)
    try:
        return run_module(name, text, folder)
    except OSError as error:
        return run_module(name, text, temporary_folder(folder, f"{error.strerror or error}"))


def _machine_code(name: str, folder: Path) -> Iterator[Path]:
    """The files that Numba keeps of a module."""
    chosen = getattr(numba.config, "CACHE_DIR", "")
    roots = [Path(chosen)] if chosen else [folder / "__pycache__"]
    for root in roots:
        yield from root.rglob(f"{name}*.nb[ic]")
