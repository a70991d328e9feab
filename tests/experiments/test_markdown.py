"""The summary that is published."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from adamas.cli import app
from adamas.experiments.after import Comparison, Learned, Value
from adamas.experiments.charts import Chart, Line, Style
from adamas.experiments.reports import markdown
from adamas.experiments.reports.collect import LearnedRow


@pytest.fixture
def summary(made_up: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "published" / "here"
    command = ["reproduce", "all", "--results", str(made_up), "--summary", str(folder)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return folder


def test_the_summary_has_tables_findings_and_a_small_picture_and_no_records(summary: Path) -> None:
    assert {path.name for path in summary.iterdir()} == {
        "after.md",
        "after.png",
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


def test_claims_made_after_the_paper_have_their_numbers_and_charts(tmp_path: Path) -> None:
    x = np.arange(3.0)
    chart = Chart("title", "", "x", "y", [Line("curve", x, x[None], Style("#000000"))])
    found = Comparison("one is one", "holds", [Value("a | b", 1.0, 1.0)], [chart])
    learned = Learned("said", "somebody 2020", "a = b", lambda: found, read=False)
    files = markdown.write(tmp_path, "command", [], [], [LearnedRow("name", learned, found)])
    assert [path.name for path in files] == ["after.md", "after.png"]
    text = files[0].read_text()
    for part in (
        "## said (not read in its source)",
        "somebody 2020",
        "`a = b`",
        "**holds**: one is one.",
        "| a \\| b |",
    ):
        assert part in text


def test_an_unusable_folder_is_told_before_anything_is_run(made_up: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = ["reproduce", "all", "--results", str(made_up), "--summary", str(tmp_path / "file")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 2
    assert "no summary can be written to" in result.stderr
    assert "Name another folder (--summary)" in " ".join(result.stderr.split())
    assert not (made_up / "all-demo.html").exists()
