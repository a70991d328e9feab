"""Records of runs: one JSON file a run, named by the hash of its configuration, whole or absent."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamas._tools.files import write_atomically

from . import ExperimentError

SCHEMA = 1
FAILED = "failed"
PARTS = ("failures", "runs")  # the later hides the earlier

Record = Mapping[str, Any]
"""A run's stored form, plain JSON values:

- `schema`: the number of this form, `SCHEMA`;
- `configuration`: `Run.configuration()`, the seed and the data's identity among it;
- `versions`: of Python and the packages that the numbers can depend on;
- `status`, `epochs`, `clock`, `seconds`: see `runs.Outcome`; or, of a run that raised,
- `status`, which is `FAILED`, and `traceback`, a text.
"""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results can depend on; "not installed" where one is not."""
    found = {"python": platform.python_version()}
    for package in ("adamas", "numpy", "numba", "scikit-learn", "scipy", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def key(configuration: Mapping[str, Any]) -> str:
    """The SHA-256 of a configuration as canonical JSON: sorted keys, no spaces, in hexadecimal."""
    return hashlib.sha256(_canonical(configuration).encode()).hexdigest()


def _canonical(configuration: Mapping[str, Any]) -> str:
    return json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)


def record(configuration: Mapping[str, Any], measured: Mapping[str, Any]) -> Record:
    """The record of a run that was executed here, with the versions installed here."""
    return {"schema": SCHEMA, "configuration": configuration, "versions": versions(), **measured}


def encode(record: Record) -> bytes:
    """A record as its file has it.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    return json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"


@dataclass(frozen=True)
class Store:
    """A results folder: records in `runs/`, those of runs that failed in `failures/`, figures beside them."""

    folder: Path

    def path(self, configuration: Mapping[str, Any]) -> Path:
        """Where the record of this configuration is, or would be."""
        return self.folder / "runs" / f"{key(configuration)}.json"

    def make(self) -> None:
        """Makes the folder, and checks that files can be written to it.

        Raises:
            ExperimentError: it cannot be made or written to.
        """
        runs = self.folder / "runs"
        try:
            runs.mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, runs):
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ExperimentError(
                f"results cannot be written to {self.folder}: {error.strerror}. Name another (--results)"
            ) from error

    def write(self, configuration: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Stores the record of what was measured, as `put` does."""
        self.put(record(configuration, measured))

    def put(self, record: Record) -> None:
        """Stores a record; at no moment is there a partial one under its name.

        One of a run that failed goes to `failures/`, where `read` does not look, so that the run is tried
        again; when it then succeeds, it is removed there.

        Raises:
            ExperimentError: it cannot be written.
            TypeError, ValueError: it is no JSON.
        """
        content = encode(record)
        path = self.path(record["configuration"])
        failure = self.folder / "failures" / path.name
        target = failure if record["status"] == FAILED else path
        try:
            target.parent.mkdir(exist_ok=True)
            write_atomically(target, content)
            if target != failure:
                failure.unlink(missing_ok=True)
        except OSError as error:
            raise ExperimentError(
                f"{target} cannot be written: {error.strerror}. What is stored stays: mend it and go on"
            ) from error

    def read(self, configuration: Mapping[str, Any]) -> Record | None:
        """The record of this configuration, None if there is none yet.

        Raises:
            ExperimentError: what is stored there is not a record of this configuration.
        """
        path = self.path(configuration)
        return _read(path) if path.exists() else None

    def every(self) -> tuple[list[Record], list[ExperimentError]]:
        """All records, in an order of their own, and what is wrong with each file that is none.

        A run that failed is among them, unless it was done since.

        Raises:
            ExperimentError: there is no such folder.
        """
        if not (self.folder / "runs").is_dir():
            raise ExperimentError(f"there are no results in {self.folder}. Name another folder (--results)")
        paths = {path.name: path for part in PARTS for path in sorted((self.folder / part).glob("*.json"))}
        records, errors = [], []
        for path in paths.values():
            try:
                records.append(_read(path))
            except ExperimentError as error:
                errors.append(error)
        return sorted(records, key=lambda record: _canonical(record["configuration"])), errors


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_bytes())
        problem = _problem(record, path.stem)
    except (OSError, ValueError) as error:
        raise ExperimentError(
            f"{path} cannot be read as a record: {error}. Delete it to run it again"
        ) from error
    if problem:
        raise ExperimentError(f"{path} is not a record of this run: {problem}. Delete it to run it again")
    return record  # type: ignore[no-any-return]


def _problem(record: Any, name: str) -> str | None:
    """Why this is not a record of the configuration whose `key` is the name, None if it is one."""
    if not isinstance(record, dict):
        return "it is not an object"
    if record.get("schema") != SCHEMA:
        return f"its schema is {record.get('schema')!r}, expected {SCHEMA}"
    failed = record.get("status") == FAILED
    measured = {"traceback"} if failed else {"epochs", "seconds"}
    missing = {"configuration", "versions", "status", *measured} - record.keys()
    if missing:
        return f"it lacks {', '.join(sorted(missing))}"
    if not isinstance(record["configuration"], dict) or key(record["configuration"]) != name:
        return "its configuration is another one"
    epochs = [] if failed else record["epochs"]
    if not (isinstance(epochs, list) and all(isinstance(epoch, dict) for epoch in epochs)):
        return "its epochs are no list of objects"
    return None
