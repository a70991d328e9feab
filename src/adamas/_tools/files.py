"""Files that are whole or absent, and the folder where caches of this user go."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "write_atomically"]


def cache_folder() -> Path:
    """The folder for what can be made again: `ADAMAS_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("ADAMAS_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("adamas", appauthor=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file of which, whenever the process or the machine stops, there is all or nothing.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
