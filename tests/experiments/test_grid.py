"""What killing, interrupting and failing do to a command, on a figure of twelve short runs.

The command is a process of its own, started with a folder that holds more figures. It says on standard
error when a run has ended: on that the tests wait, and on its end.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

FIGURE = """
from adamas.experiments.figures._curves import Claim, Comparison, Grid, Panel, TrainingCurves
from adamas.rules import SGD, Adam


def panel(gate: int) -> Panel:
    return Panel(
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


FIGURE = TrainingCurves("Tiny", {"demo": [panel(0), panel(1)]})
"""
# With a named pipe in GATE, runs of the second panel begin only when somebody writes to it.
PROBLEM = """
import os
from adamas.experiments.problems import images_softmax


def identity(data: str, gate: int) -> str:
    return images_softmax.identity(data)


def prepare(data: str, gate: int) -> None:
    images_softmax.prepare(data)


def build(seed: int, data: str, gate: int):
    if gate and "GATE" in os.environ:
        open(os.environ["GATE"]).close()
    if gate and "BROKEN" in os.environ:
        raise RuntimeError("on purpose")
    return images_softmax.build(seed, data)
"""
# Above the guard, for the processes of the pool too.
COMMAND = """
from pathlib import Path
from adamas.__main__ import main
from adamas.experiments import figures, problems

figures.__path__.append(str(Path(__file__).parent / "figures"))
problems.__path__.append(str(Path(__file__).parent / "problems"))
if __name__ == "__main__":
    main()
"""
RUNS, OPEN = 12, 6


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, with one more figure and one more problem."""
    folder = tmp_path_factory.mktemp("command")
    for name, content in {"figures/tiny": FIGURE, "problems/gated": PROBLEM, "command": COMMAND}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return [sys.executable, str(folder / "command.py")]


def start(command: list[str], results: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "reproduce", "tiny", "--jobs", "2", "--json", "--results", str(results)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def read_until(stream: IO[str] | None, text: str) -> None:
    assert stream is not None
    assert any(text in line for line in stream), f"the command ended without saying {text!r}"


def records(folder: Path) -> dict[str, Any]:
    """By name, what does not depend on the clock."""
    found = {path.name: json.loads(path.read_text()) for path in (folder / "runs").glob("*.json")}
    return {name: {**record, "seconds": None, "clock": None} for name, record in found.items()}


@pytest.fixture(scope="session")
def results(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a command that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(command, folder)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.startswith(f"{RUNS} runs to do, 0 already stored\n")
    assert f"[{RUNS}/{RUNS}]" in errors
    shown = json.loads(output)
    assert [Path(file).name for file in shown["files"]] == ["tiny-demo.png", "tiny-demo.svg"]
    assert all(Path(file).stat().st_size > 1000 for file in shown["files"])
    assert len(records(folder)) == RUNS
    return folder


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}


def test_what_is_stored_is_not_run_again(command: list[str], results: Path) -> None:
    before = written(results)
    process = start(command, results)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output)["failures"] == 0
    assert written(results) == before


@pytest.mark.parametrize("ending", ["killed", "interrupted from the terminal"])
def test_what_was_done_before_the_end_is_kept_and_the_rest_is_done_after(
    command: list[str], results: Path, tmp_path: Path, ending: str
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    process = start(command, tmp_path, GATE=str(gate))
    read_until(process.stderr, f"[{OPEN}/")
    if ending == "killed":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()  # which waits for all processes of the pool to end
    assert output == ""
    if ending != "killed":
        assert process.returncode == 130
        assert f"interrupted; what is done is in {tmp_path}: give the same command again" in errors
        assert "Traceback" not in errors
    kept = written(tmp_path)
    assert len(kept) == OPEN

    again = start(command, tmp_path)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert errors.startswith(f"{RUNS - len(kept)} runs to do, {len(kept)} already stored\n")
    assert kept.items() <= written(tmp_path).items()
    assert records(tmp_path) == records(results)


def test_a_run_that_raises_is_shown_and_the_rest_goes_on(
    command: list[str], results: Path, tmp_path: Path
) -> None:
    process = start(command, tmp_path, BROKEN="1")
    output, errors = process.communicate()
    assert process.returncode == 1
    for lr in (0.01, 0.1, 1):
        assert f"failed: Adam lr {lr:g} inverse_sqrt, gated (data digits, gate 1), seed 0" in errors
    assert errors.count("Traceback") >= RUNS - OPEN
    assert "RuntimeError: on purpose" in errors
    assert f"{RUNS - OPEN} runs or claims raised" in errors
    shown = json.loads(output)
    assert shown["failures"] == RUNS - OPEN
    assert [table["findings"][0]["verdict"] == "not measured" for table in shown["tables"]] == [False, True]
    done = records(tmp_path)
    assert len(done) == OPEN
    assert done.items() <= records(results).items()
