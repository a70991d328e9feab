"""The Ray engine, on a cluster that runs already and on those that the command starts."""

import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from grid_support import OPEN, RUNS, Pipes, environment, read_until, records, start, written

pytest.importorskip("ray")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipes]:
    with Pipes(tmp_path_factory.mktemp("pipes")) as pipes:
        yield pipes


@pytest.fixture(scope="module")
def address(command: list[str], pipes: Pipes) -> Iterator[str]:
    """Of a cluster whose runs wait for the pipes."""
    ray = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--port=0",
        "--num-cpus=2",
    ]
    cluster = subprocess.Popen(
        [*ray, "--include-dashboard=false", "--object-store-memory=100000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(command, **pipes.names, **TOKEN, RAY_USAGE_STATS_ENABLED="0"),
    )
    assert cluster.stdout is not None
    found = next(filter(None, (re.search(r"--address='(.+)'", line) for line in cluster.stdout)))
    yield found[1]
    cluster.terminate()
    cluster.communicate()


def test_on_a_cluster_what_was_done_before_the_kill_is_kept_and_the_rest_is_done_after(
    command: list[str], results: Path, tmp_path: Path, pipes: Pipes, address: str
) -> None:
    options = ("--engine", "ray", "--address", address)
    process = start(command, tmp_path, *options, **TOKEN)
    read_until(process.stderr, f"[{OPEN}/")
    process.kill()
    process.communicate()
    kept = written(tmp_path)
    assert len(kept) == OPEN

    with pipes.opened():
        again = start(command, tmp_path, *options, **TOKEN)
        _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert errors.startswith(f"{RUNS - OPEN} runs to do, {OPEN} already stored\n")
    assert kept.items() <= written(tmp_path).items()
    assert records(tmp_path) == records(results)


def test_without_a_cluster_one_is_started_and_survives_a_killed_worker_and_ends_with_the_command(
    command: list[str], results: Path, tmp_path: Path
) -> None:
    with Pipes(tmp_path) as pipes:
        process = start(command, tmp_path, "--engine", "ray", **pipes.names)
        first, second = pipes.waiting(), pipes.waiting()
        worker = os.pidfd_open(second)
        os.kill(first, signal.SIGKILL)
        read_until(process.stderr, "its process was killed, it will be tried again: ")
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate()
    assert (process.returncode, output) == (130, "")
    assert f"interrupted; what is done is in {tmp_path}: give the same command again" in errors
    assert "Traceback" not in errors
    assert select.select([worker], [], [], 60)[0], "a worker goes on without the command"
    os.close(worker)

    kept = written(tmp_path)
    assert len(kept) == OPEN
    again = start(command, tmp_path, "--engine", "ray")
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert kept.items() <= written(tmp_path).items()
    assert records(tmp_path) == records(results)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{closed}", "Connection refused"),
        ("nonsense", "expected auto or host:port"),
    ],
)
def test_an_address_without_a_cluster_is_named(
    command: list[str], tmp_path: Path, address: str, reason: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        address = address.format(closed=taken.getsockname()[1])
        process = start(command, tmp_path, "--engine", "ray", "--address", address)
        output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert errors.startswith(f"adamas: no Ray cluster at {address!r}: ")
    assert reason in errors
    assert errors.count("\n") == 1
