"""Devices without a kernel: torch.optim's own step runs there, the very same operations, and that is said.

Fake tensors stand for those of the devices, which are not here.
"""

from __future__ import annotations

import functools
import itertools
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch_support import DROP_IN, OPTIMIZERS, Make

import adamas.torch
from adamas.torch import Adam, members
from adamas.torch.launchers import Launcher, all_launchers, why_slow
from adamas.torch.params import member_of

# Kernels are for CPUs and CUDA devices.
DEVICES = ("mps", "xpu")
NAMESAKES = [name for name in OPTIMIZERS if name.partition("-")[0] in DROP_IN]
# AMSGrad's is torch's too, as an option of Adam.
OTHERS = [name for name in OPTIMIZERS if name not in (*NAMESAKES, "AMSGrad")]
# How the user may choose among torch's implementations.
CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
    "fused": {"fused": True},
    "phase": {"weight_decay": 0.1, "maximize": True},
}
every_device = pytest.mark.parametrize("device", DEVICES)


class Recorder(TorchDispatchMode):
    """The operations that torch executes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not str(func).startswith("profiler."):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def fakes_are_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch chooses its implementation by the type, and we do not warn of fakes: take them for tensors."""
    from torch.utils import _foreach_utils

    both = {torch.Tensor, torch.nn.Parameter, FakeTensor}
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_foreach_supported_types", list(both))
    monkeypatch.setattr(_foreach_utils, "_foreach_supported_types", list(both), raising=False)
    monkeypatch.setattr(members, "is_fake", lambda x: False)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", adamas.torch.SlowPathWarning)
        yield


def on(device: str, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.empty(*shape, dtype=dtype, device=device)) for shape in ((3, 4), (5,))]


def operations(make: Make, device: str, **options: Any) -> list[str]:
    """What the third step executes: the first makes state, the second plans."""
    params = on(device)
    opt = make(params, **options)
    for step in itertools.count(1):
        for p in params:
            p.grad = torch.empty_like(p)
        with Recorder() as recorder:
            opt.step()
        if step == 3:
            return recorder.names
    raise AssertionError


def torchs(name: str) -> Make:
    make = OPTIMIZERS[name]
    keywords = make.keywords if isinstance(make, functools.partial) else {}
    return functools.partial(getattr(torch.optim, name.partition("-")[0]), **keywords)


@every_device
@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", NAMESAKES)
def test_a_step_is_the_operations_of_torchs_own(name: str, choice: str, device: str) -> None:
    """Not one more, whichever of its implementations torch chooses or the user asks for: never slower."""
    try:
        expected = operations(torchs(name), device, **CHOICES[choice])
    except (TypeError, RuntimeError, AssertionError) as refused:  # no fused step, or none for fakes
        with pytest.raises(type(refused)):
            operations(OPTIMIZERS[name], device, **CHOICES[choice])
        return
    assert expected
    assert operations(OPTIMIZERS[name], device, **CHOICES[choice]) == expected


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", NAMESAKES)
def test_torchs_own_choice_of_implementation_stands(name: str) -> None:
    """All parameters together by default where torch does that, and fused where it is asked to."""
    assert any("_foreach_" in each for each in operations(OPTIMIZERS[name], "xpu"))
    assert not any("_foreach_" in each for each in operations(OPTIMIZERS[name], "xpu", foreach=False))


@every_device
@pytest.mark.usefixtures("elsewhere")
def test_a_fused_step_stays_one(device: str) -> None:
    assert any("_fused_adam" in each for each in operations(OPTIMIZERS["Adam"], device, fused=True))


def said(make: Make, device: str) -> tuple[str, Any]:
    """The one warning of the first step, and the optimizer."""
    with FakeTensorMode(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        params = on(device)
        opt: Any = make(params)
        for _ in range(2):
            for p in params:
                p.grad = torch.empty_like(p)
            opt.step()
    (text,) = [str(w.message) for w in seen if w.category is adamas.torch.SlowPathWarning]
    return text, opt


@every_device
@pytest.mark.parametrize("name", [*NAMESAKES, "AMSGrad"])
def test_a_warning_and_the_report_say_that_it_is_torchs_step(name: str, device: str) -> None:
    text, opt = said(OPTIMIZERS[name], device)
    assert "torch.optim's own step" in text
    assert f"it is on {device}:0" in text
    assert 'backend="torch"' in text.replace("'", '"')
    assert opt.backend == opt.report().backend == "torch"
    for param in opt.report().params:
        (note,) = param.notes
        assert "torch.optim's own step" in note
        assert f"it is on {device}:0" in note


@every_device
@pytest.mark.parametrize("name", OTHERS)
def test_what_torch_does_not_have_runs_on_whole_tensors_and_says_both(name: str, device: str) -> None:
    text, opt = said(OPTIMIZERS[name], device)
    assert "the rule on whole tensors" in text
    assert f"it is on {device}:0; torch.optim has no such optimizer" in text
    assert opt.backend == opt.report().backend == "reference"
    assert all("torch.optim has no such optimizer" in note for p in opt.report().params for note in p.notes)


@every_device
@pytest.mark.parametrize(
    ("dtype", "options", "lacks"),
    [
        (torch.bfloat16, {}, "torch.optim rounds torch.bfloat16 to nearest"),
        (torch.float16, {}, "torch.optim rounds torch.float16 to nearest"),
        (torch.float32, {"average": 0.9}, "torch.optim keeps neither averages nor state in fewer bits"),
    ],
)
def test_what_torchs_step_lacks_is_named(
    dtype: torch.dtype, options: dict[str, Any], lacks: str, device: str
) -> None:
    with FakeTensorMode():
        report = adamas.torch.Adam(on(device, dtype), **options).report()
    assert report.backend == "reference"
    for param in report.params:
        (note,) = param.notes
        assert "the rule on whole tensors" in note
        assert f"it is on {device}:0; {lacks}" in note


@every_device
@pytest.mark.usefixtures("elsewhere")
def test_asked_for_by_name_nothing_is_said(device: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        operations(functools.partial(OPTIMIZERS["Adam"], backend="torch"), device)


@every_device
def test_a_format_that_nothing_there_takes_is_refused(device: str) -> None:
    with FakeTensorMode():
        params = on(device)
        opt = OPTIMIZERS["Adam"](params, state_format="float8")
        for p in params:
            p.grad = torch.empty_like(p)
        with pytest.raises(ValueError, match=f"it is on {device}:0.*float32"):
            opt.step()
        assert not opt.state


@pytest.mark.parametrize("launcher", all_launchers(), ids=lambda launcher: launcher.name)
def test_a_kernel_is_never_a_slow_path(launcher: type[Launcher]) -> None:
    """Those of the CPU refuse a CUDA tensor, which is no reason to warn of those for GPUs."""
    with FakeTensorMode():
        (p, _) = on("cuda")
        slow = why_slow(launcher, ["it is on cuda:0"], member_of(p, Adam([p])._groups()))
    assert (slow is None) == (launcher.name in ("numba", "triton", "rows"))
