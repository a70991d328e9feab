"""Kernels on disk: a second process compiles nothing, a changed rule gets a new file, no folder is fine."""

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from numba.core import event
from rule_cases import Driver

import adamas
from adamas.backends import _generated
from adamas.backends.numba import cache, cache_folder, compile_rule
from adamas.rules import SGD, Adam, Lion, Rule

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


def environment(cache: Path | str, path: Path | None = None, **others: str) -> dict[str, str]:
    tests = Path(__file__).parents[1]
    paths = [path or tests, tests, Path(adamas.__file__).parents[1]]
    return {
        **os.environ,
        "ADAMAS_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        **others,
    }


def in_new_process(
    program: str, cache: Path | str, *args: str, path: Path | None = None, **others: str
) -> subprocess.CompletedProcess:
    """Run a program; other keywords are variables of its environment, of which "" takes one away."""
    variables = environment(cache, path, **others)
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        env={name: value for name, value in variables.items() if value},
        capture_output=True,
        text=True,
        encoding="utf-8",
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
    assert process.stderr.count("RuntimeWarning: kernels cannot be kept in ") == 1
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
    text = kernel.read_text(encoding="utf-8")
    kernel.write_text(text[: len(text) // 2])
    assert (
        json.loads(in_new_process(PROGRAM, tmp_path, '["Lion"]').stdout)["moved"]
        == json.loads(first)["moved"]
    )
    assert kernel.read_text(encoding="utf-8") == text
    assert not list((tmp_path / "kernels").glob("*.tmp"))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "text": lambda content: b"this is not a file of Numba",
    "foreign": lambda content: pickle.dumps({"somebody": "else's"}),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder in place of the user's."""
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    return tmp_path


def compiled(rule: Rule) -> tuple[Path, int]:
    """Run a kernel's file as a new process would: its path, and the passes of Numba's compiler."""
    text = compile_rule(rule, "float32").path.read_text(encoding="utf-8")
    with event.install_recorder("numba:run_pass") as passes:
        module = cache.load_module("tested", text)
    assert module.step.address
    return Path(str(module.__file__)), len(passes.buffer)


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_machine_code_is_compiled_again(folder: Path, suffix: str, kind: str) -> None:
    """As a crash or a full disk leaves it; once, and then it is kept again."""
    compiled(Lion())
    damaged = [path for path in folder.rglob("*") if path.suffix == suffix]
    assert damaged
    for path in damaged:
        path.write_bytes(DAMAGE[kind](path.read_bytes()))
    assert compiled(Lion())[1] > 0
    assert compiled(Lion())[1] == 0


@pytest.mark.parametrize("content", [b"", b"import nowhere_to_be_found", b"\xff\xfe"], ids=repr)
def test_a_foreign_source_is_replaced(folder: Path, content: bytes) -> None:
    path, _ = compiled(SGD())
    right = path.read_bytes()
    path.write_bytes(content)
    assert compiled(SGD())[0] == path
    assert path.read_bytes() == right


def test_a_full_disk_warns_and_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = _generated.files.write_atomically

    def full(path: Path, content: bytes) -> None:
        if path.parent == folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(_generated.files, "write_atomically", full)
    with pytest.warns(RuntimeWarning, match=r"kernels cannot be kept .*\(No space left on device\)"):
        path, _ = compiled(SGD())
    assert path.parent.name.startswith("adamas-")
    _generated._remove(path.parent, os.getpid())
    assert not path.parent.exists()
    _generated.temporary_folder.cache_clear()


def test_processes_that_compile_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, '["Lion", "SGD"]']
    running = [
        subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [json.loads(process.communicate(timeout=300)[0])["moved"] for process in running]
    assert outputs[0] == outputs[1] == outputs[2]
    last = json.loads(in_new_process(PROGRAM, tmp_path, '["Lion", "SGD"]').stdout)
    assert last == {"passes": 0, "moved": outputs[0]}
    assert not [path for path in tmp_path.rglob("*") if "tmp" in path.name]


UNICODE = """
from dataclasses import dataclass
from adamas.rules import Rule

Α = 2.0  # a Greek capital alpha

@dataclass(frozen=True)
class Größer(Rule):
    lr: float = 0.5

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, lr):
        η = lr * Α  # η is the stepsize: «é»
        return (p - η * g,)
"""
STEP_UNICODE = """
import numpy as np, adamas.backends.numba as numba, rule_cases, changing
rule = getattr(changing, "Gr\\xf6\\xdfer")()
print(float(rule_cases.run_kernel(rule, np.ones(3, np.float32), np.ones((1, 3)))[0][0]))
"""


def test_any_locale_and_any_letters(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "changing.py").write_text(UNICODE, encoding="utf-8")
    options = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for _ in range(2):
        moved = in_new_process(STEP_UNICODE, tmp_path, path=tmp_path / "own", **options).stdout
        assert float(moved) == 0.0
    (kernel,) = (tmp_path / "kernels").glob("adamas_*.py")
    assert kernel.name.isascii()
    assert "η = lr * real(2.0)" in kernel.read_text(encoding="utf-8")


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    in_new_process(PROGRAM, "~/kept", '["SGD"]', HOME=str(tmp_path))
    assert list((tmp_path / "kept" / "kernels").glob("adamas_sgd_*.py"))


LOUD = PROGRAM.replace('simplefilter("error")', 'simplefilter("always")')


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another home")
def test_no_home_folder_warns_and_works(tmp_path: Path) -> None:
    """Below a file there can be no folder, as in a home that cannot be written."""
    (tmp_path / "home").write_text("")
    options = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    process = in_new_process(LOUD, "", '["SGD"]', **options)
    assert "moved" in process.stdout
    assert "RuntimeWarning: kernels cannot be kept" in process.stderr


def test_the_temporary_folder_goes_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "temporary").mkdir()
    in_new_process(LOUD, tmp_path / "file" / "cache", '["SGD"]', TMPDIR=str(tmp_path / "temporary"))
    assert not list((tmp_path / "temporary").glob("adamas*"))


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
