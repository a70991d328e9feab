"""Generated modules as files of a per-user folder, with the machine code that Numba keeps beside them."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numba
from numba.core.errors import NumbaError

from ..._tools import files

__all__ = ["cache_folder", "load_module"]


@functools.cache
def cache_folder() -> Path:
    """The folder of generated kernels, below `ADAMAS_CACHE` or the user's cache folder.

    Where that cannot be written, a temporary folder of this process, with a warning: every process
    then compiles its kernels again.
    """
    folder = Path("kernels")
    try:
        folder = files.cache_folder() / folder
        if folder.parts[0].startswith("~"):
            raise OSError(0, "there is no home folder")
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # a RuntimeError where the home folder is unknown
        return _temporary_folder(folder, f"{getattr(error, 'strerror', None) or error}")


@functools.cache
def _temporary_folder(instead_of: Path, reason: str) -> Path:
    """A folder that goes when this process ends, with a warning."""
    warnings.warn(
        f"kernels cannot be kept in {instead_of} ({reason}) and are compiled anew in every "
        f"process; set ADAMAS_CACHE to a folder that can be written",
        RuntimeWarning,
        stacklevel=3,
    )
    folder = Path(tempfile.mkdtemp(prefix="adamas-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a fork, whose parent goes on
        shutil.rmtree(folder, ignore_errors=True)


def load_module(name: str, text: str) -> ModuleType:
    """Run `text` as a module from a file of the cache folder, named by `name` and the hash of the text.

    What is damaged there (a crash, a full disk) or not ours is discarded and made again.
    """
    # ASCII, for file systems of any locale.
    name = re.sub(r"[^a-z0-9_]", "_", name.lower())
    name = f"adamas_{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    folder = cache_folder()
    try:
        return _run(name, text, folder)
    except NumbaError:
        raise
    except Exception:
        for damaged in _machine_code(name, folder):
            damaged.unlink(missing_ok=True)
    try:
        return _run(name, text, folder)
    except OSError as error:
        return _run(name, text, _temporary_folder(folder, f"{error.strerror or error}"))


def _run(name: str, text: str, folder: Path) -> ModuleType:
    path, content = folder / f"{name}.py", text.encode()
    if not _holds(path, content):  # rewriting would make Numba compile anew
        files.write_atomically(path, content)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where Numba looks for the module of a kernel it has kept
    try:
        # Not by an import: that would keep bytecode, one more file that may be damaged.
        exec(compile(text, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def _machine_code(name: str, folder: Path) -> Iterator[Path]:
    """The files that Numba keeps of a module."""
    chosen = getattr(numba.config, "CACHE_DIR", "")
    roots = [Path(chosen)] if chosen else [folder / "__pycache__"]
    for root in roots:
        yield from root.rglob(f"{name}*.nb[ic]")
