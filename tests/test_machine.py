"""What is said of the machine, from files and clocks that the tests write."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from adamas._tools import machine
from adamas._tools.machine import Load, LoadMeter, available_bytes, cpu_model, memory_bytes


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


def write(monkeypatch: pytest.MonkeyPatch, name: str, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setattr(machine, name, path)


def tool(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    """Let each program print a text; there are no others."""

    def run(command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        if command[0] not in answers:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, answers[command[0]], "")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.usefixtures("linux")
def test_the_cpu_is_named_as_its_maker_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool(monkeypatch, {})
    write(
        monkeypatch,
        "_CPUINFO",
        tmp_path / "cpuinfo",
        "processor\t: 0\nmodel name\t: Chip 9 @ 2 GHz\nmodel name\t: Other\n",
    )
    assert cpu_model() == "Chip 9 @ 2 GHz"


@pytest.mark.usefixtures("linux")
def test_lscpu_names_what_the_kernel_has_numbers_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(monkeypatch, "_CPUINFO", tmp_path / "cpuinfo", "processor : 0\nCPU part : 0xd0c\n")
    tool(monkeypatch, {"lscpu": "Vendor ID:  ARM\nModel name:  Neoverse-N1\n"})
    assert cpu_model() == "Neoverse-N1"
    tool(monkeypatch, {"lscpu": "Vendor ID:  ARM\nModel name:  -\n"})
    assert cpu_model() == "unknown"
    tool(monkeypatch, {})
    assert cpu_model() == "unknown"


def test_a_mac_asks_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    tool(monkeypatch, {"sysctl": "Apple M2\n"})
    assert cpu_model() == "Apple M2"


def test_memory_is_unknown_where_the_system_does_not_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False
    )
    assert memory_bytes() == 4096_000
    monkeypatch.delattr(os, "sysconf")
    assert memory_bytes() is None
    write(monkeypatch, "_MEMINFO", tmp_path / "meminfo", "MemTotal: 9 kB\nMemAvailable:   7 kB\n")
    assert available_bytes() == 7 * 1024
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "none")
    assert available_bytes() is None


class Clock:
    """Writes /proc/stat as it would be, and says what time it is and what this process has used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._path, self._monkeypatch = folder / "stat", monkeypatch
        monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
        monkeypatch.setattr(machine, "_STAT", self._path)
        self.set(0.0)

    def set(self, seconds: float, busy: float = 0.0, stolen: float = 0.0, own: float = 0.0) -> None:
        # half of it in the kernel's name; idle and waiting for a disk are not busy
        ticks = [50 * busy, 0, 50 * busy, 7777, 8888, 0, 0, 100 * stolen, 0, 0]
        self._path.write_text(f"cpu  {' '.join(str(round(x)) for x in ticks)}\ncpu0 1 1\n")
        self._monkeypatch.setattr(time, "monotonic", lambda: seconds)
        self._monkeypatch.setattr(os, "times", lambda: (own / 2, own / 4, own / 8, own / 8, 99.0))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    return Clock(monkeypatch, tmp_path)


def test_the_load_is_what_this_process_did_not_do(clock: Clock) -> None:
    clock.set(10.0, busy=5.0, stolen=1.0, own=2.0)
    meter = LoadMeter()
    clock.set(14.0, busy=14.0, stolen=3.0, own=9.0)
    assert meter.read() == Load(others=(9.0 - 7.0) / 4.0, stolen=0.5)


@pytest.mark.parametrize(
    ("others", "stolen", "quiet"),
    [(0.02, 0.0, True), (0.2, 0.0, False), (0.0, 0.2, False), (0.06, 0.06, False)],
)
def test_a_machine_is_quiet_where_a_tenth_of_a_cpu_is_not_missing(
    others: float, stolen: float, quiet: bool
) -> None:
    assert Load(others, stolen).quiet is quiet


def test_rounding_of_the_counters_is_no_negative_load(clock: Clock) -> None:
    meter = LoadMeter()
    clock.set(4.0, busy=3.99, own=4.0)
    assert meter.read() == Load(0.0, 0.0)


def test_the_load_is_unknown_where_it_cannot_be_told(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meter = LoadMeter()
    clock.set(0.1, busy=0.1)
    assert meter.read() is None  # too short for counters of hundredths
    clock.set(4.0, busy=1.0, own=4.0)
    assert meter.read() is None  # a container whose counters are not of these CPUs
    clock.set(4.0, busy=4.0)
    monkeypatch.setattr(machine, "_STAT", tmp_path / "none")
    assert meter.read() is None
    assert LoadMeter().read() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads the counters of Linux")
def test_this_machine_has_a_name_and_memory() -> None:
    assert cpu_model()
    assert 0 < available_bytes() <= memory_bytes()  # type: ignore[operator]
    assert json.dumps(machine._sample())
