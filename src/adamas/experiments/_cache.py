"""Preprocessed data kept in the user's cache folder, so that it is computed once."""

from __future__ import annotations

from pathlib import Path

from adamas._tools.files import write_atomically

from . import ExperimentError

__all__ = ["keep"]


def keep(path: Path, content: bytes) -> None:
    """Write a file in the cache folder, and the folders above it.

    Raises:
        ExperimentError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ExperimentError(
            f"preprocessed data cannot be kept in {path}: {error.strerror}. "
            f"Set ADAMAS_CACHE to a writable folder"
        ) from error
