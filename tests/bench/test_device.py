"""What the measurement of a GPU computes and keeps, without a GPU and without a clock."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

import torch
from torch import Tensor

import adamas.torch
from adamas import formats
from adamas.bench.accelerator import clock, loops, rivals, targets
from adamas.bench.accelerator.__main__ import main
from adamas.bench.accelerator.checks import (
    Case,
    Expected,
    checked,
    differences,
    every_case,
    first_cases,
    trained,
)
from adamas.bench.accelerator.clock import Events, HostClock, clock_of
from adamas.bench.accelerator.session import Place, Session
from adamas.bench.accelerator.steps import time_step
from adamas.bench.accelerator.variants import VARIANTS, varied
from adamas.bench.pairs import UnavailableError
from adamas.bench.run import run
from adamas.bench.suites import device


class FakeGpu:
    """A device that works through a queue while the host goes on: both clocks are numbers."""

    def __init__(self, kind: str = "cuda") -> None:
        self.device, self.host, self.done = torch.device(kind), 0.0, 0.0

    def give(self, host: float, work: float) -> None:
        """Take the host so long to queue so much work."""
        self.host += host
        self.done = max(self.done, self.host) + work

    def mark(self) -> float:
        return max(self.done, self.host)

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def wait(self) -> None:
        self.host = max(self.host, self.done)

    def now(self) -> float:
        return self.host


@pytest.mark.parametrize(("host", "work"), [(2e-3, 1e-4), (1e-5, 4e-3), (1e-4, 1e-4)])
def test_the_times_of_host_device_and_steps_in_a_row_are_told_apart(host: float, work: float) -> None:
    gpu = FakeGpu()
    found = time_step(gpu, lambda: gpu.give(host, work), lambda: gpu.give(1e-6, 5e-5), rounds=5)
    assert found["host"] == pytest.approx(host)
    assert found["device"] == pytest.approx(work)  # not the gap in which the host prepares it
    assert found["step"] == pytest.approx(max(host, work), rel=0.5)
    assert found["step"] >= max(host, work) * (1 - 1e-9)
    for name in ("host", "device", "step"):
        low, high = found[f"{name} quartiles"]
        assert low <= found[name] <= high


def test_caches_are_flushed_before_a_step_of_the_device() -> None:
    gpu, order = FakeGpu(), []
    time_step(gpu, lambda: order.append("step"), lambda: order.append("flush"), rounds=2)
    steps = [k for k, name in enumerate(order) if name == "step"][-2:]
    assert [order[k - 1] for k in steps] == ["flush", "flush"]


def test_events_are_timed_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            assert enable_timing
            self.recorded = False

        def record(self) -> None:
            self.recorded = True

        def elapsed_time(self, other: Any) -> float:
            assert self.recorded
            assert other.recorded
            return 1500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    events = Events(torch.device("cuda"))
    assert events.seconds(events.mark(), events.mark()) == 1.5


def test_a_device_that_is_not_here_is_refused() -> None:
    assert isinstance(clock_of("cpu"), HostClock)
    absent = "cuda" if not torch.cuda.is_available() else "cuda:99"
    with pytest.raises(ValueError, match=f"--device {absent} cannot be had here"):
        clock_of(absent)
    with pytest.raises(ValueError, match="must be cpu or cuda, got 'meta'"):
        clock_of("meta")


# The session.


def session(seconds: float = 100.0, output: Path | None = None) -> tuple[Session, list[float]]:
    time = [0.0]
    return Session(Place("cpu", seconds, output), lambda: time[0]), time


def test_what_fails_loses_nothing_else_and_is_kept_at_once(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    made, _ = session(output=output)

    def broken() -> dict[str, Any]:
        raise RuntimeError("an illegal address\nand more")

    def missing() -> dict[str, Any]:
        raise UnavailableError("pip install it")

    def full() -> dict[str, Any]:
        raise torch.OutOfMemoryError("too much")

    def warns() -> dict[str, Any]:
        warnings.warn("slow", adamas.torch.SlowPathWarning, stacklevel=2)
        return {"x": 1}

    for name, work in (("a", broken), ("b", missing), ("c", full), ("d", warns)):
        made.do("section", name, 1.0, work, {"about": name})
        assert json.loads(output.read_text())["sections"]["section"][-1]["name"] == name
    rows = json.loads(output.read_text())["sections"]["section"]
    assert [row["status"] for row in rows] == ["failed", "unavailable", "unavailable", "done"]
    assert rows[0]["reason"].startswith("RuntimeError: an illegal address")
    assert "broken" in rows[0]["traceback"]
    assert (rows[3]["x"], rows[3]["warnings"]) == (1, ["slow"])
    assert [row["about"] for row in rows] == list("abcd")
    assert rows == made.rows("section")
    assert list(tmp_path.iterdir()) == [output]


def test_what_no_longer_fits_is_skipped_by_name_and_shorter_work_is_not() -> None:
    made, time = session(seconds=10.0)
    called: list[str] = []

    def work(name: str) -> dict[str, Any]:
        called.append(name)
        time[0] += 6.0
        return {}

    made.do("s", "first", 6.0, lambda: work("first"))
    made.do("s", "long", 5.0, lambda: work("long"))
    made.do("s", "short", 3.0, lambda: work("short"))
    assert called == ["first", "short"]
    (skipped,) = [row for row in made.rows("s") if row["status"] == "skipped"]
    assert (skipped["name"], skipped["reason"]) == ("long", "5 s expected, 4 s left")


def test_nothing_runs_on_a_device_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = session()

    def synchronize() -> None:
        raise RuntimeError("an illegal memory access was encountered\nand more")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    made.do("s", "first", 1.0, dict)
    made.do("s", "second", 1.0, dict)
    assert [row["status"] for row in made.rows("s")] == ["done", "skipped"]
    assert "does not answer any more: an illegal memory access" in made.rows("s")[1]["reason"]


# The contenders.


@pytest.mark.parametrize("contender", rivals.mine("cpu"), ids=lambda contender: contender.name)
def test_bytes_are_those_that_a_step_reads_and_writes(contender: Any) -> None:
    optimizer = contender.make([(64, 256)]).__self__
    (p,) = optimizer.param_groups[0]["params"]
    state = sum(x.nbytes for x in optimizer.state[p].values() if x.dim())
    reads_of_g = 2 if optimizer.options.clip_norm is not None else 1
    moved = 2 * p.nbytes + reads_of_g * p.grad.nbytes + 2 * state
    assert contender.bytes == moved / p.numel()
    all16 = contender.name.startswith("adamas bfloat16") and contender.name != "adamas bfloat16 state"
    assert p.dtype == (torch.bfloat16 if all16 else torch.float32)


def test_every_contender_has_a_name_of_its_own_and_steps() -> None:
    found = rivals.mine("cpu") + rivals.others("cpu", peers=True)
    assert len({each.name for each in found}) == len(found)
    for contender in found:
        try:
            step = contender.make([(5, 3)])
        except UnavailableError:
            assert not contender.name.startswith(("adamas", "torch fused", "torch foreach"))
            continue
        step()
        assert (rivals.backend_of(step) == "numba") == contender.name.startswith("adamas")


def test_targets_are_of_contenders_that_there_are() -> None:
    known = {each.name for each in rivals.mine("cpu") + rivals.others("cpu", peers=True)}
    assert {name for ours, theirs, _ in targets._RATIOS for name in (ours, theirs)} <= known


def row(contender: str, step: float, workload: str = "large", **more: Any) -> dict[str, Any]:
    n, tensors = (200_000_000, 100) if workload == "large" else (44_000_000, 314)
    about = {"workload": workload, "contender": contender, "parameters": n, "tensors": tensors}
    return {"status": "done", **about, "step": step, "host": 1e-5, "of copy": 0.95, **more}


def test_targets_are_judged_by_ratios_shares_and_seconds() -> None:
    steps = [
        row("adamas float32", 1.0),
        row("torch fused float32", 1.1),
        row("adamas bfloat16", 0.6, host=1e-3),
        row("torch fused bfloat16", 0.5),
        {
            "workload": "large",
            "contender": "adamas float8 state",
            "parameters": 200_000_000,
            "status": "failed",
        },
        row("adamas float32", 1.0, "resnet101", **{"of copy": None}),
        row("torch fused float32", 1.9, "resnet101"),
    ]
    found = {each["target"]: each for each in targets.judge(steps, [{"relative": 0.0, "live": False}])}
    met = {name: each["met"] for name, each in found.items()}
    assert met == {
        "large: adamas float32, of the copy": True,
        "large: adamas float32 over torch fused float32": True,
        "large: adamas bfloat16 over torch fused float32": True,
        "large: adamas bfloat16 over torch fused bfloat16": False,
        "large: adamas float8 state over torch fused float32": None,
        "large: adamas float8 state over bitsandbytes 8-bit": None,
        "large: adamas float32, host seconds": True,
        "large: adamas bfloat16, host seconds": False,
        "resnet101: adamas float32 over torch fused float32": False,
        "resnet101: adamas float32, host seconds": True,
        "graph beside none, relative": True,
        "graph sees its schedule": False,
    }
    assert found["large: adamas float32 over torch fused float32"]["measured"] == pytest.approx(1.1)
    assert found["large: adamas bfloat16, host seconds"]["wanted"] == "at most 8e-05"


# The checks.


def test_every_optimizer_dtype_and_format_is_checked_once() -> None:
    cases = first_cases() + every_case()
    assert len(set(cases)) == len(cases)
    classes = {
        name
        for name in adamas.torch.__all__
        if isinstance(cls := getattr(adamas.torch, name), type) and issubclass(cls, torch.optim.Optimizer)
    }
    assert {case.optimizer for case in cases} == classes - {"Optimizer"}
    # Where time runs out, it is not the last optimizers that are left out: those with sums are among all.
    assert {case.optimizer for case in every_case()[: len(classes) - 1]} == classes - {"Optimizer"}
    assert {case.state_format for case in cases if case.optimizer == "Adam"} >= set(formats.names()) - {
        "float16",
        "float64",
    }


@pytest.mark.parametrize("case", [Case("AdamW"), Case("AdamW", state_format="float8")], ids=lambda c: c.name)
def test_the_same_steps_are_the_same_and_others_are_not(case: Case) -> None:
    with Expected([case], 0) as expected:
        found = checked(case, "cpu", expected)
        assert (found["backend"], found["ulps"], found["relative"]) == ("numba", 0, 0.0)
        assert found["codes"] == (None if case.state_format is None else 1.0)
        stored, _ = trained(case, "cpu")
        stored["0.p"] = stored["0.p"] * 1.01
        assert differences(stored, expected.of(case))["relative"] == pytest.approx(0.01, rel=1e-3)


def one(x: Tensor) -> dict[str, Tensor]:
    return {"0.p": x}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_units_in_the_last_place_are_counted(dtype: torch.dtype) -> None:
    x = torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=dtype)
    up = torch.nextafter(x, torch.full_like(x, 10)) if dtype != torch.float16 else x * (1 + 2**-10)
    assert differences(one(x), one(x))["ulps"] == 0
    assert 1 <= differences(one(up), one(x))["ulps"] <= 2
    assert differences(one(-torch.zeros(1, dtype=dtype)), one(torch.zeros(1, dtype=dtype)))["ulps"] == 0
    nan = torch.full_like(x, torch.nan)
    assert differences(one(nan), one(x))["ulps"] > 1e4
    assert differences(one(nan), one(nan))["ulps"] == 0


def test_codes_are_compared_by_their_share_and_other_state_is_an_error() -> None:
    codes = torch.arange(4, dtype=torch.uint8)
    assert differences({"0.m": codes}, {"0.m": codes.clamp(max=2)})["codes"] == 0.75
    with pytest.raises(ValueError, match="other state"):
        differences({"0.m": codes}, {"0.v": codes})
    with pytest.raises(ValueError, match=r"0\.m: torch.uint8"):
        differences({"0.m": codes}, {"0.m": codes.float()})


@pytest.mark.slow
def test_the_cpus_results_come_from_processes() -> None:
    case = Case("AdamW")
    with Expected([case], 1) as expected:
        assert checked(case, "cpu", expected)["ulps"] == 0


# The loops.


def test_a_graphed_loop_is_the_loop_and_sees_its_schedule() -> None:
    found = loops.graphed(FakeGpu("cpu"), 5)
    assert (found["relative"], found["live"]) == (0.0, True)
    assert {"adamas", "adamas in a graph", "torch", "torch in a graph"} <= found.keys()


def test_a_graph_that_computes_something_else_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_captured", lambda clock, iteration: lambda: None)
    found = loops.graphed(FakeGpu("cpu"), 5)
    assert found["relative"] > 1e-4
    assert not found["live"]


@pytest.mark.parametrize("name", loops.OPTIONS)
def test_steps_that_must_not_wait_step(name: str) -> None:
    assert loops.without_waiting(FakeGpu("cpu"), loops.OPTIONS[name]) == {"finite": True}


# Other launch parameters.


@pytest.mark.parametrize("name", VARIANTS)
def test_launch_parameters_are_those_of_the_backend_and_come_back(name: str) -> None:
    triton = pytest.importorskip("adamas.backends.triton")
    before = dict(vars(triton))
    with varied(VARIANTS[name]):
        for key, value in VARIANTS[name].items():
            assert getattr(triton, key) is value
    assert dict(vars(triton)) == before


def test_a_launch_parameter_that_there_is_not_is_named() -> None:
    pytest.importorskip("adamas.backends.triton")
    with pytest.raises(UnavailableError, match="have no WARP"), varied({"WARP": 1}):
        pass


# The whole of it.


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a microsecond whenever it is read."""

    class Ticking(FakeGpu):
        def mark(self) -> float:
            self.host += 1e-6
            return self.host

        now = mark

    monkeypatch.setattr(device, "clock_of", lambda name: Ticking("cpu"))
    monkeypatch.setattr(device, "copy_bandwidth", lambda clock: 1e9)


@pytest.mark.usefixtures("no_time")
def test_the_measurement_is_one_json_of_all_sections(tmp_path: Path) -> None:
    output = tmp_path / "device.json"
    done = run("device", ["rl-mlp"], 3, False, Place("cpu", 480.0, output))
    found = json.loads(output.read_text())
    assert done.more == {**found, "seconds taken": done.more["seconds taken"]}
    assert set(found["sections"]) == {"checks", "copy", "steps", "no waiting", "loops"}
    statuses = {row["name"]: row["status"] for rows in found["sections"].values() for row in rows}
    assert set(statuses.values()) == {"done"}
    assert {row["contender"] for row in found["sections"]["steps"]} >= {
        each.name for each in rivals.mine("cpu") + rivals.others("cpu", peers=False)
    }
    assert found["targets"]
    assert {each["optimizer"] for each in done.rows} == {
        row["contender"] for row in found["sections"]["steps"]
    }
    assert json.loads(json.dumps(done.plain()))["machine"]["device"] == "cpu"


@pytest.mark.usefixtures("no_time")
def test_without_time_everything_is_skipped_by_name(tmp_path: Path) -> None:
    output = tmp_path / "device.json"
    done = run("device", ["rl-mlp"], 3, True, Place("cpu", 0.5, output))
    sections = json.loads(output.read_text())["sections"]
    assert {row["status"] for rows in sections.values() for row in rows} == {"skipped"}
    assert len(done.notes) >= sum(map(len, sections.values()))


@pytest.mark.usefixtures("no_time")
def test_launch_parameters_are_tried_on_the_same_contenders() -> None:
    pytest.importorskip("adamas.backends.triton")
    made, _ = session()
    device._Run(made, device.clock_of("cpu"), 3, False).variants("rl-mlp")
    rows = made.rows("variants")
    assert {row["status"] for row in rows} == {"done"}
    assert len(rows) == len(VARIANTS) * len(device._VARIED)


def test_a_suite_of_the_cpu_takes_no_device() -> None:
    with pytest.raises(ValueError, match="--device cuda is not for the suite 'step'"):
        run("step", None, 3, False, Place("cuda"))


def test_the_facts_name_what_is_installed_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = clock.facts(HostClock(torch.device("cpu")))
    assert found["torch"]
    assert found["device"] == "cpu"
    about = {"name": "A GPU", "major": 9, "minor": 0, "multi_processor_count": 132}
    about |= {"total_memory": 80 << 30, "L2_cache_size": 50_000_000}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**about))
    found = clock.facts(Events(torch.device("cuda")))
    assert (found["name"], found["capability"], found["GiB"], found["L2 MB"]) == ("A GPU", "9.0", 80, 50)


@pytest.mark.usefixtures("no_time")
def test_it_runs_without_the_packages_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("typer", "rich"):
        monkeypatch.setitem(sys.modules, package, None)
    output = tmp_path / "device.json"
    main(["--device", "cpu", "--workload", "rl-mlp", "--rounds", "3", "--output", str(output)])
    out, err = capsys.readouterr()
    assert "rl-mlp  adamas float32  " in out
    assert "steps: rl-mlp: adamas float32: done" in err
    judged = json.loads(output.read_text())["targets"]
    assert all(f"{each['target']}  {each['wanted']}" in out for each in judged)
