"""One new file is enough for a command or a suite of benchmarks: it is added to a scratch copy, and used."""

import json

import pytest
from scratch_support import Scratch

pytest.importorskip("torch", reason="the suites time torch")


def test_a_bench_suite(scratch: Scratch) -> None:
    scratch.add(
        "bench/suites/newcomer.py",
        '''
        """A suite that measures nothing."""

        from ..pairs import Bench

        WORKLOADS = ("rl-mlp",)


        def run(workloads, rounds, peers):
            rows = [{"workload": name, "rounds": rounds} for name in workloads]
            return Bench("The new suite", rows, {}, [])
        ''',
    )
    shown = json.loads(scratch.adamas("bench", "newcomer", "--rounds", "7", "--json"))
    assert shown["title"] == "The new suite"
    assert shown["rows"] == [{"workload": "rl-mlp", "rounds": 7}]
    assert "newcomer" in scratch.adamas("bench", "--help")


def test_a_command(scratch: Scratch) -> None:
    scratch.add(
        "cli/newcomer.py",
        '''
        """`adamas newcomer`."""

        from ._app import Json, app


        @app.command()
        def newcomer(as_json: Json = False) -> None:
            """Say hello."""
            print('"hello"' if as_json else "hello")
        ''',
    )
    assert scratch.adamas("newcomer") == "hello\n"
    assert json.loads(scratch.adamas("newcomer", "--json")) == "hello"
    assert "Say hello." in scratch.adamas("--help")
