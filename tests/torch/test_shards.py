"""DTensors on 1 to 4 processes: the bits of whole parameters, whatever is asked of the step."""

from __future__ import annotations

from pathlib import Path

import process_support
import pytest
import shard_support
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
IN_FOUR_PROCESSES = [shard_support.shards_are_the_same_bits, shard_support.extras_are_the_same_bits]


@pytest.mark.slow
@pytest.mark.parametrize("what", IN_FOUR_PROCESSES, ids=lambda what: what.__name__)
def test_in_four_processes(what: process_support.Callable[..., None], tmp_path: Path) -> None:
    process_support.in_processes(what, str(tmp_path / "store"), size=4)
