"""The summary that is published."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adamas.cli import app


@pytest.fixture
def summary(made_up: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "published" / "here"
    command = ["reproduce", "all", "--results", str(made_up), "--summary", str(folder)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return folder


def test_the_summary_has_tables_findings_and_a_small_picture_and_no_records(summary: Path) -> None:
    assert {path.name for path in summary.iterdir()} == {
        "claims.md",
        "counterexample-demo.md",
        "counterexample-demo.png",
    }
    assert (summary / "counterexample-demo.png").stat().st_size < 200_000
    text = (summary / "counterexample-demo.md").read_text()
    assert "![The curves](counterexample-demo.png)" in text
    assert (
        "Measured by `adamas reproduce all --preset demo`: 8 runs, 0.00 hours of computing on cpu; " in text
    )
    for cell in ("| SGD Nesterov | 1 |", "**holds**: ", "(section 0).", "torch "):
        assert cell in text
    assert "one is one" in (summary / "claims.md").read_text()
    assert str(summary) not in text


def test_every_row_has_as_many_cells_as_its_head(summary: Path) -> None:
    lines = (summary / "counterexample-demo.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) >= 4
    assert len({row.count("|") for row in rows}) == 1
