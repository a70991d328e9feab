"""Stepping in backward over processes: on shards, and not where gradients are averaged later."""

from __future__ import annotations

from pathlib import Path

import in_backward_support
import process_support
import pytest


def test_shards_have_the_bits_of_plain_steps(tmp_path: Path) -> None:
    process_support.in_processes(in_backward_support.shards_step_in_backward, str(tmp_path / "store"))


@pytest.mark.slow
def test_gradients_that_are_reduced_later_are_refused(tmp_path: Path) -> None:
    """Each replica would step by its own gradient."""
    process_support.in_processes(in_backward_support.late_reductions_are_refused, str(tmp_path / "store"))
