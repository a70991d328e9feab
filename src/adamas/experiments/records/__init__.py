"""Records of runs: stored in one file a run, and shown as tables for people and programs."""

from __future__ import annotations

from collections.abc import Mapping

from ..runs import Run
from .store import Record

__all__ = ["Record", "Records"]

Records = Mapping[Run, Record]
"""The records that exist, by run."""
