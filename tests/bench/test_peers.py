"""Other libraries' optimizers: each is measured, or named with what is missing."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the benchmarks time torch optimizers")

import torch

from adamas._tools.modules import load
from adamas.bench import contenders
from adamas.bench.contenders import peers
from adamas.bench.pairs import UnavailableError
from adamas.bench.workloads import WORKLOADS

SHAPES = WORKLOADS["rl-mlp"]()
OTHERS = [peer.name for peer in peers() if peer.name != "torch compiled"]


def peer(name: str) -> Any:
    return next(each for each in peers() if each.name == name)


def without_module(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, contenders._OTHERS[name].module, None)


def with_module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    path = contenders._OTHERS[name].module
    for k in range(path.count(".") + 1):
        part = ".".join(path.split(".")[: k + 1])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    vars(sys.modules[path]).update(contents)


def test_deepspeed_is_among_them() -> None:
    assert "DeepSpeed CPUAdam" in OTHERS


@pytest.mark.parametrize("name", OTHERS)
def test_one_that_is_not_installed_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_module(monkeypatch, name)
    with pytest.raises(UnavailableError, match=f"pip install {contenders._OTHERS[name].install}$"):
        peer(name).make(SHAPES)


def test_deepspeed_computes_adam_as_torch_does_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def adam(params: Any, **options: Any) -> torch.optim.Optimizer:
        made.append(options)
        return torch.optim.Adam(params)

    with_module(monkeypatch, "DeepSpeed CPUAdam", DeepSpeedCPUAdam=adam)
    peer("DeepSpeed CPUAdam").make(SHAPES)()
    assert made == [{"adamw_mode": False}]  # its default is AdamW


def test_one_that_cannot_be_built_gives_the_first_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def adam(params: Any, **options: Any) -> torch.optim.Optimizer:
        try:
            raise FileNotFoundError("there is no c++ here\nand more")
        except FileNotFoundError as error:
            raise RuntimeError("the op failed to build") from error

    with_module(monkeypatch, "DeepSpeed CPUAdam", DeepSpeedCPUAdam=adam)
    expected = r"^the op failed to build: there is no c\+\+ here; it needs ninja and a C\+\+ compiler$"
    with pytest.raises(UnavailableError, match=expected):
        peer("DeepSpeed CPUAdam").make(SHAPES)


def test_a_step_that_cannot_be_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile(step: Any) -> Any:
        def compiled() -> None:
            raise OSError("no compiler")

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(UnavailableError, match=r"^no compiler; it needs a C\+\+ compiler$"):
        peer("torch compiled").make(SHAPES)


def test_what_a_compiler_prints_does_not_get_into_the_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def adam(params: Any, **options: Any) -> torch.optim.Optimizer:
        print("a logger")
        subprocess.run([sys.executable, "-c", "print('a compiler')"], check=True)
        return torch.optim.Adam(params)

    with_module(monkeypatch, "DeepSpeed CPUAdam", DeepSpeedCPUAdam=adam)
    peer("DeepSpeed CPUAdam").make(SHAPES)
    print("a table")
    out, err = capfd.readouterr()
    assert out == "a table\n"
    assert "a logger" in err
    assert "a compiler" in err


def test_the_step_suites_name_those_that_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = SimpleNamespace(named=[])

    def compare(title: str, pairs: Any, rounds: int) -> None:
        measured.named += [pair.theirs.name for pair in pairs]

    for name, expected in (("step", OTHERS), ("formats", [each for each in OTHERS if "8" in each])):
        suite = load("adamas.bench.suites", name)
        monkeypatch.setattr(suite, "compare", compare)
        measured.named = []
        suite.run(["rl-mlp"], 3, True)
        assert set(expected) <= set(measured.named)
        measured.named = []
        suite.run(["rl-mlp"], 3, False)
        assert not set(OTHERS) & set(measured.named)
