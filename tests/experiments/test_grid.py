"""What killing, interrupting and failing do to a command, with the processes of this machine."""

import json
import os
import signal
from pathlib import Path

import pytest
from grid_support import OPEN, RUNS, Pipes, read_until, records, start, written


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
    with Pipes(tmp_path) as pipes:
        process = start(command, tmp_path, **pipes.names)
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

    again = start(command, tmp_path, jobs=1)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert errors.startswith(f"{RUNS - len(kept)} runs to do, {len(kept)} already stored\n")
    assert kept.items() <= written(tmp_path).items()
    assert records(tmp_path) == records(results)


def test_a_process_that_is_killed_loses_its_run_alone_which_is_tried_again(
    command: list[str], results: Path, tmp_path: Path
) -> None:
    with Pipes(tmp_path) as pipes:
        process = start(command, tmp_path, **pipes.names)
        os.kill(pipes.waiting(), signal.SIGKILL)
        read_until(process.stderr, "its process was killed, it will be tried again: ")
        with pipes.opened():
            _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "killed" not in errors
    assert records(tmp_path) == records(results)


def test_a_run_that_raises_is_shown_and_kept_and_the_rest_goes_on(
    command: list[str], results: Path, tmp_path: Path
) -> None:
    process = start(command, tmp_path, jobs=1, BROKEN="1")
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
    failures = [json.loads(path.read_text()) for path in (tmp_path / "failures").iterdir()]
    assert len(failures) == RUNS - OPEN
    for failure in failures:
        assert failure.keys() == {"schema", "configuration", "versions", "status", "traceback"}
        assert failure["status"] == "failed"
        assert failure["traceback"].endswith("RuntimeError: on purpose\n")

    again = start(command, tmp_path, jobs=1)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert errors.startswith(f"{RUNS - OPEN} runs to do, {OPEN} already stored\n")
    assert records(tmp_path) == records(results)
    assert list((tmp_path / "failures").iterdir()) == []
