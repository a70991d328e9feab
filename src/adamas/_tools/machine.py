"""The machine: the name of its CPU, its memory, and how many of its CPUs other processes keep busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "LoadMeter", "available_bytes", "cpu_model", "memory_bytes"]

_CPUINFO, _MEMINFO, _STAT = (Path("/proc") / name for name in ("cpuinfo", "meminfo", "stat"))
# Less than this many CPUs busy beside the measurement: what daemons take on an idle machine.
_QUIET = 0.1
# The kernel counts in hundredths of a second, so a short span says nothing.
_SHORTEST = 0.5


def cpu_model() -> str:
    """The CPU's name as its maker writes it; "unknown" where the system does not say."""
    if sys.platform == "win32":
        return _from_registry() or "unknown"
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or "unknown"
    # Linux on ARM has numbers in place of a name; lscpu knows what they mean.
    return _field(_text(_CPUINFO), "model name") or _field(_output("lscpu"), "Model name") or "unknown"


def _from_registry() -> str | None:
    if sys.platform == "win32":
        import winreg

        path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        except OSError:
            pass
    return None


def _output(*command: str) -> str:
    try:
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str | None:
    """The value of the first line "name: value"; None where there is none, or it is empty or "-"."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip() if value.strip(" \t-") else None
    return None


def memory_bytes() -> int | None:
    """The bytes of physical memory; None where the system does not say."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return pages * size if pages > 0 and size > 0 else None


def available_bytes() -> int | None:
    """The bytes that a new process can have without swapping; None where the system does not say."""
    value = _field(_text(_MEMINFO), "MemAvailable")
    return int(value.split()[0]) * 1024 if value else None


@dataclass(frozen=True)
class Load:
    """What went on beside this process, in CPUs.

    Attributes:
        others: CPUs that other processes kept busy, on average.
        stolen: CPUs that the hypervisor gave to other machines.
    """

    others: float
    stolen: float

    @property
    def quiet(self) -> bool:
        """Whether that is too little to show in a measurement."""
        return self.others + self.stolen < _QUIET


class LoadMeter:
    """Counts CPU time from its construction on: that of the machine, less that of this process."""

    def __init__(self) -> None:
        self._start = _sample()

    def read(self) -> Load | None:
        """The load since then; None where the system does not say, or too little time has passed."""
        end = _sample()
        if self._start is None or end is None:
            return None
        elapsed, busy, stolen, own = (b - a for a, b in zip(self._start, end, strict=True))
        # A machine that worked less than this process did counts for another set of processes.
        if elapsed < _SHORTEST or own - busy > 0.1 * elapsed:
            return None
        return Load(max(busy - own, 0.0) / elapsed, stolen / elapsed)


def _sample() -> tuple[float, float, float, float] | None:
    """Seconds so far: of the clock, of all busy CPUs, of stolen CPUs, of this process and its children."""
    fields = _text(_STAT).partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    user, nice, system, _, _, interrupts, soft, stolen = (
        int(field) / os.sysconf("SC_CLK_TCK") for field in fields[1:9]
    )
    own = sum(os.times()[:4])
    return time.monotonic(), user + nice + system + interrupts + soft, stolen, own
