"""Files that are whole or absent, and the folder where caches of this user go."""

from __future__ import annotations

import io
import os
import uuid
from pathlib import Path

import platformdirs

__all__ = ["append_lines", "cache_folder", "write_atomically"]


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


def append_lines(path: Path, text: str) -> None:
    """Append whole lines to a file: all of them, or, where that fails, none.

    A line that an earlier process left unfinished is cut off first.

    Raises:
        OSError: they cannot be written.
    """
    with path.open("ab+", buffering=0) as file:
        size = _end_of_lines(file)
        file.truncate(size)
        try:
            rest = memoryview(text.encode())
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            file.truncate(size)
            raise


def _end_of_lines(file: io.FileIO) -> int:
    """The position behind the last line that is whole."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
