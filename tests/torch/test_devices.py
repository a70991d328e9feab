"""The user's default device, meta and fake tensors: the step goes where the parameters are, as in torch."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from state_support import fits
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    everything,
    give_gradients,
    randn,
    simple,
    train,
)

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)  # any device, the one it was too, would stay in effect as a mode


ELSEWHERE: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "set_default_device": default_device,
    "with torch.device": lambda: torch.device("meta"),
}
elsewhere = pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "phase": {"clip_norm": 0.5, "skip_nonfinite": True, "average": 0.75},
    "stored": {"state_format": "bfloat16"},
    "reference": {"backend": "reference"},
}

# Parameters on the CPU, while new tensors go elsewhere.


CROSSED = [
    pytest.param(make, options, id=f"{option}-{name}")
    for option, options in OPTIONS.items()
    for name, make in OPTIMIZERS.items()
    if "state_format" not in options or fits(make, options["state_format"])
]


@elsewhere
@pytest.mark.parametrize(("make", "options"), CROSSED)
def test_the_default_device_changes_nothing(
    make: Make, elsewhere: Callable[[], Any], options: dict[str, Any]
) -> None:
    """Neither numbers nor where the state is (pytorch#113758)."""
    params, undisturbed = simple(), simple()
    other = make(undisturbed, **options)
    train(other, undisturbed, range(3))
    with elsewhere():
        opt = make(params, **options)
    for seed in range(3):
        give_gradients(params, seed)
        with elsewhere():
            opt.step()
    assert everything(opt) == everything(other)


@elsewhere
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_rounding_does_not_depend_on_the_default_device(
    dtype: torch.dtype, backend: str, elsewhere: Callable[[], Any]
) -> None:
    params, undisturbed = simple(dtype), simple(dtype)
    opt = OPTIMIZERS["Adam"](params, backend=backend, lr=0.1)
    other = OPTIMIZERS["Adam"](undisturbed, backend=backend, lr=0.1)
    for seed in range(3):
        give_gradients(params, seed)
        give_gradients(undisturbed, seed)
        other.step()
        with elsewhere():
            opt.step()
    assert everything(opt) == everything(other)


@elsewhere
@every_optimizer
def test_everything_but_the_model_may_live_under_another_default_device(
    make: Make, elsewhere: Callable[[], Any]
) -> None:
    """A checkpoint, a new group, an evaluation of the averages."""
    results = []
    for context in (contextlib.nullcontext, elsewhere):
        params = simple()
        opt = make(params[:1], average=0.75)
        for seed in range(4):
            if seed == 1:
                with context():
                    opt.add_param_group({"params": params[1:]})
            give_gradients(params, seed)
            with context():
                opt.step()
        with context():
            again = make([{"params": [p]} for p in params], average=0.75)
            again.load_state_dict(opt.state_dict())
        give_gradients(params, 4)
        with context():
            again.step()
            with again.averaged_parameters():
                pass
        results.append(everything(again))
    assert results[0] == results[1]


# Parameters without memory.


def meta_model() -> torch.nn.Module:
    with torch.device("meta"):
        return torch.nn.Linear(3, 2)


def described(opt: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What is known of each state without its values."""
    return [
        {
            key: (x.device.type, x.dtype, tuple(x.shape), x.stride())
            for key, x in state.items()
            if isinstance(x, torch.Tensor)
        }
        for state in opt.state.values()
    ]


def stepped_on_meta(make: Make, steps: int = 2) -> torch.optim.Optimizer:
    model = meta_model()
    opt = make(model.parameters(), lr=0.1)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.empty_like(p)
        opt.step()
    return opt


def torchs(name: str) -> Make:
    """The class of torch.optim that one of ours stands for, with the same options."""
    make = OPTIMIZERS[name]
    keywords = make.keywords if isinstance(make, functools.partial) else {}
    return functools.partial(getattr(torch.optim, name.partition("-")[0]), foreach=False, **keywords)


NAMESAKES = [name for name in OPTIMIZERS if name.partition("-")[0] in DROP_IN]


@pytest.mark.parametrize("name", NAMESAKES)
def test_meta_parameters_step_as_torchs(name: str) -> None:
    """State is where torch keeps it, and the count of steps is a number that can be read."""
    opt, reference = stepped_on_meta(OPTIMIZERS[name]), stepped_on_meta(torchs(name))
    assert described(opt) == described(reference)
    for state, expected in zip(opt.state.values(), reference.state.values(), strict=True):
        if "step" in expected:
            assert state["step"].item() == expected["step"].item() == 2


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in NAMESAKES])
def test_meta_parameters_step_in_classes_of_our_own(name: str) -> None:
    opt = stepped_on_meta(OPTIMIZERS[name])
    assert len(opt.state) == 2
    for p, state in opt.state.items():
        assert state["step"].item() == 2
        slots = [x for x in state.values() if x.dim()]
        assert slots
        assert all((x.device.type, x.shape) == ("meta", p.shape) for x in slots)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "Adagrad"])
def test_a_model_that_is_built_on_meta_and_filled_later_trains(name: str) -> None:
    """Deferred initialisation: the optimizer has the parameters before they have memory.

    Not Adagrad's, whose constructor makes the state beside the parameters as they are then.
    """
    make = OPTIMIZERS[name]
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # `to_empty` keeps the parameters themselves
    try:
        model, plain = meta_model(), torch.nn.Linear(3, 2)
        opt, other = make(model.parameters()), make(plain.parameters())
        model.to_empty(device="cpu")
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
    model.load_state_dict(plain.state_dict())
    train(opt, list(model.parameters()), range(3))
    train(other, list(plain.parameters()), range(3))
    assert everything(opt) == everything(other)


LEFT_BEHIND = """
import torch
from adamas.torch import Adagrad
with torch.device("meta"):
    p = torch.nn.Parameter(torch.empty(1000))
opt = Adagrad([p])
torch.utils.swap_tensors(p, torch.nn.Parameter(torch.ones(1000)))
p.grad = torch.ones(1000)
try:
    opt.step()
except (RuntimeError, ValueError) as error:
    print("meta" in str(error), p.tolist() == [1.0] * 1000)
"""


def test_state_that_stayed_on_meta_is_an_error_and_no_crash() -> None:
    """In a process of its own: what has no memory must not be written to."""
    done = subprocess.run([sys.executable, "-c", LEFT_BEHIND], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True True"), done.stderr


# FakeTensorMode: estimates of memory, without the memory (pytorch#93654).


def stepped_in_fakes(make: Make) -> torch.optim.Optimizer:
    with FakeTensorMode():
        model = torch.nn.Linear(30, 20)
        opt = make(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(4, 30)).sum().backward()
            opt.step()
            opt.zero_grad()
    return opt


@pytest.mark.parametrize("name", NAMESAKES)
def test_fake_parameters_step_as_torchs(name: str) -> None:
    opt, reference = stepped_in_fakes(OPTIMIZERS[name]), stepped_in_fakes(torchs(name))
    assert described(opt) == described(reference)
    for state in opt.state.values():
        assert all(isinstance(x, FakeTensor) for x in state.values() if x is not None and x.dim())


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in NAMESAKES])
def test_fake_parameters_step_in_classes_of_our_own(name: str) -> None:
    for p, state in stepped_in_fakes(OPTIMIZERS[name]).state.items():
        slots = [x for x in state.values() if x.dim()]
        assert slots
        assert all(isinstance(x, FakeTensor) and x.shape == p.shape for x in slots)


@every_optimizer
def test_fakes_do_not_disturb_a_real_optimizer(make: Make) -> None:
    """Nothing made under the mode is kept for the steps after it."""
    stepped_in_fakes(make)
    params, plain = [randn(30, 20, seed=1).requires_grad_()], [randn(30, 20, seed=1).requires_grad_()]
    opt, other = make(params), make(plain, backend="numba")
    train(opt, params, range(3))
    train(other, plain, range(3))
    assert opt.backend == "numba"
    assert everything(opt) == everything(other)
