"""The memory demonstration in its smallest size, and that its limit limits."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the demonstration trains a torch model")

import torch

from adamas import formats
from adamas.bench import demonstration, machine, measure, one_step
from adamas.bench.gpt2 import GPT2, step_loss
from adamas.bench.one_step import OneStep
from adamas.bench.workloads import WORKLOADS, gpt2

TINY = OneStep(demonstration.SIZES["tiny"], 15, "float8", 1_500_000_000)


def in_process(step: OneStep) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adamas.bench.one_step", json.dumps(asdict(step))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("size", "parameters", "heads"),
    [
        ("small", 124_439_808, 12),
        ("medium", 354_823_168, 16),
        ("large", 774_030_080, 20),
        ("xl", 1_557_611_200, 25),
    ],
)
def test_the_sizes_are_those_of_gpt2(size: str, parameters: int, heads: int) -> None:
    shapes = gpt2(*demonstration.SIZES[size])
    assert sum(torch.Size(shape).numel() for shape in shapes) == parameters
    with torch.device("meta"):
        model = GPT2(shapes)
    assert [tuple(p.shape) for p in model.parameters()] == shapes
    assert demonstration.SIZES[size][1] == 64 * heads


def test_the_model_has_the_shapes_of_the_workload_and_sees_no_later_token() -> None:
    shapes = WORKLOADS["gpt2-mini"]()
    model = GPT2(shapes)
    assert [tuple(p.shape) for p in model.parameters()] == list(shapes)
    codes = torch.arange(8)[None]
    changed = codes.clone()
    changed[0, 5] = 9
    before, after = model(codes), model(changed)
    torch.testing.assert_close(after[:, :5], before[:, :5])
    assert not torch.allclose(after[:, 5:], before[:, 5:])
    # with weights that are nearly nothing every token is as likely as any other
    loss = step_loss(model, codes).item()
    assert loss == pytest.approx(torch.tensor(1024.0).log().item(), abs=0.5)


def test_a_gradient_is_used_and_freed_before_the_next_is_there() -> None:
    """At most one parameter has a gradient at a time, none at the end, and all matrices have moved."""
    alive: list[int] = []
    model = GPT2(gpt2(*TINY.shape)).bfloat16()
    params = list(model.parameters())
    before = [p.detach().clone() for p in params]
    for p in params:
        p.register_post_accumulate_grad_hook(lambda _: alive.append(sum(q.grad is not None for q in params)))
    step = TINY._prepare(params)
    step_loss(model, torch.arange(16)[None]).backward()
    assert alive == [1] * len(params)
    assert all(p.grad is None for p in params)
    # A stepsize of 1e-4 moves an element of size 1 in one step of 40, at random.
    moved = [not torch.equal(p, q) for p, q in zip(params, before, strict=True)]
    assert all(on for on, p in zip(moved, params, strict=True) if p.dim() == 2)
    step()


def test_torch_steps_once_after_the_backward_pass() -> None:
    model = GPT2(gpt2(*TINY.shape))
    step = replace(TINY, state_format=None)._prepare(list(model.parameters()))
    step_loss(model, torch.arange(16)[None]).backward()
    before = model.norm.bias.detach().clone()
    step()
    assert not torch.equal(model.norm.bias, before)


@pytest.mark.slow
def test_a_process_trains_within_its_limit() -> None:
    done = in_process(TINY)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["after"] < found["loss"]
    assert found["limited"] is (sys.platform == "linux")
    assert 50_000_000 < found["peak"] < TINY.limit


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold to the limit")
def test_a_process_that_needs_more_than_its_limit_fails() -> None:
    # a vocabulary whose embeddings alone are beyond it
    done = in_process(replace(TINY, shape=(1, 1024, 800_000, 64)))
    assert done.returncode != 0
    assert "memory" in done.stderr


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[OneStep]:
    """The steps that were asked for; none is taken, and nothing is timed."""
    asked: list[OneStep] = []

    def run(command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(OneStep(**json.loads(command[-1])))
        found = {"peak": 2_000_000_000, "limited": True, "seconds": 3.0, "loss": 7.0, "after": 6.0}
        return subprocess.CompletedProcess(command, 0, json.dumps(found), "")

    monkeypatch.setattr(measure, "_TRIAD", 10)
    monkeypatch.setattr(machine, "interleave", lambda calls, rounds: {"triad": [1.0]})
    monkeypatch.setattr(demonstration.subprocess, "run", run)
    return asked


def test_torch_is_measured_where_there_is_memory_and_computed_elsewhere(
    processes: list[OneStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "available_bytes", lambda: 64_000_000_000)
    theirs, *mine = demonstration.run("xl").rows
    assert (theirs["peak GB"], theirs["limit GB"], theirs["after"]) == (2.0, None, 6.0)
    assert processes.pop(0).state_format is None
    narrow = [name for name in ("float8", "float4") if name in formats.names()]
    assert [step.state_format for step in processes] == narrow
    assert all(row["peak GB"] == 2.0 < row["limit GB"] < 12 for row in mine)
    for free in (17_000_000_000, None):
        processes.clear()
        monkeypatch.setattr(demonstration, "available_bytes", lambda free=free: free)
        done = demonstration.run("xl")
        assert done.rows[0]["peak GB"] == pytest.approx(24.92, abs=0.01)
        assert [step.state_format for step in processes] == narrow
        assert done.notes[0].startswith("torch.optim.Adam, float32: computed, 16 bytes a parameter")


def test_a_step_that_failed_is_told_with_its_error(
    processes: list[OneStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: none left\n")
    monkeypatch.setattr(demonstration.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(demonstration, "available_bytes", lambda: None)
    done = demonstration.run("tiny")
    assert done.rows[1]["peak GB"] is None
    assert "adamas, bfloat16, float8 state: did not end: MemoryError: none left" in done.notes


def test_a_limit_that_did_not_hold_is_told(processes: list[OneStep], monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"peak": 2_000_000_000, "limited": False, "seconds": 3.0, "loss": 7.0, "after": 6.0}
    done = subprocess.CompletedProcess([], 0, json.dumps(found), "")
    monkeypatch.setattr(demonstration.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(demonstration, "available_bytes", lambda: None)
    bench = demonstration.run("tiny")
    assert (bench.rows[1]["peak GB"], bench.rows[1]["limit GB"]) == (2.0, None)
    assert any("float8 state: nothing was limited" in note for note in bench.notes)


def test_systems_without_a_limit_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for system in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        assert one_step.limit_memory(1) is False


def test_the_peak_is_that_of_the_process_and_not_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "status"
    monkeypatch.setattr(one_step, "_STATUS", status)
    status.write_text("VmPeak:\t 9000 kB\nVmHWM:\t  1234 kB\n")
    assert one_step.peak_bytes() == 1234 * 1024
    status.unlink()
    resource = pytest.importorskip("resource", reason="not on Windows")
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=5000))
    for system, unit in (("linux", 1024), ("darwin", 1)):
        monkeypatch.setattr(sys, "platform", system)
        assert one_step.peak_bytes() == 5000 * unit
    monkeypatch.setitem(sys.modules, "resource", None)
    assert one_step.peak_bytes() is None


def test_a_size_that_is_unknown_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown size 'huge'; there are tiny, small, medium, large, xl"):
        demonstration.run("huge")


@pytest.mark.slow
def test_processes_train_shards_to_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each within its share of the memory; the same batch in each, so that the loss falls in all alike."""
    monkeypatch.setattr(measure, "_TRIAD", 10)
    monkeypatch.setattr(machine, "interleave", lambda calls, rounds: {"triad": [1.0]})
    monkeypatch.setattr(demonstration, "_OURS", {"float8": 4.5})
    done = demonstration.run("tiny", 2)
    first, second = done.rows
    assert (first["process"], second["process"]) == ("0", "1")
    assert first["loss"] == second["loss"] > first["after"] == second["after"]
    assert 0 < first["planned GB"] < first["peak GB"] < 10
    assert any("GiB in all processes" in note for note in done.notes)


def test_a_process_that_fails_is_named_and_the_others_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_TRIAD", 10)
    monkeypatch.setattr(machine, "interleave", lambda calls, rounds: {"triad": [1.0]})
    monkeypatch.setattr(demonstration, "_OURS", {"float8": 4.5})
    monkeypatch.setattr(demonstration.sys, "executable", "false")
    done = demonstration.run("tiny", 2)
    assert [row["peak GB"] for row in done.rows] == [None, None]
    assert done.notes[1:] == 2 * ["float8: did not end: exit status 1"]
