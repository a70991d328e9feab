"""FSDP2 (`fully_shard`): each process holds a shard of every parameter, and steps it as replicas would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import process_support
import pytest
import torch
import torch.distributed as dist
from rank_support import Case, Outcome, outcomes, run_cases
from state_support import STORED_FOR_ADAM
from trainer_support import OPTIONS, distance

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")

TORCHS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
FORMATS = {f"state-{name}": {"state_format": name} for name in STORED_FOR_ADAM}
OURS = {
    f"{name}-{dtype}": Case("adamas", options, dtype)
    for name, options in (OPTIONS | FORMATS).items()
    for dtype in ("float32", "bfloat16")
}
CASES = {
    **{f"replicas-{name}": case for name, case in OURS.items()},
    **{f"shards-{name}": case._replace(over="shards") for name, case in OURS.items()},
    **{name: Case("torch", options, over="shards") for name, options in TORCHS.items()},
    "clipped": Case("torch", TORCHS["loop"], clip=0.5, over="shards"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have written what each case came to."""
    folder = tmp_path_factory.mktemp("fsdp2")
    process_support.in_processes(run_cases, str(folder / "store"), str(folder), CASES)
    return folder


def losses(found: list[Outcome]) -> list[Any]:
    return [loss for each in found for loss in each.losses]


@pytest.mark.parametrize("name", OURS)
def test_shards_step_as_replicas(name: str, folder: Path) -> None:
    """The two processes' gradients add up to the same sums, and rounding goes by the whole's elements."""
    shards, replicas = outcomes(folder, f"shards-{name}"), outcomes(folder, f"replicas-{name}")
    assert losses(shards) == pytest.approx(losses(replicas), rel=1e-4 if name.endswith("float32") else 0.03)
    assert shards[0].params == shards[1].params  # gathered
    assert shards[0].last_step == shards[1].last_step


def test_losses_are_those_of_torch(folder: Path) -> None:
    loop = losses(outcomes(folder, "loop"))
    spread = max(distance(losses(outcomes(folder, name)), loop) for name in ("foreach", "fused"))
    ours = losses(outcomes(folder, "shards-plain-float32"))
    assert distance(ours, loop) <= 4 * spread + 16 * torch.finfo(torch.float32).eps


def test_shards_clip_by_the_norm_of_the_whole_gradient(folder: Path) -> None:
    by_us = losses(outcomes(folder, "shards-clip-float32"))
    assert by_us == pytest.approx(losses(outcomes(folder, "clipped")), rel=1e-4)
