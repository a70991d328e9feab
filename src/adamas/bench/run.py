"""A suite from its name to its figures, and whether the machine was quiet meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from adamas._tools.machine import LoadMeter
from adamas._tools.modules import load

from .accelerator.session import Place
from .machine import load_facts
from .pairs import Bench, check_workloads

__all__ = ["SUITES", "demonstrate", "run"]

SUITES = "adamas.bench.suites"


def run(
    suite: str, workloads: Sequence[str] | None, rounds: int, peers: bool, place: Place | None = None
) -> Bench:
    """Measure a suite on these workloads, or its own, at a place if it can be had at several.

    Raises:
        ValueError: there is no such suite or workload, or the suite takes no device.
    """
    chosen = load(SUITES, suite)
    if place is not None:
        if not hasattr(chosen, "run_on"):
            raise ValueError(
                f"--device {place.device} is not for the suite {suite!r}, which measures the CPU"
            )
        check_workloads(list(workloads or ()))
        return _watched(lambda: chosen.run_on(place, workloads, rounds, peers))
    names = list(workloads or chosen.WORKLOADS)
    check_workloads(names)
    return _watched(lambda: chosen.run(names, rounds, peers))


def demonstrate(suite: str, size: str | None, processes: int = 1) -> Bench:
    """Run a suite's demonstration, in its largest size unless told otherwise.

    Raises:
        ValueError: there is no such suite, or it has no demonstration, or none of that size.
    """
    chosen = load(SUITES, suite)
    if not hasattr(chosen, "demo"):
        raise ValueError(f"the suite {suite!r} has no demonstration")
    return _watched(lambda: chosen.demo(size or chosen.SIZES[-1], processes))


def _watched(measure: Callable[[], Bench]) -> Bench:
    meter = LoadMeter()
    done = measure()
    return replace(done, machine={**done.machine, **load_facts(meter.read())})
