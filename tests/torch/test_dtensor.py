"""Sharded parameters (FSDP2, DTensor) step as whole ones do, with every extra; for bits see test_shards."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import process_support
import pytest
import torch
import torch.distributed as dist
from state_support import STORED_FOR_ADAM, formats_in
from torch import Tensor, nn
from torch_support import OPTIMIZERS, Make, assert_rounding, bits, leaf, randn

import adamas.torch

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
NEEDS_ALL_SHARDS: list[dict[str, Any]] = [
    {"clip_norm": 1.0},
    {"skip_nonfinite": True},
    {"clip_norm": 1.0, "skip_nonfinite": True},
]
every_need = pytest.mark.parametrize("options", NEEDS_ALL_SHARDS, ids=str)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A mesh of this one process: parameters are DTensors, and their only shard is the whole."""
    from torch.distributed.device_mesh import init_device_mesh

    file = tmp_path_factory.mktemp("group") / "store"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.distributed's own
        dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
        yield init_device_mesh("cpu", (1,))
        dist.destroy_process_group()


@pytest.fixture(autouse=True)
def _slow_paths_are_known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=adamas.torch.SlowPathWarning)
        yield


def model_of(dtype: torch.dtype) -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(randn(*p.shape, seed=k))
    return model.to(dtype)


def sharded_of(dtype: torch.dtype, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    model = model_of(dtype)
    fully_shard(model, mesh=mesh)
    return model


def backward(model: nn.Module, seed: int) -> None:
    dtype = next(model.parameters()).dtype
    model.zero_grad()
    model(randn(3, 8, seed=seed).to(dtype)).square().sum().backward()


def whole(x: Any) -> Tensor:
    """All of a DTensor; any other tensor as it is."""
    full: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return full.detach()


def slots_of(opt: torch.optim.Optimizer, p: Tensor) -> list[Tensor]:
    """By name: torch has RMSprop's in another order."""
    state = opt.state.get(p, {})
    return [whole(state[key]) for key in sorted(state) if torch.is_tensor(state[key]) and state[key].dim()]


# In one process.


@every_need
@every_optimizer
def test_the_norm_is_that_of_all_shards(make: Make, options: dict[str, Any], mesh: Any) -> None:
    """Whatever the extras (pytorch#170862)."""
    model = sharded_of(torch.float32, mesh)
    opt = make(model.parameters(), **options)
    backward(model, 0)
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()]).full_tensor()
    opt.step()
    assert float(opt.last_step.grad_norm) == pytest.approx(float(norm), rel=1e-6)
    assert not opt.last_step.skipped


@every_optimizer
def test_sharded_parameters_step_as_whole_ones(make: Make, mesh: Any) -> None:
    sharded, plain = sharded_of(torch.float32, mesh), model_of(torch.float32)
    opt, other = make(sharded.parameters()), make(plain.parameters())
    for seed in range(3):
        backward(sharded, seed)
        for p, q in zip(sharded.parameters(), plain.parameters(), strict=True):
            q.grad = whole(p.grad).clone()
        opt.step()
        other.step()
    assert_rounding([whole(p) for p in sharded.parameters()], [whole(p) for p in plain.parameters()])
    for p, q in zip(sharded.parameters(), plain.parameters(), strict=True):
        assert_rounding(slots_of(opt, p), slots_of(other, q))
        assert opt.state.get(p, {}).keys() == other.state.get(q, {}).keys()


def test_sharded_parameters_decay_cautiously(mesh: Any) -> None:
    make = functools.partial(adamas.torch.AdamW, weight_decay=0.5, lr=0.1)
    cautious = functools.partial(make, cautious_decay=True, decay_scaling="independent")
    test_sharded_parameters_step_as_whole_ones(cautious, mesh)


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sharded_parameters_of_16_bits_step(make: Make, dtype: torch.dtype, mesh: Any) -> None:
    """Rounded to one of the two neighbours; the state is in float32, and that of whole parameters."""
    sharded, plain = sharded_of(dtype, mesh), model_of(dtype)
    opt, other = make(sharded.parameters(), lr=0.1), make(plain.parameters(), lr=0.1)
    start = [whole(p).clone() for p in sharded.parameters()]
    backward(sharded, 0)
    for p, q in zip(sharded.parameters(), plain.parameters(), strict=True):
        q.grad = whole(p.grad).clone()
    opt.step()
    other.step()
    spacing = torch.finfo(dtype).eps
    for p, q, s in zip(sharded.parameters(), plain.parameters(), start, strict=True):
        assert whole(p).dtype == dtype
        assert bits(whole(p)) != bits(s)
        torch.testing.assert_close(whole(p), q.detach(), rtol=2 * spacing, atol=1e-5)
        assert all(x.dtype == torch.float32 for x in slots_of(opt, p))
        assert_rounding(slots_of(opt, p), slots_of(other, q))


def test_norms_of_whole_parameters_are_still_measured(mesh: Any) -> None:
    """In a process group or not."""
    p = leaf(torch.zeros(2))
    opt = adamas.torch.SGD([p], lr=1.0, clip_norm=1.0, skip_nonfinite=True)
    p.grad = torch.tensor([3.0, 4.0])
    opt.step()
    assert float(opt.last_step.grad_norm) == 5.0


def test_torch_clips_them_too(mesh: Any) -> None:
    sharded, plain = sharded_of(torch.float32, mesh), model_of(torch.float32)
    opt, other = adamas.torch.Adam(sharded.parameters()), adamas.torch.Adam(plain.parameters())
    for seed in range(2):
        for model, optimizer in ((sharded, opt), (plain, other)):
            backward(model, seed)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    assert_rounding([whole(p) for p in sharded.parameters()], [whole(p) for p in plain.parameters()])


def test_no_slow_path(mesh: Any) -> None:
    """And so no warning: kernels have the shards."""
    model = sharded_of(torch.float32, mesh)
    opt = adamas.torch.Adam(model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error", adamas.torch.SlowPathWarning)
        backward(model, 0)
        opt.step()
    assert opt.backend == "numba"


@every_dtype
@pytest.mark.parametrize("format", STORED_FOR_ADAM)
def test_state_formats_are_obeyed(dtype: torch.dtype, format: str, mesh: Any) -> None:
    """Never ignored: a user who asked for small state would run out of memory."""
    from torch.distributed.fsdp import fully_shard

    model = nn.Linear(128, 128, bias=False).to(dtype)
    fully_shard(model, mesh=mesh)
    opt = adamas.torch.Adam(model.parameters(), state_format=format)
    model(randn(3, 128).to(dtype)).square().sum().backward()
    opt.step()
    assert set(formats_in(opt, model.weight).values()) == {format}
    assert all(isinstance(x, type(model.weight.grad)) for x in opt.state[model.weight].values() if x.dim())


def test_a_partial_gradient_is_refused(mesh: Any) -> None:
    """Terms of a sum are no gradient; nor is one that lies elsewhere, or is no DTensor."""
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    p = nn.Parameter(distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)]))
    opt = adamas.torch.Adam([p])
    p.grad = distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)])
    opt.step()
    before = p.detach().full_tensor().clone()
    gradients = {
        "Partial": DTensor.from_local(torch.ones(4, 3), mesh, [Partial()]),
        "redistribute": distribute_tensor(torch.ones(4, 3), mesh, [Replicate()]),
    }
    for words, g in gradients.items():
        p.grad = g
        with pytest.raises(RuntimeError, match=words):
            opt.step()
        with pytest.raises(RuntimeError, match=words):
            adamas.torch.Adam([p]).step()
    assert bits(whole(p)) == bits(before)


# In two processes.


def test_two_ranks_step_as_one(tmp_path: Path) -> None:
    process_support.in_processes(process_support.shards_step_as_one, str(tmp_path / "store"))


def test_two_ranks_clip_and_skip_alike(tmp_path: Path) -> None:
    process_support.in_processes(process_support.shards_clip_and_skip_alike, str(tmp_path / "store"))
