"""Measurements in their order of importance, within a time limit, kept on disk as they come."""

from __future__ import annotations

import contextlib
import gc
import json
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adamas._tools.files import write_atomically

from ..pairs import UnavailableError
from ..progress import tell

__all__ = ["Place", "Session"]

# The part of a text that the JSON keeps.
_LONGEST = 2000


@dataclass(frozen=True)
class Place:
    """Where a suite measures, for how long, and what it writes.

    Attributes:
        device: "cuda" or "cpu".
        seconds: that it may take; what no longer fits is left out, and named.
        output: the JSON file that holds, at any time, all that was found so far; None for none.
    """

    device: str
    seconds: float = 480.0
    output: Path | None = None


class Session:
    """The sections of one measurement. What fails or no longer fits is kept as such, and loses nothing else.

    Attributes:
        found: all so far, as it is on disk.
    """

    def __init__(self, place: Place, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._start, self._seconds, self._output = now, now(), place.seconds, place.output
        self._lost: str | None = None
        self.found: dict[str, Any] = {"seconds allowed": place.seconds, "sections": {}, "log": []}

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self._seconds - (self._now() - self._start)

    def do(
        self,
        section: str,
        name: str,
        expected: float,
        run: Callable[[], dict[str, Any]],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Run one measurement of a section, unless it would take longer than is left; keep its row.

        Args:
            section, name: of the measurement.
            expected: the seconds that it is expected to take.
            run: returns the row.
            about: what the row holds however the measurement ends.
        """
        label = f"{section}: {name}"
        if self._lost is not None or expected > self.left:
            reason = self._lost or f"{expected:.0f} s expected, {max(self.left, 0):.0f} s left"
            row = {"name": name, "status": "skipped", "reason": reason, **(about or {})}
            self._keep(section, row, f"{label}: skipped")
            return
        tell(f"{label}; {self.left:.0f} s left")
        start = self._now()
        row = {"name": name, "status": "done", **(about or {})}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                row |= run()
            except UnavailableError as error:
                row |= {"status": "unavailable", "reason": str(error)}
            except torch.OutOfMemoryError as error:
                row |= {"status": "unavailable", "reason": f"out of memory: {error}".partition("\n")[0]}
            except Exception as error:
                row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:_LONGEST]}
                row["traceback"] = traceback.format_exc()[-_LONGEST:]
        if said:
            row["warnings"] = list(dict.fromkeys(str(w.message)[:_LONGEST] for w in said))
        self._free()
        row["took"] = self._now() - start
        self._keep(section, row, f"{label}: {row['status']}, {row['took']:.1f} s")

    def rows(self, section: str) -> list[dict[str, Any]]:
        """The rows of a section so far."""
        found: list[dict[str, Any]] = self.found["sections"].get(section, [])
        return found

    def save(self) -> None:
        """Write all that there is, or nothing where it is not to be kept."""
        self.found["seconds taken"] = self._now() - self._start
        if self._output is not None:
            write_atomically(self._output, (json.dumps(self.found, indent=1) + "\n").encode())

    def _keep(self, section: str, row: dict[str, Any], line: str) -> None:
        self.found["sections"].setdefault(section, []).append(row)
        self.found["log"].append(line)
        tell(line)
        self.save()

    def _free(self) -> None:
        """Give memory back for the next measurement, and see whether the device still answers."""
        gc.collect()
        if torch.cuda.is_available():
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except Exception as error:
                self._lost = f"the device does not answer any more: {error}".partition("\n")[0]
        with contextlib.suppress(Exception):
            torch.cuda.set_sync_debug_mode("default")
