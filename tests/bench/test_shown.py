"""What `adamas bench` prints fits 80 columns, and says the machine; nothing is timed."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

from rich.console import Console
from typer.testing import CliRunner

from adamas._tools.machine import Load, LoadMeter
from adamas._tools.modules import load, names
from adamas.bench import demonstration, machine, measure, roofline, run
from adamas.bench.machine import described, load_facts
from adamas.bench.pairs import Bench
from adamas.bench.run import SUITES
from adamas.bench.shown import tables
from adamas.cli import app
from adamas.cli._table import show_table

ROW = {
    "workload": "rl-mlp",
    "parameters": 4866,
    "ours": "adamas",
    "theirs": "torch fused",
    "ours µs": 1234.5,
    "theirs µs": 2469.0,
    "ratio": 1.9876,
    "low": 1.9,
    "high": 2.1,
    "bytes": 28.0,
    "GB/s": 27.04,
    "of triad": None,
}


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def turns(calls: Any, rounds: int, turn_seconds: float = 1.0) -> dict[str, list[float]]:
        seconds = {"ours": 1.2345, "theirs": 1.2345, "triad": 0.001}
        return {name: [seconds[name]] * rounds for name in calls}

    monkeypatch.setattr(measure, "_TRIAD", 10)
    monkeypatch.setattr(measure, "interleave", turns)
    monkeypatch.setattr(machine, "interleave", turns)
    monkeypatch.setattr(load(SUITES, "cold"), "_first_step", lambda cache: 1.0)
    monkeypatch.setattr(LoadMeter, "read", lambda self: Load(0.25, 0.0))


def command(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", names(SUITES))
def test_the_output_of_every_suite_fits(name: str) -> None:
    """60, 80 and 120 columns; no word of a table is broken or cut."""
    done = Bench("", [], {}, [])

    def shown(columns: int) -> str:
        stub = SimpleNamespace(run=lambda *_: done, WORKLOADS=("rl-mlp",))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "load", lambda *_: stub)
            result = CliRunner().invoke(app, ["bench", name], env={"COLUMNS": str(columns)})
        assert result.exit_code == 0
        return result.stdout

    done = load(SUITES, name).run(["rl-mlp"], 3, False)
    words = set(shown(1000).split())
    for columns in (60, 80, 120):
        out = shown(columns)
        assert max(map(len, out.splitlines())) <= columns
        assert "…" not in out
        # A rule is as long as its table is wide.
        assert {word for word in out.split() if "─" not in word} <= words


def test_a_plot_that_cannot_be_drawn_leaves_the_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ("step", "--workload", "rl-mlp", "--rounds", "3", "--plot", str(tmp_path / "roof.svg"))
    code, out, err = command(*arguments)
    assert code == 1
    assert "torch fused" in out
    assert err.endswith(
        "cannot be drawn: nothing to plot: choose a suite and a workload with a share of the "
        "triad's bandwidth\n"
    )
    monkeypatch.setattr(roofline, "draw", lambda *_: 1 / 0)
    code, out, err = command(*arguments, "--json")
    assert (code, len(json.loads(out)["rows"])) == (1, 3)
    assert "ZeroDivisionError" in err
    assert list(tmp_path.iterdir()) == []


def test_a_plot_that_could_never_be_written_is_refused_before_the_measurement(tmp_path: Path) -> None:
    for name, message in (
        ("roof.xyz", "the name must end with one of ."),
        ("no/roof.svg", "there is no folder"),
    ):
        code, out, err = command("step", "--plot", str(tmp_path / name))
        assert (code, out) == (2, "")
        assert message in err


def test_the_demonstration_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"peak GB": 12.345, "limit GB": 13.579, "seconds": 123.4, "loss": 11.01, "after": 10.99}
    monkeypatch.setattr(demonstration, "_row", lambda label, *_: {"optimizer": label, **figures})
    monkeypatch.setattr(demonstration, "available_bytes", lambda: None)
    code, out, _ = command("memory", "--demo", "--size", "tiny")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "adamas, bfloat16, float8 state" in out
    assert "536,064 parameters" in out


def test_the_largest_size_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(
        demonstration, "run", lambda *size: asked.append(size) or Bench("t", [{"x": 1}], {}, [])
    )
    assert command("memory", "--demo")[0] == 0
    assert command("memory", "--demo", "--processes", "4")[0] == 0
    assert asked == [("xl", 1), ("xl", 4)]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["step", "--demo"], "adamas: the suite 'step' has no demonstration\n"),
        (["memory", "--size", "tiny"], "adamas: --size tiny is for --demo\n"),
        (["memory", "--processes", "4"], "adamas: --processes 4 is for --demo\n"),
        (["memory", "--demo", "--size", "huge"], "adamas: unknown size 'huge'; there are tiny,"),
        (["step", "--workload", "none"], "adamas: unknown workload 'none'; there are "),
        (["none"], "adamas: unknown suite 'none'; known: "),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], error: str) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(error)


def test_json_says_the_machine_and_whether_it_was_quiet() -> None:
    code, out, _ = command("step", "--workload", "rl-mlp", "--rounds", "3", "--json")
    facts = json.loads(out)["machine"]
    assert code == 0
    assert facts.keys() >= {"cpu", "architecture", "vector bits", "cores", "threads", "memory GiB"}
    assert (facts["quiet"], facts["cores of others"], facts["cores stolen"]) == (False, 0.25, 0.0)


def test_a_comparison_is_shown_with_three_digits() -> None:
    first, second = ROW, {**ROW, "workload": "other", "ours µs": 12.0, "of triad": 0.91234}
    shown = tables(Bench("title", [first, first, second], {}, []))
    row = {"ours": "adamas", "beside": "torch fused", "ratio": 1.99, "quartiles": "1.90-2.10"}
    assert shown == [
        ("rl-mlp, 4,866 parameters", [row | {"time": "1.23 ms", "GB/s": 27.0, "triad": None}] * 2),
        ("other, 4,866 parameters", [row | {"time": "12 µs", "GB/s": 27.0, "triad": 0.912}]),
    ]


def test_rows_of_another_form_are_shown_as_they_are() -> None:
    rows = [{"kernel cache": "empty", "seconds": 1.23456}]
    assert tables(Bench("title", rows, {}, [])) == [("", [{"kernel cache": "empty", "seconds": 1.23}])]


def test_the_widest_row_fits() -> None:
    wide = {"ours": "adamas bfloat16 state", "theirs": "torch fused + clip_grad_norm_ + EMA"}
    bench = Bench("t", [{**ROW, **wide, "ratio": 1234.0, "of triad": 0.9123, "ours µs": 123456.0}], {}, [])
    ((heading, rows),) = tables(bench)
    out = io.StringIO()
    show_table(Console(file=out, width=80), heading, rows)
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "…" not in out.getvalue()


FACTS = {
    "cpu": "Chip 9",
    "architecture": "nine",
    "vector bits": 512,
    "cores": 4,
    "threads": 3,
    "memory GiB": 15.96,
    "triad GB/s": 23.456,
    "python": "3.11",
    "torch": "2.13",
    "adamas": "0.1",
}


@pytest.mark.parametrize(
    ("load", "line"),
    [
        (Load(0.01, 0.0), "quiet: yes; others kept 0.01 cores busy, and the hypervisor took 0.00"),
        (
            Load(1.5, 0.25),
            "quiet: no, the figures may be off; others kept 1.50 cores busy, and the hypervisor took 0.25",
        ),
        (None, "quiet: unknown, this system does not say what other processes take"),
    ],
)
def test_the_machine_is_described(load: Load | None, line: str) -> None:
    first, quiet, versions = described({**FACTS, **load_facts(load)})
    assert first == "Chip 9 (nine), 512-bit vectors, cores: 4, threads: 3, memory: 16.0 GiB, triad: 23.5 GB/s"
    assert quiet == line
    assert versions == "python 3.11, torch 2.13, adamas 0.1"
    assert "memory: unknown" in described({**FACTS, "memory GiB": None})[0]
    assert described({}) == []
