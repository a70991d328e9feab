"""Plans: the bytes that a step will take, beside those that it takes; nothing is allocated for a plan."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_support
from fresh_support import PEAKS, fresh_python, has_peaks
from planning_support import shards_peak
from process_support import in_processes
from torch import nn
from torch._subclasses import FakeTensorMode

import adamas.torch
from adamas import formats
from adamas.backends.numba import compile_rule
from adamas.backends.numba.job import Job
from adamas.rules import Adam as AdamRule
from adamas.torch import AdamW, Lion, memory
from adamas.torch.slots import slot_keys

CLASSES = list(torch_support.CLASSES.values())
FORMATS = [name for name in formats.names() if name != "float64"]
SHAPES = {"0.weight": (96, 50), "0.bias": (96,), "1.weight": (7, 3, 5), "1.scale": (), "head": (8000,)}
needs_peaks = pytest.mark.skipif(not has_peaks(), reason="the system does not say how much memory was used")


def real(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES.values()]


def stepped(params: list[nn.Parameter], make: Any) -> Any:
    opt = make(params)
    for p in params:
        p.grad = torch.ones_like(p)
    opt.step()
    return opt


def bytes_by_key(opt: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for state in opt.state.values():
        found.update({key: x.nbytes for key, x in state.items()})
    return found


# Every optimizer in every format, and Adam in every dtype with an average.
CASES = [(cls, format, torch.float32, None) for cls in CLASSES for format in FORMATS]
CASES += [
    (adamas.torch.Adam, format, dtype, 0.9)
    for format in [None, "float8"]
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64)
]


@pytest.mark.parametrize(("cls", "format", "dtype", "average"), CASES)
def test_planned_state_is_the_state_of_a_step(
    cls: Any, format: str | None, dtype: torch.dtype, average: float | None
) -> None:
    """Slot by slot, with averages and counters."""
    make = functools.partial(cls, state_format=format, average=average)
    params = real(dtype)
    try:
        opt = stepped(params, make)
    except ValueError:  # a format that is not fit for the rule
        with pytest.raises(ValueError, match=r"too coarse|ends at"):
            memory(SHAPES, make, dtype=dtype)
        return
    plan, found = memory(SHAPES, make, dtype=dtype), bytes_by_key(opt)
    assert plan.averages == found.pop("average", 0)
    held = Counter[str]()
    for key in plan.state:
        for name in formats.names():
            for stored in slot_keys(key, formats.get(name)):
                held[key] += found.pop(stored, 0)
    assert plan.state == held
    assert plan.counters == found.total()
    own = sum(p.nbytes for p in params)
    assert plan.parameters == plan.gradients == own
    assert plan.largest_gradient == max(p.nbytes for p in params)
    assert plan.moved == 3 * own + 2 * (plan.averages + held.total())
    assert plan.exchange.total == plan.gathered == 0


PROGRAM = """
import json, sys
from functools import partial
import torch
from adamas.torch import AMSGrad, Adam, AdamW, Lion, memory
from planning_support import layers


def train(width, make, dtype):
    params = [torch.nn.Parameter(torch.zeros(s, dtype=dtype)) for s in shapes(width).values()]
    opt = make(params)
    for p in params:
        p.grad = torch.full_like(p, 0.5)
    opt.step()
    return opt


def shapes(width):
    return {"0.a": (width * 8, width), "0.n": (width,), "1.b": (width, 2 * width), "1.c": (width, width, 2)}


def in_backward(width, make, dtype):
    model = layers(width, 12, dtype)
    opt = make(model.parameters())
    opt.step_in_backward()
    model(torch.ones(1, width, dtype=dtype)).sum().backward()
    opt.step()
    return model, opt


half, full = torch.bfloat16, torch.float32
cases = {
    "float32": (full, partial(Adam)),
    "bfloat16 float8": (half, partial(AdamW, state_format="float8")),
    "bfloat16 float4 average": (half, partial(AdamW, state_format="float4", average=0.9)),
    "bfloat16 clip": (half, partial(Lion, state_format="bfloat16", clip_norm=1.0)),
    "float32 float8 average": (full, partial(AMSGrad, state_format="float8", average=0.9)),
}
found = {}
for name, (dtype, make) in cases.items():
    train(64, make, dtype)
    before = reset()
    kept = train(768, make, dtype)
    found[name] = peak_since(before) * 2**20, memory(shapes(768), make, dtype=dtype).peak
    del kept
    if dtype == full:  # products of 16 bits take memory of their own
        in_backward(64, make, dtype)
        before = reset()
        kept = in_backward(1024, make, dtype)
        planned = memory({f"{k}.weight": (1024, 1024) for k in range(12)}, make, dtype=dtype)
        found[name + " in backward"] = peak_since(before) * 2**20, planned.peak_in_backward
        del kept
print(json.dumps(found))
"""


@needs_peaks
@pytest.mark.slow
def test_peaks_are_those_that_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 3 %, of making parameters, gradients and state, and stepping."""
    # Memory that is freed goes back to the system at once, so that each case is measured alone.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    found: dict[str, list[float]] = json.loads(fresh_python(PEAKS + PROGRAM))
    assert len(found) == 7
    for name, (measured, planned) in found.items():
        assert measured == pytest.approx(planned, rel=0.03), name


@needs_peaks
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"state_format": "float8", "average": 0.9}], ids=str)
def test_peaks_of_shards_are_those_that_are_measured(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within 3 %, of training under FSDP2 on two ranks: from its DTensors, and from shapes and a mesh."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    in_processes(shards_peak, str(tmp_path / "group"), str(tmp_path / "found"), options)
    found = json.loads((tmp_path / "found").read_text())
    assert found["planned"][0] == found["planned"][1]
    assert found["peak"] == pytest.approx(found["planned"][0], rel=0.03)


def test_scratch_is_the_tables_of_a_job() -> None:
    kernel = compile_rule(AdamRule(), "float32")
    sizes = [1 << 22, 300_000, 5]
    tables = sum(buffer.nbytes for buffer in Job(kernel, sizes)._buffers)
    planned = memory([torch.empty(n, device="meta") for n in sizes], adamas.torch.Adam).scratch
    # But for the scalars of the rule, which are few.
    assert planned <= tables <= planned + 8 * len(sizes) * 20


def test_gaps_in_memory_need_a_dense_copy() -> None:
    p = nn.Parameter(torch.zeros(64, 64)[:, ::2])
    dense = memory([nn.Parameter(torch.zeros(64, 32))])
    assert memory([p]).scratch - dense.scratch == 64 * 32 * 4
    assert memory([p]).state == dense.state


def test_a_plan_is_the_same_for_real_meta_and_fake_tensors_and_for_shapes() -> None:
    def model(device: str) -> nn.Module:
        with torch.device(device):
            return nn.Sequential(nn.Linear(100, 90), nn.LayerNorm(90), nn.Linear(90, 80))

    make = functools.partial(AdamW, state_format="float8", average=0.9)
    plan = memory(model("cpu"), make, mesh=3)
    assert plan == memory(model("meta"), make, mesh=3)
    with FakeTensorMode():
        assert plan == memory(model("cpu"), make, mesh=3)
    shapes = {name: tuple(p.shape) for name, p in model("cpu").named_parameters()}
    assert plan == memory(shapes, make, mesh=3)
    assert plan == memory(shapes, AdamW, mesh=3, state_format="float8", average=0.9)
    assert plan == memory(model("meta"), make(model("cpu").parameters()).__class__, mesh=3, **make.keywords)


def test_nothing_is_allocated() -> None:
    """Four hundred billion parameters, of which no machine has a copy."""
    plan = memory({f"layers.{k}.weight": (200_000, 200_000) for k in range(10)}, AdamW, mesh=7)
    assert plan.elements == 400_000_000_000
    assert plan.parameters == math.ceil(200_000 / 7) * 200_000 * 10 * 4


@pytest.mark.parametrize("rows", [1, 5, 8, 9, 1000, 1001])
@pytest.mark.parametrize("ranks", [1, 2, 8, 64])
def test_shards_are_the_pieces_of_chunk(rows: int, ranks: int) -> None:
    """Parameters and gradients padded as FSDP does, state as it is, on the first and on the last rank."""
    pieces = torch.empty(rows, 30, device="meta").chunk(ranks)
    plan = memory({"weight": (rows, 30)}, mesh=ranks)
    last = pieces[-1].numel() if len(pieces) == ranks else 0
    assert plan.state == {"exp_avg": 4 * pieces[0].numel(), "exp_avg_sq": 4 * pieces[0].numel()}
    assert plan.parameters == plan.gradients == 4 * pieces[0].numel()
    if last == pieces[0].numel():
        assert plan.smallest is None
        return
    assert plan.smallest is not None
    assert plan.smallest.state == {"exp_avg": 4 * last, "exp_avg_sq": 4 * last}
    assert plan.smallest.parameters == plan.parameters
    assert plan.smallest.peak < plan.peak


def test_replicas_take_what_shards_take() -> None:
    """And add up their gradients."""
    one, more = memory(SHAPES | {"1.scale": (1,)}, mesh=4), memory(SHAPES | {"1.scale": (1,)}, mesh=(8, 4))
    assert (more.ranks, more.peak, more.state) == (32, one.peak, one.state)
    assert one.exchange.all_reduce == 0
    assert more.exchange.all_reduce == 2 * 7 / 8 * one.gradients
    assert more.exchange.all_gather == one.exchange.all_gather


def test_the_root_is_gathered_once_and_each_unit_twice() -> None:
    plan = memory({"head": (8, 8), "layers.0.a": (16, 8), "layers.1.a": (16, 8)}, mesh=4)
    assert plan.exchange.all_gather == 4 * (64 + 2 * 256) * 3 / 4
    assert plan.exchange.reduce_scatter == 4 * (64 + 256) * 3 / 4


def test_shards_that_cut_blocks_keep_the_whole_state() -> None:
    """And send the parameter and its gradient for every step."""
    plan = memory({"norm": (8192,)}, mesh=1024, state_format="float8")
    assert plan.state["exp_avg"] == memory({"norm": (8192,)}, state_format="float8").state["exp_avg"]
    assert plan.exchange.optimizer == 2 * 4 * 8192 * 1023 / 1024
    assert memory({"norm": (8192,)}, mesh=1024).exchange.optimizer == 0


def test_frozen_parameters_have_no_gradient_and_no_state() -> None:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    model[0].requires_grad_(False)
    plan = memory(model)
    assert (plan.elements, plan.parameters, plan.gradients) == (220, 880, 440)
    assert plan.state == {"exp_avg": 440, "exp_avg_sq": 440}
    opt = Lion(model[1].parameters(), state_format="bfloat16")
    assert memory(model, opt).state == {"exp_avg": 220}


def test_groups_and_shared_parameters_count_once() -> None:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    model[1].weight = model[0].weight
    assert memory(model).elements == 120
    assert memory([*model.parameters(), model[0].weight]).elements == 120
    groups = [{"params": [model[0].weight], "amsgrad": True}, {"params": [model[0].bias, model[1].bias]}]
    plan = memory(model, AdamW(groups))
    assert plan.state == {"exp_avg": 480, "exp_avg_sq": 480, "max_exp_avg_sq": 400}


def test_the_norm_reads_gradients_once_more() -> None:
    plain, clipped = memory(SHAPES), memory(SHAPES, clip_norm=1.0)
    assert clipped.moved - plain.moved == plain.gradients
    assert clipped.exchange.total == 0
    assert (
        0 < memory({"a": (8, 8)}, mesh=2, skip_nonfinite=True).exchange.optimizer < 3000
    )  # words of an exact sum


def test_seconds_are_bytes_over_the_bandwidth() -> None:
    plan = memory(SHAPES)
    assert plan.seconds(plan.moved / 2) == 2
    for wrong in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="bandwidth must be positive"):
            plan.seconds(wrong)


def test_in_backward_holds_one_gradient_or_one_unit() -> None:
    shapes = {"head": (100, 8), "layers.0.a": (64, 8), "layers.0.b": (64, 8), "layers.1.a": (64, 8)}
    plan = memory(shapes)
    assert plan.peak - plan.peak_in_backward == plan.gradients - 3200
    sharded = memory(shapes, mesh=2)
    assert sharded.gradients_in_backward == 2048


def test_it_is_a_table_and_json() -> None:
    plan = memory({"a": (1001, 1000), "b": (1000,)}, average=0.9, clip_norm=1.0, mesh=2)
    lines = str(plan).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["1,002,000", "parameters,", "2", "ranks", "a", "rank", "least"]
    assert any(line.split()[:3] == ["state", "exp_avg", "2.01"] for line in lines)
    found = json.loads(json.dumps(plan.plain()))
    assert found["peak"] == plan.peak
    assert found["smallest"]["peak_in_backward"] == plan.smallest.peak_in_backward
    assert found["exchange"]["all_gather"] == plan.exchange.all_gather


@pytest.mark.parametrize("mesh", [0, (), (1, 2, 3), (2, 0)])
def test_a_mesh_has_one_or_two_dimensions(mesh: Any) -> None:
    with pytest.raises(ValueError, match=r"mesh must be a number of ranks, or \(replicas, shards\)"):
        memory(SHAPES, mesh=mesh)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="without dimensions"):
        memory(SHAPES, mesh=2)
    with pytest.raises(TypeError, match=r"one of adamas\.torch"):
        memory(SHAPES, torch.optim.Adam)
    params = real()
    with pytest.raises(TypeError, match="'average' is an option for a class"):
        memory(params, AdamW(params), average=0.9)
    with pytest.raises(ValueError, match="the model lacks 1 of the optimizer's 5 parameters"):
        memory(params[1:], AdamW(params))
    with pytest.raises(ValueError, match="state_format must be one of"):
        memory(SHAPES, AdamW, state_format="float7")
