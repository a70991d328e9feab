"""docs/integrations.md: its blocks run in order, and the versions that it names are those that are tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from fresh_support import fresh_python
from trainer_support import trainer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
VERSIONS = dict(re.findall(r"^\| (\w+) \| ([\d.]+) \|", PAGE, re.MULTILINE))


def test_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of trainers are marked `py`, so that the ordinary tests of the documentation leave them out."""
    for name in VERSIONS:
        trainer(name.lower())
    blocks = re.findall(r"^```(?:py|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == PAGE.count("```") // 2
    monkeypatch.chdir(tmp_path)
    fresh_python("\n".join(blocks))


def test_versions_are_those_of_the_constraints() -> None:
    pinned = dict(
        line.split("==")
        for name in ("constraints.txt", "constraints-integrations.txt")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    assert {name: pinned[name.lower()] for name in VERSIONS} == VERSIONS
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    named = {each.partition(">=")[0] for each in extras["integrations"] if ">=" in each}
    assert {name.lower() for name in VERSIONS} - {"torch"} == named
