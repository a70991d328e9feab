"""DTensors on 1 to 4 processes: the bits of whole parameters, whatever is asked of the step."""

from __future__ import annotations

from pathlib import Path

import process_support
import pytest
import shard_support
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
IN_FOUR = [
    shard_support.shards_are_the_same_bits,
    shard_support.extras_are_the_same_bits,
    shard_support.measured_steps_are_of_the_whole,
    shard_support.meshes_of_all_kinds,
    shard_support.real_training_is_as_torch_has_it,
]
IN_TWO = [
    shard_support.one_of_many,
    shard_support.flat_parameters_are_refused,
    shard_support.large_parameters_kept_whole_are_said,
    shard_support.real_training_is_as_torch_has_it,
]


@pytest.mark.slow
def test_in_four_processes(tmp_path: Path) -> None:
    process_support.in_processes(shard_support.one_after_the_other, str(tmp_path / "store"), IN_FOUR, size=4)


@pytest.mark.slow
def test_in_two_processes(tmp_path: Path) -> None:
    process_support.in_processes(shard_support.one_after_the_other, str(tmp_path / "store"), IN_TWO)
