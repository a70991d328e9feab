"""The roofline plot."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")
pytest.importorskip("matplotlib", reason="it draws")

from adamas.bench.pairs import Bench
from adamas.bench.roofline import draw

ROW = {"ours": "mine", "ours µs": 10.0, "parameters": 1000, "bytes": 28.0, "GB/s": 27.0, "of triad": 0.9}


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    bench = Bench("title", [ROW], {"triad GB/s": 30.0}, [])
    draw(bench, tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")


def test_no_roofline_without_bandwidth(tmp_path: Path) -> None:
    bench = Bench("title", [ROW | {"of triad": None}], {"triad GB/s": 30.0}, [])
    with pytest.raises(ValueError, match="nothing to plot"):
        draw(bench, tmp_path / "roof.png")
    assert list(tmp_path.iterdir()) == []
