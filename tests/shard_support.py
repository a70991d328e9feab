"""What processes of the tests of sharded parameters run: in a module of its own, which processes import."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from state_support import FORMATS, fits
from torch import Tensor
from torch_support import OPTIMIZERS, Make, bits, randn

import adamas.torch
from adamas.torch.mesh import local

# Rows and columns that 2, 3 and 4 processes cut evenly, unevenly, through blocks, or leave nothing of; more
# than two dimensions; too small for scales; and one laid out otherwise.
SHAPES = [(12, 384), (100, 64), (5000,), (7, 3), (3, 2000), (64, 512), (6, 10, 11, 7), (1,)]
TRANSPOSED = (130, 41)
Place = Callable[[Tensor], Tensor]
DTYPES = (torch.float32, torch.bfloat16)


def gradients(seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Over several decades, turning at every step."""
    found = [randn(*shape, seed=100 * seed + k) for k, shape in enumerate(SHAPES)]
    found.append(randn(*reversed(TRANSPOSED), seed=100 * seed + 99).t())
    decades = [10 ** randn(*x.shape, seed=7 + k) for k, x in enumerate(found)]
    return [((-1) ** seed * x * y).to(dtype) for x, y in zip(found, decades, strict=True)]


def stepped(make: Make, dtype: torch.dtype, place: Place, steps: int = 2, **options: Any) -> Any:
    """An optimizer after a few steps of parameters that `place` distributes."""
    params = [torch.nn.Parameter(place((0.1 * x.float()).to(dtype))) for x in gradients(9, dtype)]
    opt = make(params, lr=0.01, **options)
    for t in range(steps):
        for p, g in zip(params, gradients(t, dtype), strict=True):
            p.grad = place(g)
        opt.step()
    return opt


def tensors_of(opt: Any) -> Iterator[tuple[str, Any]]:
    """The parameters, and all tensors of their state."""
    for n, p in enumerate(opt.param_groups[0]["params"]):
        yield f"{n}", p.detach()
        for key, value in sorted(opt.state.get(p, {}).items()):
            if torch.is_tensor(value):
                yield f"{n} {key}", value


def placements() -> dict[str, tuple[Any, Sequence[Any]]]:
    """Meshes of 1 to 4 processes, and how parameters are placed on them: the same list in each process."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Replicate, Shard

    found: dict[str, tuple[Any, Sequence[Any]]] = {}
    for n in range(1, dist.get_world_size() + 1):
        mesh = DeviceMesh("cpu", list(range(n)))
        found |= {f"{n} {each}": (mesh, [each]) for each in (Shard(0), Shard(1), Replicate())}
    square = DeviceMesh("cpu", torch.arange(4).view(2, 2))
    for pair in itertools.product((Shard(0), Shard(1), Replicate()), repeat=2):
        found[f"2x2 {pair}"] = square, pair
    return found


def placing(mesh: Any, wanted: Sequence[Any]) -> Place:
    """Distribute tensors that every process has whole; replicate along a dimension that one lacks."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    def place(x: Tensor) -> Tensor:
        own = [each if getattr(each, "dim", 0) < x.dim() else Replicate() for each in wanted]
        if not x.is_contiguous():  # torch would make its shards row-major
            own = [Shard(1 - each.dim) if isinstance(each, Shard) else each for each in own]
            return distribute_tensor(x.t().clone(), mesh, own, src_data_rank=None).t()
        return distribute_tensor(x.clone(), mesh, own, src_data_rank=None)

    return place


def assert_same_bits(whole: Any, sharded: Any, what: str) -> None:
    """Every shard has the bits of its part of the whole."""
    from torch.distributed.tensor import distribute_tensor

    ours, theirs = dict(tensors_of(sharded)), dict(tensors_of(whole))
    assert ours.keys() == theirs.keys(), what
    for name, x in ours.items():
        expected = theirs[name]
        if hasattr(x, "placements"):
            expected = distribute_tensor(expected, x.device_mesh, x.placements, src_data_rank=None).to_local()
            assert tuple(x.shape) == tuple(theirs[name].shape), f"{what}: {name}"
            x = x.to_local()
        assert bits(x.contiguous()) == bits(expected.contiguous()), f"{what}: {name}"


def shards_are_the_same_bits(rank: int) -> None:
    """As of whole parameters: Adam in every format on every placement, every rule in every format on one."""
    warnings.simplefilter("error")
    found = list(placements().items())
    turns, dtypes = itertools.cycle(found), itertools.cycle(DTYPES)
    for name, make in OPTIMIZERS.items():
        for format in FORMATS:
            if not fits(make, format):
                continue
            dtype = next(dtypes)
            whole = stepped(make, dtype, torch.clone, state_format=format)
            for where, (mesh, wanted) in found if name == "Adam" else [next(turns)]:
                if mesh.get_coordinate() is None:
                    continue
                sharded = stepped(make, dtype, placing(mesh, wanted), state_format=format)
                assert_same_bits(whole, sharded, f"{name} {dtype} {format} {where}")


class Watch:
    """Watches every step."""

    def due(self, optimizer: Any) -> bool:
        return True

    def take(self, optimizer: Any, measured: Any) -> None:
        self.found = list(measured.values())


def watched(params: Any, **options: Any) -> Any:
    opt = adamas.torch.AdamW(params, **options)
    opt._watch = Watch()
    return opt


def measured_steps_are_of_the_whole(rank: int) -> None:
    """What is measured of shards, added up; and no bit is another."""
    warnings.simplefilter("error")
    for k, format in enumerate(FORMATS):
        if not fits(adamas.torch.AdamW, format):
            continue
        whole = stepped(watched, torch.float32, torch.clone, state_format=format)
        for where, (mesh, wanted) in itertools.islice(placements().items(), k % 3, None, 3):
            if mesh.get_coordinate() is None:
                continue
            sharded = stepped(watched, torch.float32, placing(mesh, wanted), state_format=format)
            assert_same_bits(whole, sharded, f"{format} {where}")
            for ours, theirs in zip(sharded._watch.found, whole._watch.found, strict=True):
                for name, value in dataclasses.asdict(theirs).items():
                    if name not in ("signal", "oldest_row"):
                        found = getattr(ours, name)
                        assert found == pytest.approx(value, rel=1e-5), f"{format} {where} {name}"


def extras_are_the_same_bits(rank: int) -> None:
    """Clipping, skipping and averages, whose norm is that of the whole."""
    warnings.simplefilter("error")
    found = placements()
    for k, format in enumerate(FORMATS):
        if not fits(adamas.torch.AdamW, format):
            continue
        make = functools.partial(
            adamas.torch.AdamW, state_format=format, clip_norm=0.7, skip_nonfinite=True, average=0.9
        )
        whole = stepped(make, torch.float32, torch.clone)
        assert whole.last_step.clip_factor < 1
        for where, (mesh, wanted) in itertools.islice(found.items(), k % 3, None, 3):
            if mesh.get_coordinate() is None:
                continue
            sharded = stepped(make, torch.float32, placing(mesh, wanted))
            assert sharded.last_step == whole.last_step, f"{format} {where}"
            assert_same_bits(whole, sharded, f"{format} {where}")


def losses(make: Make, steps: int, sharded: bool) -> list[float]:
    """A transformer block's losses, under FSDP2 or in one piece, on the same data."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    layer = functools.partial(torch.nn.TransformerEncoderLayer, 64, 4, 128, dropout=0.0, batch_first=True)
    model = torch.nn.Sequential(torch.nn.Linear(20, 64), layer(), layer(), torch.nn.Linear(64, 20))
    if sharded:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for each in (*model, model):
            fully_shard(each, mesh=mesh)
    opt, size, rank = make(model.parameters(), lr=3e-3), dist.get_world_size(), dist.get_rank()
    found = []
    for step in range(steps):
        x = randn(8, 5, 20, seed=step % 2)
        part = x.chunk(size)[rank] if sharded else x
        loss = (model(part) - part.flip(1)).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        if sharded:
            dist.all_reduce(loss)
            loss = loss / size
        found.append(loss.item())
    return found


def real_training_is_as_torch_has_it(rank: int) -> None:
    """Over 50 steps of FSDP2 no further from one process than torch's AdamW is, but for rounding."""
    warnings.simplefilter("ignore")  # FSDP2 has one for a layer that returns a view
    ours, theirs = adamas.torch.AdamW, torch.optim.AdamW
    one = losses(ours, 50, sharded=False)
    apart = max(abs(x - y) for x, y in zip(losses(ours, 50, sharded=True), one, strict=True))
    torchs = losses(theirs, 50, sharded=False)
    torch_apart = max(abs(x - y) for x, y in zip(losses(theirs, 50, sharded=True), torchs, strict=True))
    assert one[-1] < 0.6 * one[0]
    assert apart <= 2 * torch_apart + 1e-6, (apart, torch_apart)
    small = functools.partial(ours, state_format="float8", clip_norm=1.0, skip_nonfinite=True, average=0.9)
    single, many = losses(small, 50, sharded=False), losses(small, 50, sharded=True)
    assert max(abs(x - y) for x, y in zip(single, many, strict=True)) < 0.02 * one[0]


def meshes_of_all_kinds(rank: int) -> None:
    """Replicas count once in the norm, experts each; a rank joins the sum whatever gradients it has."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    both = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicas", "shards"))
    line = init_device_mesh("cpu", (4,))
    experts = both["shards"]  # ranks 0 and 1 have one expert, 2 and 3 another
    wholes = [randn(12, 8, seed=k) for k in range(4)]
    params = [
        torch.nn.Parameter(distribute_tensor(wholes[0], both, [Replicate(), Shard(0)], src_data_rank=None)),
        torch.nn.Parameter(distribute_tensor(wholes[1], line, [Shard(0)], src_data_rank=None)),
        torch.nn.Parameter(distribute_tensor(wholes[2], experts, [Shard(1)], src_data_rank=None)),
        torch.nn.Parameter(wholes[3].clone()),
    ]
    opt = adamas.torch.Adam(params, clip_norm=1e-3, skip_nonfinite=True)
    for p in params:
        p.grad = torch.ones_like(p)
    opt.step()
    everything = (3 + 2) * 96  # two experts
    assert opt.last_step.grad_norm == everything**0.5
    for p in params[: rank + 1]:  # each rank lacks others
        p.grad = None
    opt.step()
    # Of the first and second each rank lacks its part, or all do: rank 0 alone has the second's.
    assert not opt.last_step.skipped
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.zeros_like(p)
    if rank == 3:
        params[3].grad.fill_(float("nan"))
    opt.step()
    assert opt.last_step.skipped
    for p, x in zip(params, before, strict=True):
        assert bits(local(p.detach())) == bits(local(x))


def one_of_many(rank: int) -> None:
    """ZeRO-1: the norm of all processes' parameters, and the bits of one process by the names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own import
        from torch.distributed.optim import ZeroRedundancyOptimizer

    for format in (None, "float8"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(80, 90), torch.nn.Linear(90, 70), torch.nn.Linear(70, 3))
        plain = copy.deepcopy(model)
        make = functools.partial(adamas.torch.AdamW, lr=0.01, clip_norm=0.5, state_format=format)
        names = dict(model.named_parameters())
        part = functools.partial(make, process_group=dist.group.WORLD, key_by=names)
        spread = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=part)
        whole = make(plain.named_parameters(), key_by="name")
        for seed in range(3):
            for k, (p, q) in enumerate(zip(model.parameters(), plain.parameters(), strict=True)):
                p.grad = randn(*p.shape, seed=10 * seed + k)
                q.grad = p.grad.clone()
            spread.step()
            whole.step()
            assert spread.optim.last_step == whole.last_step
        assert bits(list(model.parameters())) == bits(list(plain.parameters()))
    assert copy.deepcopy(spread.optim).options.process_group is spread.optim.options.process_group
    with pytest.raises(TypeError, match="state_dict"):
        pickle.dumps(spread.optim)


def flat_parameters_are_refused(rank: int) -> None:
    """FSDP1's, by name: where a format is asked for, or a norm without the group."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FSDP1 is deprecated, and says so
        for views in (False, True):
            model = FullyShardedDataParallel(
                torch.nn.Linear(80, 90), use_orig_params=views, device_id=torch.device("cpu")
            )
            for options, words in [
                ({"state_format": "float8"}, "FlatParameter"),
                ({"clip_norm": 1.0}, "process_group="),
                ({"clip_norm": 1e9, "process_group": dist.group.WORLD}, ""),
            ]:
                opt = adamas.torch.AdamW(model.parameters(), **options)
                model(randn(4, 80, seed=rank)).square().mean().backward()
                norm = model.clip_grad_norm_(1e9).item()
                if words:
                    with pytest.raises(ValueError, match=words):
                        opt.step()
                else:
                    opt.step()
                    assert opt.last_step.grad_norm == pytest.approx(norm, rel=1e-5)
                model.zero_grad()


def large_parameters_kept_whole_are_said(rank: int) -> None:
    """Once; small ones cost nothing worth a word."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for size, words in (((1 << 20) + 2, ["within blocks"]), (5000, []), (1 << 20, [])):
        p = torch.nn.Parameter(distribute_tensor(torch.zeros(size), mesh, [Shard(0)], src_data_rank=None))
        opt = adamas.torch.Adam([p], state_format="float8")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always", adamas.torch.SlowPathWarning)
            for _ in range(2):
                p.grad = torch.ones_like(p)
                opt.step()
        said = [str(w.message) for w in seen if w.category is adamas.torch.SlowPathWarning]
        assert len(said) == len(words)
        assert all(word in text for word, text in zip(words, said, strict=True))


def one_after_the_other(rank: int, functions: Sequence[Callable[[int], None]]) -> None:
    """In the same processes: to make them takes longer than most of what they do."""
    for function in functions:
        if rank == 0:
            print(function.__name__, flush=True)  # pytest shows the last where one fails
        with warnings.catch_warnings():
            function(rank)
        dist.barrier()
