"""What the benchmarks compute and refuse; not how fast anything is."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

import torch

from adamas._tools.modules import load, names
from adamas.bench import pairs
from adamas.bench.measure import interleave, ratio
from adamas.bench.pairs import Bench, Contender, Pair, check_workloads, compare
from adamas.bench.roofline import draw
from adamas.bench.workloads import WORKLOADS

SUITES = "adamas.bench.suites"


def nothing(shapes):
    return lambda: None


@pytest.fixture
def fast_triad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_TRIAD", 1000)


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [
        ("rl-mlp", 6, 4_866),
        ("many-small", 1000, 100_000),
        ("mnist-mlp", 6, 1_796_010),
        ("resnet18", 62, 11_689_512),
        ("one-81m", 1, 81_000_000),
        ("gpt2-small", 148, 124_439_808),
    ],
)
def test_workloads_have_the_models_parameters(name: str, tensors: int, parameters: int) -> None:
    shapes = WORKLOADS[name]()
    assert len(shapes) == tensors
    assert sum(torch.Size(shape).numel() for shape in shapes) == parameters


def test_every_contender_has_its_turns() -> None:
    called: list[str] = []
    contenders = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = interleave(contenders, rounds=4)
    assert {name: len(turns) for name, turns in seconds.items()} == dict.fromkeys("abc", 4)
    assert set(called) == set("abc")


def test_a_ratio_is_the_median_over_neighbouring_turns() -> None:
    # a machine twice as slow in every second turn changes both times, and no ratio
    measured = ratio([3.0, 6.0, 3.0, 6.0], [1.0, 2.0, 1.0, 2.0])
    assert (measured.low, measured.median, measured.high) == (3.0, 3.0, 3.0)
    assert not measured.noisy
    assert ratio([1.0, 5.0, 1.0, 5.0], [1.0, 1.0, 1.0, 1.0]).noisy


@pytest.mark.usefixtures("fast_triad")
def test_a_pair_becomes_a_row() -> None:
    pair = Pair("rl-mlp", Contender("mine", nothing, bytes=28.0), Contender("theirs", nothing))
    done = compare("title", [pair], rounds=3)
    (row,) = done.rows
    assert (row["ours"], row["theirs"], row["parameters"]) == ("mine", "theirs", 4_866)
    assert row["GB/s"] > 0
    assert row["of triad"] is None  # it fits a cache
    assert done.plain()["machine"]["threads"] == torch.get_num_threads()


@pytest.mark.usefixtures("fast_triad")
@pytest.mark.parametrize("name", [name for name in names(SUITES) if name != "cold"])
def test_every_suite_runs_at_its_smallest(name: str) -> None:
    suite = load(SUITES, name)
    check_workloads(suite.WORKLOADS)
    done = suite.run(["rl-mlp"], 3, False)
    assert done.rows
    assert all(row["workload"] == "rl-mlp" for row in done.rows)


def test_unknown_workloads_are_listed() -> None:
    with pytest.raises(ValueError, match=r"unknown workload 'none'; there are rl-mlp, many-small"):
        check_workloads(["none"])


def test_a_loop_is_refused_for_what_is_no_perceptron() -> None:
    with pytest.raises(ValueError, match=r"a training loop is there for .*, not for .resnet18"):
        load(SUITES, "loop").run(["resnet18"], 3, False)


ROW = {"ours": "mine", "ours µs": 10.0, "parameters": 1000, "bytes": 28.0, "GB/s": 27.0, "of triad": 0.9}


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    bench = Bench("title", [ROW], {"triad GB/s": 30.0}, [])
    draw(bench, tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")


def test_no_roofline_without_bandwidth(tmp_path: Path) -> None:
    bench = Bench("title", [ROW | {"of triad": None}], {"triad GB/s": 30.0}, [])
    with pytest.raises(ValueError, match="nothing to plot"):
        draw(bench, tmp_path / "roof.png")
    assert list(tmp_path.iterdir()) == []
