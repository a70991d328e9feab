"""Private names of torch may go away: without each of them the optimizers do the same."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

from adamas.torch import _compat

# Steps that ask every guard, with a private name taken away first; what it prints is the same without.
PROGRAM = """
import hashlib, importlib, operator, sys, warnings
import torch

class Missing:
    def __init__(self, name):
        self.name = name
    def __get__(self, instance, owner=None):
        raise AttributeError(self.name)

def take_away(path):
    parts = path.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        if len(parts) - split > 1:
            owner = operator.attrgetter(".".join(parts[split:-1]))(owner)
        name = parts[-1]
        before = getattr(owner, name)  # a name that is gone already would test nothing
        if isinstance(owner, type):
            setattr(owner, name, Missing(name))
        else:
            vars(owner).pop(name, None)
            if hasattr(owner, name):  # a namespace that makes it anew
                type(owner).__getattr__ = refuse(type(owner), name)
        return lambda: setattr(owner, name, before)
    raise ImportError(path)

def refuse(cls, name):
    before = cls.__getattr__
    def getter(self, key):
        if key == name:
            raise AttributeError(key)
        return before(self, key)
    return getter

give_back = take_away(sys.argv[1]) if len(sys.argv) > 1 else None
warnings.simplefilter("error")
import adamas.torch
from adamas.torch import SGD, Adam, NAdam

if give_back:  # torch itself goes on to use the name
    give_back()

digest = hashlib.sha256()

def note(*tensors):
    for x in tensors:
        digest.update(bytes(x.detach().contiguous().flatten().view(torch.uint8).tolist()))

def param(*shape, seed, dtype=torch.float32):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return torch.nn.Parameter(x)

def gradients(params, seed):
    for k, p in enumerate(params):
        x = torch.randn(p.shape, generator=torch.Generator().manual_seed(1000 * seed + k))
        p.grad = x.to(p.dtype)

for cls, options in [
    (Adam, {}),
    (SGD, {"momentum": 0.9}),
    (NAdam, {"clip_norm": 0.5, "skip_nonfinite": True, "average": 0.9}),
    (Adam, {"backend": "reference"}),
]:
    params = [param(40, 3, seed=1), param(17, seed=2), param(4, 6, 5, 2, seed=3)]
    params.append(param(9, seed=4, dtype=torch.bfloat16))
    params.append(torch.nn.Parameter(param(6, 8, seed=5).data[:, ::2]))  # gaps in memory
    params.append(torch.nn.Parameter(param(6, 8, seed=6).data.t()))
    opt = cls(params, lr=0.01, **options)
    seen = []
    for step in range(12):
        gradients(params, step)
        if step == 2:  # a gradient laid out otherwise
            params[0].grad = params[0].grad.t().contiguous().t()
        if step == 3:  # one of mere zeros, without memory
            params[1].grad = torch._efficientzerotensor((17,))
        if step == 4:  # a lazy one
            params[1].grad = torch._neg_view(params[1].grad)
        if step == 5:  # a parameter laid out otherwise
            params[2].data = params[2].data.to(memory_format=torch.channels_last)
        if step == 6:  # another address
            params[0].data = params[0].data.clone()
        if step == 7:
            params[1].grad = None
        if step == 8:
            handle = opt.register_step_pre_hook(lambda *_: seen.append(step))
        if step == 9:
            handle.remove()
        opt.step()
        note(*params)
    assert seen == [8], seen
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        opt.step()
    assert f"Optimizer.step#{cls.__name__}.step" in {event.key for event in profile.key_averages()}
    for state in opt.state.values():
        note(*state.values())
    shared = cls([torch.nn.Parameter(torch.zeros(1).expand(4))], lr=0.01, **options)
    shared.param_groups[0]["params"][0].grad = torch.ones(4)
    try:
        shared.step()
    except RuntimeError as error:
        assert "share memory" in str(error)
    else:
        raise AssertionError("shared memory was not noticed")

if "_disable_dynamo" in sys.argv[-1]:  # a step is called from compiled code, and not traced
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    opt = SGD([p], lr=0.25)
    torch.compile(opt.step, backend="eager")()
    assert p.tolist() == [0.75] * 3, p
print(digest.hexdigest())
"""


@functools.cache
def digest(*taken: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *taken], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize("name", _compat.PRIVATE)
def test_the_same_steps_without_a_private_name(name: str) -> None:
    """To the bit, and with the same refusals."""
    assert digest(_compat.PRIVATE[name]) == digest()


def test_private_names_are_private_names_of_torch() -> None:
    assert len(_compat.PRIVATE) >= 5
    for path in _compat.PRIVATE.values():
        assert path.startswith("torch.")
        assert any(part.startswith("_") for part in path.split(".")) or "aten" in path
