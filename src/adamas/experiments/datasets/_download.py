"""Data files: from the folder that ADAMAS_DATA names, else from their addresses; always verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch

from adamas._tools.files import cache_folder

from .. import ExperimentError

VARIABLE = "ADAMAS_DATA"


@dataclass(frozen=True)
class Source:
    """One published file.

    Args:
        set: the data set, which is also the folder's name under ADAMAS_DATA.
        name: the file's name.
        checksum: "sha256:..." or "md5:...", whichever is known, in hexadecimal.
        address: the folder from which its authors publish it under this name; None where it is repackaged and
            cannot be downloaded.
    """

    set: str
    name: str
    checksum: str
    address: str | None = None


def given_folder() -> Path | None:
    """Return the folder that ADAMAS_DATA names, None if it names none."""
    folder = os.environ.get(VARIABLE)
    return Path(folder).expanduser() if folder else None


def fingerprint(sources: Sequence[Source]) -> str:
    """Return sixteen hexadecimal digits that change with the files' checksums."""
    return hashlib.sha256("\n".join(source.checksum for source in sources).encode()).hexdigest()[:16]


def get(source: Source) -> Path:
    """Return the path of the file, present and with the right checksum.

    Raises:
        ExperimentError: ADAMAS_DATA names a folder without the file, the file is not the published one, or
            it cannot be downloaded.
    """
    folder = given_folder()
    return _download(source) if folder is None else _given(source, folder)


def _given(source: Source, folder: Path) -> Path:
    path = folder / source.set / source.name
    if not path.is_file():
        raise ExperimentError(
            f"{path} is missing: put it there, name another folder in {VARIABLE}, or unset that to download"
        )
    algorithm, _, expected = source.checksum.partition(":")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise ExperimentError(f"{path} cannot be read: {error.strerror}") from error
    if found != expected:
        raise ExperimentError(
            f"{path} is corrupt or truncated, or not the published file: {path.stat().st_size:,} bytes, "
            f"{algorithm} {found}, expected {expected}. Replace it, or unset {VARIABLE} to download"
        )
    return path


def _download(source: Source) -> Path:
    if source.address is None:
        raise ValueError(f"{source.set}/{source.name} has no address")
    url = source.address + source.name
    folder = cache_folder() / source.set
    instead = f"Try again, or put {source.set}/{source.name} into a folder and name that folder in {VARIABLE}"
    try:
        # pooch downloads beside the file and moves it there only once its checksum is right.
        return Path(pooch.retrieve(url, source.checksum, fname=source.name, path=folder))
    except ValueError as error:
        raise ExperimentError(f"{url} came corrupt or truncated: {error} {instead}") from error
    except OSError as error:
        raise ExperimentError(f"{url} cannot be downloaded into {folder}: {error}. {instead}") from error
