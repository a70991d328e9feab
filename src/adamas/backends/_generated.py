"""Generated modules as files of a per-user folder, so that tracebacks and compilers find their source."""

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
from pathlib import Path
from types import ModuleType

from .._tools import files

__all__ = ["cache_folder", "load_generated", "module_name", "run_module", "temporary_folder"]


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
        return temporary_folder(folder, f"{getattr(error, 'strerror', None) or error}")


@functools.cache
def temporary_folder(instead_of: Path, reason: str) -> Path:
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


def module_name(name: str, text: str) -> str:
    """The name of a module with this text: ASCII, for file systems of any locale."""
    name = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return f"adamas_{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def load_generated(name: str, text: str) -> ModuleType:
    """Run `text` as a module from a file of the cache folder, named by `name` and the hash of the text."""
    name, folder = module_name(name, text), cache_folder()
    try:
        return run_module(name, text, folder)
    except OSError as error:
        return run_module(name, text, temporary_folder(folder, f"{error.strerror or error}"))


def run_module(name: str, text: str, folder: Path) -> ModuleType:
    """Run `text` as a module from its file in `folder`, written where it is missing or damaged."""
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
