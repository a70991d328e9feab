"""DistributedDataParallel: every process steps its own replica, and all of them stay equal to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import process_support
import pytest
import torch
import torch.distributed as dist
from rank_support import Case, Outcome, outcomes, run_cases
from state_support import FOR_ADAM
from trainer_support import OPTIONS, distance

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")

TORCHS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
OURS = {
    f"{name}-{dtype}": Case("adamas", options, dtype)
    for name, options in OPTIONS.items()
    for dtype in ("float32", "bfloat16")
} | {f"state-{name}": Case("adamas", {"state_format": name, "clip_norm": 0.5}) for name in FOR_ADAM}
CASES = {
    **OURS,
    **{name: Case("torch", options) for name, options in TORCHS.items()},
    "clipped": Case("torch", TORCHS["loop"], clip=0.5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have written what each case came to."""
    folder = tmp_path_factory.mktemp("ddp")
    process_support.in_processes(run_cases, str(folder / "store"), str(folder), CASES)
    return folder


@pytest.mark.parametrize("name", OURS)
def test_replicas_stay_equal_to_the_bit(name: str, folder: Path) -> None:
    """Stochastic rounding included: its random bits do not depend on the process."""
    first, second = outcomes(folder, name)
    assert first.params == second.params
    assert first.losses != second.losses  # their examples differ
    assert first.last_step == second.last_step
    assert first.losses[-1] < first.losses[0]


def losses(found: list[Outcome]) -> list[Any]:
    return [loss for each in found for loss in each.losses]


def test_losses_are_those_of_torch(folder: Path) -> None:
    loop = losses(outcomes(folder, "loop"))
    spread = max(distance(losses(outcomes(folder, name)), loop) for name in ("foreach", "fused"))
    ours = losses(outcomes(folder, "plain-float32"))
    assert distance(ours, loop) <= 4 * spread + 16 * torch.finfo(torch.float32).eps


def test_every_replica_clips_by_the_norm_of_the_mean_gradient(folder: Path) -> None:
    by_hand, by_us = losses(outcomes(folder, "clipped")), losses(outcomes(folder, "clip-float32"))
    assert by_us == pytest.approx(by_hand, rel=1e-4)
    assert by_us != losses(outcomes(folder, "plain-float32"))
