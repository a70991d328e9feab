"""Records of runs: one JSON file a run, named by the hash of its configuration, whole or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamas._tools.files import write_atomically
from adamas._tools.versions import installed

from .. import ExperimentError
from ..runs import Run

SCHEMA = 1
FAILED = "failed"
PARTS = ("failures", "runs")  # folders; the later hides the earlier

Record = Mapping[str, Any]
"""A run's stored form, plain JSON values:

- `schema`: the version of this form, `SCHEMA`;
- `configuration`: `Run.configuration()`, including the seed and the data's identity;
- `versions`: those of Python and the packages that the numbers can depend on;
- `status`, `epochs`, `clock`, `seconds`, `device`: see `runs.Outcome` (older records lack `device`: cpu); or,
  for a run that raised,
- `status`, which is `FAILED`, and `traceback`, a text.
"""


def key(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration as canonical JSON: sorted keys, no spaces, in hexadecimal."""
    return hashlib.sha256(_canonical(configuration).encode()).hexdigest()


def _canonical(configuration: Mapping[str, Any]) -> str:
    return json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)


def record(configuration: Mapping[str, Any], measured: Mapping[str, Any]) -> Record:
    """Return the record of a run executed here, with the versions installed here."""
    return {"schema": SCHEMA, "configuration": configuration, "versions": installed(), **measured}


def encode(record: Record) -> bytes:
    """Return a record as the content of its file.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    return json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"


@dataclass(frozen=True)
class Store:
    """A results folder: records in `runs/`, those of runs that failed in `failures/`, figures beside them.

    While runs pause or are searched, `states/` has what they go on from.
    """

    folder: Path

    def path(self, configuration: Mapping[str, Any]) -> Path:
        """Return where the record of this configuration is, or would be."""
        return self.folder / "runs" / f"{key(configuration)}.json"

    def make(self) -> None:
        """Make the folder, and check that files can be written to it.

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

    def file(self, record: Record) -> Path:
        """Return where this record is: among the runs, or among the failures."""
        path = self.path(record["configuration"])
        return self.folder / "failures" / path.name if record["status"] == FAILED else path

    def write(self, configuration: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Store the record of a measurement, as `put` does."""
        self.put(record(configuration, measured))

    def put(self, record: Record) -> None:
        """Store a record; at no moment is there a partial one under its name.

        The record of a run that failed goes to `failures/`, where `read` does not look, so that the run is
        tried again; once it succeeds, that record is removed.

        Raises:
            ExperimentError: it cannot be written.
            TypeError, ValueError: it is no JSON.
        """
        content = encode(record)
        target = self.file(record)
        failure = self.folder / "failures" / target.name
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
        """Return the record of this configuration, None if there is none yet.

        Raises:
            ExperimentError: the file with its name is not a record of this configuration.
        """
        path = self.path(configuration)
        return _read(path) if path.exists() else None

    def state(self, run: Run) -> tuple[bytes | None, int]:
        """Return the state of the longest shorter run that this one can go on from, and its epochs.

        None and 0 where there is none, or where it cannot be read: the run then begins at its beginning.
        """
        for shorter in run.beginnings() if (self.folder / "states").is_dir() else ():
            with contextlib.suppress(OSError):
                return self._state_path(shorter).read_bytes(), shorter.epochs
        return None, 0

    def put_state(self, run: Run, state: bytes) -> None:
        """Store the state that a longer run can go on from.

        Raises:
            ExperimentError: it cannot be written.
        """
        target = self._state_path(run)
        try:
            try:
                target.parent.mkdir(exist_ok=True)
                write_atomically(target, state)
            except FileNotFoundError:  # another command has just removed the empty folder
                target.parent.mkdir(exist_ok=True)
                write_atomically(target, state)
        except OSError as error:
            raise ExperimentError(
                f"{target} cannot be written: {error.strerror}. What is stored stays: mend it and go on"
            ) from error

    def forget_states(self, runs: Iterable[Run]) -> None:
        """Remove the states of these runs; what cannot be removed stays, and does no harm."""
        if not (self.folder / "states").is_dir():
            return
        for run in runs:
            with contextlib.suppress(OSError):
                self._state_path(run).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.folder / "states").rmdir()

    def _state_path(self, run: Run) -> Path:
        return self.folder / "states" / f"{key(run.configuration())}.pt"

    def find(self, runs: Iterable[Run]) -> dict[Run, Record]:
        """Return the records of these runs that exist, also those from before a rule gained a field.

        Raises:
            ExperimentError: a file with the name of a run is not its record.
        """
        records = {run: self.read(run.configuration()) for run in runs}
        found = {run: record for run, record in records.items() if record is not None}
        return found | self._find_older([run for run in records if run not in found], found)

    def _find_older(self, missing: Sequence[Run], found: Mapping[Run, Record]) -> dict[Run, Record]:
        """Return the records that equal a run's configuration once `Run.defaults` are filled in."""
        wanted: dict[str, dict[str, Run]] = {}
        for run in missing:
            if defaults := run.defaults():
                wanted.setdefault(json.dumps(defaults), {})[key(run.configuration())] = run
        if not wanted:
            return {}
        known = {key(record["configuration"]) for record in found.values()}
        paths = [path for path in sorted((self.folder / "runs").glob("*.json")) if path.stem not in known]
        older: dict[Run, Record] = {}
        for record in filter(None, map(_read_if_whole, paths)):
            for plain, by_key in wanted.items():
                filled = _filled_in(record["configuration"], json.loads(plain))
                if matching := by_key.get(key(filled)):
                    older[matching] = record
        return older

    def every(self) -> tuple[list[Record], list[ExperimentError]]:
        """Return all records, in a fixed order, and the errors of the files that are none.

        Runs that failed are included, unless they succeeded since.

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


def _filled_in(configuration: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the fields that it lacks, one level deep, at their defaults."""
    filled = dict(configuration)
    for name, values in defaults.items():
        if isinstance(configuration.get(name), Mapping):
            filled[name] = {**values, **configuration[name]}
    return filled


def _read_if_whole(path: Path) -> Record | None:
    """Return a record, None where the file is not one; `Store.every` reports such files."""
    try:
        return _read(path)
    except ExperimentError:
        return None


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
    """Return why this is not a record of the configuration whose `key` is the name, None if it is."""
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
