"""Launchers, one a file: each updates the parameters it supports, and is found by being in this folder.

A module of this package has a class `LAUNCHER`. Which one takes a parameter is asked of each in turn
(`choose`), the fastest first; no launcher is named anywhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..._tools import modules
from ._protocol import (
    IDLE,
    DeviceLauncher,
    Launcher,
    MeasuringLauncher,
    Member,
    ParamState,
    Prepared,
    Request,
    StepScalars,
)

__all__ = [
    "AUTO",
    "IDLE",
    "DeviceLauncher",
    "Launcher",
    "MeasuringLauncher",
    "Member",
    "ParamState",
    "Prepared",
    "Request",
    "StepScalars",
    "all_launchers",
    "choose",
    "names",
    "why_slow",
]

# The value of `backend` that leaves the choice to `choose`.
AUTO = "auto"


def names() -> list[str]:
    """What `backend` may be, beside `AUTO`: the names of the launchers there are, the fastest first."""
    return [launcher.name for launcher in all_launchers() if not launcher.row_wise]


@functools.cache
def all_launchers() -> list[type[Launcher]]:
    """The launchers there are, the fastest first."""
    found = [modules.load(__name__, name).LAUNCHER for name in modules.names(__name__)]
    return sorted(found, key=lambda launcher: launcher.rank)


def choose(member: Member, request: Request) -> tuple[type[Launcher], list[str]]:
    """The launcher for a parameter, and why those before it would not take it.

    Raises:
        ValueError: a launcher, or a format of state, is asked for by name and cannot be had for it.
    """
    asked = request.groups.options.backend
    reasons: list[str] = []
    for launcher in all_launchers():
        if launcher.row_wise not in (None, member.row_wise) or asked not in (AUTO, launcher.name):
            continue
        reason = launcher.unsupported(member, request)
        if reason is None:
            return launcher, reasons
        reasons.append(reason)
    chosen = request.groups.options.state_format
    wanted = f"backend={asked!r}" if asked != AUTO else f"state_format={chosen!r}"
    if asked == AUTO and chosen is None:
        wanted = "a step with a sparse gradient" if member.row_wise else type(request.rule).__name__
    why = "; ".join(dict.fromkeys(reasons)) or "its steps are by rows; leave out backend"
    raise ValueError(f"{wanted} cannot update a parameter of shape {tuple(member.p.shape)}: {why}")


def why_slow(launcher: type[Launcher], reasons: Sequence[str], member: Member) -> str | None:
    """Why no kernel takes a parameter, from the reasons of `choose`; None where one does.

    On the CPU the kernels' own reason is the first; elsewhere that is the device, and what else is missing
    comes after it.
    """
    if launcher.in_place_of_kernel is None or not reasons:
        return None
    on_cpu = member.local.device.type == "cpu"
    return reasons[0] if on_cpu else "; ".join(dict.fromkeys(reasons))
