"""Generated modules as files of a per-user folder."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

__all__ = ["cache_folder", "load_module"]


@functools.cache
def cache_folder() -> Path:
    """Where generated kernels are kept: `ADAMAS_CACHE`, else the user's cache folder.

    Where that cannot be written, a temporary folder of this process, with a warning: every process
    then compiles its kernels again.
    """
    folder = Path(os.environ.get("ADAMAS_CACHE") or _user_cache() / "adamas") / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        warnings.warn(
            f"kernels cannot be kept in {folder} ({error.strerror}) and are compiled anew in every "
            f"process; set ADAMAS_CACHE to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
        return Path(tempfile.mkdtemp(prefix="adamas-"))


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def load_module(name: str, text: str) -> ModuleType:
    """Import `text` from a file of the cache folder, named by `name` and the hash of the text."""
    name = f"adamas_{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = cache_folder() / f"{name}.py"
    if not path.exists() or path.read_text() != text:  # rewriting would make Numba compile anew
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Numba looks for the module of a kernel it has kept
    spec.loader.exec_module(module)
    return module
