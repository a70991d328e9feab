"""Kernels on disk: a second process compiles nothing, a changed rule gets a new file, no folder is fine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rule_cases import Driver

from adamas.backends.numba import cache_folder
from adamas.rules import Adam

# Takes one step and says which kernels there are and how many passes of Numba's compiler ran for them.
PROGRAM = """
import json, sys, warnings
import numpy as np
from numba.core import event
from rule_cases import CASES, run_kernel
warnings.simplefilter("error")
names = json.loads(sys.argv[1])
with event.install_recorder("numba:run_pass") as passes:
    moved = [float(run_kernel(CASES[name], np.ones(5, np.float32), np.ones((2, 5)))[0][0]) for name in names]
print(json.dumps({"passes": len(passes.buffer), "moved": moved}))
"""


def in_new_process(
    program: str, cache: Path, *args: str, path: Path | None = None
) -> subprocess.CompletedProcess:
    tests = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        env={
            **os.environ,
            "ADAMAS_CACHE": str(cache),
            "PYTHONPATH": os.pathsep.join(map(str, [path or tests, tests])),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def files(folder: Path) -> dict[str, int]:
    """When each file under `folder` was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    names = json.dumps(["Adam", "OwnRule"])
    first = json.loads(in_new_process(PROGRAM, tmp_path, names).stdout)
    written = files(tmp_path)
    second = json.loads(in_new_process(PROGRAM, tmp_path, names).stdout)
    assert first["passes"] > 0
    assert second == {"passes": 0, "moved": first["moved"]}
    assert files(tmp_path) == written
    assert len(list((tmp_path / "kernels").glob("adamas_*.py"))) == 2


def test_a_folder_that_cannot_be_written_warns_and_works(tmp_path: Path) -> None:
    """Below a regular file there can be no folder, whoever asks."""
    (tmp_path / "file").write_text("")
    program = PROGRAM.replace('simplefilter("error")', 'simplefilter("always")')
    process = in_new_process(program, tmp_path / "file" / "cache", '["Adam"]')
    expected = json.loads(in_new_process(PROGRAM, tmp_path / "good", '["Adam"]').stdout)
    assert json.loads(process.stdout)["moved"] == expected["moved"]
    assert process.stderr.count("RuntimeWarning: kernels cannot be kept in") == 1
    assert "set ADAMAS_CACHE to a folder that can be written" in process.stderr
    assert (tmp_path / "file").read_text() == ""


RULE = """
from dataclasses import dataclass
from adamas.rules import Rule

@dataclass(frozen=True)
class Changing(Rule):
    lr: float = 0.5

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, lr):
        return (p - FACTOR * lr * g,)
"""

STEP = """
import numpy as np
from changing import Changing
from rule_cases import run_kernel
print(run_kernel(Changing(), np.ones(3, np.float32), np.ones((1, 3)))[0][0])
"""


@pytest.mark.parametrize("change", ["literal", "constant"])
def test_a_changed_rule_is_a_new_kernel(tmp_path: Path, change: str) -> None:
    """In the text of `update`, or in a constant that its text only names."""
    kernels = tmp_path / "kernels"
    for count, factor in enumerate(["1.0", "-3.0"], start=1):
        text = RULE.replace("FACTOR", factor) if change == "literal" else f"FACTOR = {factor}\n{RULE}"
        (tmp_path / f"{count}").mkdir()
        (tmp_path / f"{count}" / "changing.py").write_text(text)
        moved = in_new_process(STEP, tmp_path, path=tmp_path / f"{count}").stdout
        assert float(moved) == 1 - float(factor) * 0.5
        assert len(list(kernels.glob("adamas_changing_float32_*.py"))) == count


def test_a_damaged_source_is_written_again(tmp_path: Path) -> None:
    first = in_new_process(PROGRAM, tmp_path, '["Lion"]').stdout
    (kernel,) = (tmp_path / "kernels").glob("adamas_lion_*.py")
    text = kernel.read_text()
    kernel.write_text(text[: len(text) // 2])
    assert (
        json.loads(in_new_process(PROGRAM, tmp_path, '["Lion"]').stdout)["moved"]
        == json.loads(first)["moved"]
    )
    assert kernel.read_text() == text
    assert not list((tmp_path / "kernels").glob("*.tmp"))


@pytest.mark.parametrize(
    ("variable", "expected"), [("ADAMAS_CACHE", "kernels"), ("XDG_CACHE_HOME", "adamas/kernels")]
)
def test_the_folder_is_the_users_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, expected: str
) -> None:
    if variable == "XDG_CACHE_HOME" and sys.platform in ("win32", "darwin"):
        pytest.skip("this system has another place for caches")
    monkeypatch.delenv("ADAMAS_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_folder.__wrapped__() == tmp_path / expected
    assert (tmp_path / expected).is_dir()


def test_kernels_are_where_the_folder_says() -> None:
    import numpy as np

    assert Driver(Adam(), [np.ones(1)]).job.kernel.path.parent == cache_folder()
