"""A command with a figure of twelve short runs, six of which wait for a named pipe.

The command is a process of its own. It says on standard error when a run has ended: on that tests wait, and
on its end.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

FIGURE = """
from adamas.experiments.figures import Figure
from adamas.experiments.figures._compare import Claim, Comparison
from adamas.experiments.figures._training import Grid, TrainingPanel
from gate import SGD, Adam


def panel(gate: int) -> TrainingPanel:
    return TrainingPanel(
        title="tiny",
        note="digits",
        cost="cost",
        problem="gated",
        options={"data": "digits", "gate": gate},
        l2=1e-4,
        batch=128,
        epochs=2,
        seeds=[0],
        grids={
            "Adam": Grid([Adam(lr=lr) for lr in (0.01, 0.1, 1.0)]),
            "SGD Nesterov": Grid([SGD(lr=lr, momentum=0.9, nesterov=True) for lr in (0.01, 0.1, 1.0)]),
        },
        claims=[Claim("Adam is no slower", "here", [Comparison("Adam", "SGD Nesterov", 0, 1)])],
    )


FIGURE = Figure("Tiny", {"demo": [panel(0), panel(1)]})
"""
# With named pipes in GATE and READY, runs of the second panel tell READY their process and begin when
# somebody holds GATE open.
PROBLEM = """
import os
from adamas.experiments.problems import images_softmax


def identity(data: str, gate: int) -> str:
    return images_softmax.identity(data)


def prepare(data: str, gate: int) -> None:
    images_softmax.prepare(data)


def build(seed: int, data: str, gate: int):
    if gate and "GATE" in os.environ:
        with open(os.environ["READY"], "w") as ready:
            ready.write(f"{os.getpid()}\\n")
        open(os.environ["GATE"]).close()
    if gate and "BROKEN" in os.environ:
        raise RuntimeError("on purpose")
    return images_softmax.build(seed, data)
"""
# The rules are where the figure is found, and the problem: whoever unpickles a run imports them.
GATE = """
from dataclasses import dataclass
from pathlib import Path
from adamas import rules
from adamas.experiments import figures, problems

figures.__path__.append(str(Path(__file__).parent / "figures"))
problems.__path__.append(str(Path(__file__).parent / "problems"))


@dataclass(frozen=True)
class Adam(rules.Adam):
    pass


@dataclass(frozen=True)
class SGD(rules.SGD):
    pass
"""
COMMAND = """
import gate
from adamas.__main__ import main

if __name__ == "__main__":
    main()
"""
FILES = {"figures/tiny": FIGURE, "problems/gated": PROBLEM, "gate": GATE, "command": COMMAND}
RUNS, OPEN = 12, 6


def make(folder: Path) -> list[str]:
    """The command, in this folder."""
    for name, content in FILES.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return [sys.executable, str(folder / "command.py")]


def environment(command: list[str], **more: str) -> dict[str, str]:
    """Of the command, and of the processes of a cluster that is to take its runs."""
    path = os.pathsep.join([str(Path(command[1]).parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **more}


def start(
    command: list[str], results: Path, *options: str, jobs: int = 2, **more: str
) -> subprocess.Popen[str]:
    """Starts it, in a session of its own; each job's process takes seconds to begin."""
    return subprocess.Popen(
        [*command, "reproduce", "tiny", *options, "--jobs", str(jobs), "--json", "--results", str(results)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(command, **more),
        start_new_session=True,
    )


class Pipes:
    """The named pipes, open at this end, so that no process at the other waits for this one to open them."""

    def __init__(self, folder: Path) -> None:
        self.names = {name: str(folder / name.lower()) for name in ("GATE", "READY")}
        for name in self.names.values():
            os.mkfifo(name)
        self.ready = os.fdopen(os.open(self.names["READY"], os.O_RDWR))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ready.close()

    def waiting(self) -> int:
        """Waits for a run to wait; returns its process."""
        return int(self.ready.readline())

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Lets all runs go, meanwhile."""
        gate = os.open(self.names["GATE"], os.O_RDWR)
        yield
        os.close(gate)


def read_until(stream: IO[str] | None, text: str) -> None:
    """Waits for the command to say this."""
    assert stream is not None
    assert any(text in line for line in stream), f"the command ended without saying {text!r}"


def records(folder: Path) -> dict[str, Any]:
    """By name, what does not depend on the clock."""
    found = {path.name: json.loads(path.read_text()) for path in (folder / "runs").glob("*.json")}
    return {name: {**record, "seconds": None, "clock": None} for name, record in found.items()}


def written(folder: Path) -> dict[Path, int]:
    """When each record was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}
