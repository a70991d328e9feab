"""What the ranks of the tests of distributed checkpoints run: each `check_*` by itself, all in one group.

Every check is one test of `torch/test_distributed_checkpoints.py`; starting processes is most of their cost.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from process_support import WAIT
from state_support import FOR_ADAM, fits
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch_support import OPTIMIZERS, Make, bits, randn

from adamas import formats
from adamas.torch import AdamW, load_checkpoint, save_checkpoint

SIZE = 4
# Shards of every kind: on four ranks blocks are cut of the second and third, on three of the third; the last
# is too small for scales, and the one before lies transposed.
SHAPES = ((12, 384), (100, 64), (5000,), (6, 10, 11, 8), (64, 70), (7, 3))
Place = Callable[[Tensor], Tensor]


class Ranks:
    """Some of the processes, of which this one may be one.

    Attributes:
        size: their number.
        mesh, group: of these processes.
        folder: where checkpoints go.
    """

    def __init__(self, members: Sequence[int], folder: Path) -> None:
        from torch.distributed.device_mesh import DeviceMesh

        self.size, self.folder = len(members), folder
        self.includes_me = dist.get_rank() in members
        self.mesh = DeviceMesh("cpu", list(members))
        self.group = dist.new_group(list(members), timeout=timedelta(seconds=WAIT))

    def place(self, x: Tensor) -> Tensor:
        """The tensor cut along its first dimension, in the order of its memory."""
        from torch.distributed.tensor import Shard, distribute_tensor

        if x.is_contiguous():
            return distribute_tensor(x, self.mesh, [Shard(0)])
        return distribute_tensor(x.t(), self.mesh, [Shard(1)]).t()

    def save(self, name: str, model: nn.Module, opt: Any, **options: Any) -> None:
        save_checkpoint(self.folder / name, model, opt, process_group=self.group, **options)

    def load(self, name: str, model: nn.Module, opt: Any, **options: Any) -> None:
        load_checkpoint(self.folder / name, model, opt, process_group=self.group, **options)


def model_of(
    place: Place | None = None, seed: int = 1, shapes: Sequence[Sequence[int]] = SHAPES
) -> nn.Module:
    """A model that is only its parameters."""
    values = [randn(*shape, seed=seed * 100 + k) / 10 for k, shape in enumerate(shapes)]
    if len(values) > 4:
        values[4] = values[4].t()
    placed = [nn.Parameter(place(x) if place else x) for x in values]
    return nn.ParameterDict({f"p{k}": p for k, p in enumerate(placed)})


def train(model: nn.Module, opt: Any, place: Place | None, seeds: Sequence[int]) -> None:
    """The same gradients on any number of ranks; some elements are of another size than the rest."""
    for seed in seeds:
        for k, p in enumerate(model.parameters()):
            g = randn(*p.shape, seed=seed * 100 + k) * 10 ** randn(*p.shape, seed=seed * 100 + k + 50)
            g = torch.empty_strided(p.shape, p.stride()).copy_(g)
            p.grad = place(g) if place else g
        opt.step()
    opt.zero_grad()


def whole(x: Any) -> Any:
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def everything(model: nn.Module, opt: Any) -> Any:
    """The bits of the parameters and of the state, whole."""
    found = {}
    for name, p in model.named_parameters():
        found[name] = bits(whole(p))
        # In one order on all ranks, which gather each tensor together.
        found |= {f"{name}.{key}": bits(whole(x)) for key, x in sorted(opt.state.get(p, {}).items())}
    return found


def different(found: Any, expected: Any) -> list[str]:
    """The parameters, and tensors of their state, that are not the same to the bit."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def _saved_on_four(ranks: Sequence[Ranks], make: Make, name: str, **options: Any) -> None:
    four = ranks[-1]
    model = model_of(four.place)
    opt = make(model.parameters(), **options)
    train(model, opt, four.place, (1, 2))
    four.save(name, model, opt)


def _goes_on(loaders: Sequence[Ranks], ranks: Sequence[Ranks], make: Make, **options: Any) -> None:
    """What four ranks saved is loaded on each of these numbers, and goes on as if nothing had happened."""
    _saved_on_four(ranks, make, "saved", **options)
    model = model_of()
    opt = make(model.parameters(), **options)
    train(model, opt, None, (1, 2))
    two_steps = everything(model, opt)
    train(model, opt, None, (3,))
    three_steps = everything(model, opt)
    for some in loaders:
        if some.includes_me:
            model = model_of(some.place, seed=2)
            opt = make(model.parameters(), **options)
            some.load("saved", model, opt)
            wrong = different(everything(model, opt), two_steps)
            assert wrong == [], f"{make} {options} loaded on {some.size}: {wrong}"
            train(model, opt, some.place, (3,))
            wrong = different(everything(model, opt), three_steps)
            assert wrong == [], f"{make} {options}, a step on {some.size}: {wrong}"


# The checks.


def check_every_format_goes_on_on_any_number_of_ranks(ranks: Sequence[Ranks]) -> None:
    for name in FOR_ADAM:
        _goes_on(ranks, ranks, AdamW, state_format=name, average=0.9)


def check_every_rule_goes_on_on_three_ranks(ranks: Sequence[Ranks]) -> None:
    for make in OPTIMIZERS.values():
        _goes_on(ranks[2:3], ranks, make, **({"state_format": "float8"} if fits(make, "float8") else {}))


def check_formats_are_converted_on_loading(ranks: Sequence[Ranks]) -> None:
    """As a whole optimizer converts them; torch's own checkpoint too."""
    three = ranks[2]
    for source in (*FOR_ADAM, "torch"):
        make = torch.optim.AdamW if source == "torch" else functools.partial(AdamW, state_format=source)
        _saved_on_four(ranks, make, "source")
        plain = model_of()
        saved = make(plain.parameters())
        train(plain, saved, None, (1, 2))
        before = {name: p.detach().clone() for name, p in plain.named_parameters()}
        for target in FOR_ADAM:
            options = {"state_format": target, "average": 0.9}
            plain.load_state_dict(before)
            expected = AdamW(plain.parameters(), **options)
            expected.load_state_dict(copy.deepcopy(saved.state_dict()))
            train(plain, expected, None, (3,))
            if three.includes_me:
                model = model_of(three.place, seed=2)
                opt = AdamW(model.parameters(), **options)
                three.load("source", model, opt)
                train(model, opt, three.place, (3,))
                wrong = different(everything(model, opt), everything(plain, expected))
                assert wrong == [], f"{source} to {target}: {wrong}"


def check_torchs_own_checkpoints_go_both_ways(ranks: Sequence[Ranks]) -> None:
    """Through torch's functions alone, to the bit, for state in float32."""
    import torch.distributed.checkpoint as dcp

    four, three = ranks[3], ranks[2]
    for writer, reader in ((torch.optim.AdamW, AdamW), (AdamW, torch.optim.AdamW)):
        model = model_of(four.place)
        opt = writer(model.parameters(), lr=0.5)
        train(model, opt, four.place, (1, 2))
        folder = str(four.folder / f"by {writer.__module__}")
        dcp.save(_named(model, opt), checkpoint_id=folder)
        expected = everything(model, opt)
        if three.includes_me:
            model = model_of(three.place, seed=2)
            opt = reader(model.parameters())
            found = _named(model, opt)
            dcp.load(found, checkpoint_id=folder, process_group=three.group)
            set_state_dict(model, opt, model_state_dict=found["model"], optim_state_dict=found["optimizer"])
            assert different(everything(model, opt), expected) == []
            assert opt.param_groups[0]["lr"] == 0.5


def check_small_state_becomes_torchs(ranks: Sequence[Ranks]) -> None:
    """In one call; as a whole optimizer widens it."""
    import torch.distributed.checkpoint as dcp

    four, three = ranks[3], ranks[2]
    plain = model_of()
    small = AdamW(plain.parameters(), state_format="float8")
    train(plain, small, None, (1, 2))
    expected = small.torch_state_dict()["state"]
    model = model_of(four.place)
    opt = AdamW(model.parameters(), state_format="float8", average=0.9)
    train(model, opt, four.place, (1, 2))
    wide = opt.torch_state_dict()["state"]
    for k, p in enumerate(model.parameters()):
        assert wide[k]["exp_avg"].placements == p.placements
    assert bits({k: {name: whole(x) for name, x in each.items()} for k, each in wide.items()}) == bits(
        expected
    )
    four.save("for torch", model, opt, for_torch=True)
    if three.includes_me:
        model = model_of(three.place)
        theirs = torch.optim.AdamW(model.parameters())
        found = _named(model, theirs)
        dcp.load(found, checkpoint_id=str(four.folder / "for torch"), process_group=three.group)
        set_state_dict(model, theirs, model_state_dict=found["model"], optim_state_dict=found["optimizer"])
        for k, p in enumerate(model.parameters()):
            assert bits({name: whole(x) for name, x in theirs.state[p].items()}) == bits(expected[k])


def check_torchs_load_of_another_format_names_it(ranks: Sequence[Ranks]) -> None:
    """Values never land in codes, nor codes in values; the optimizer is as it was."""
    import torch.distributed.checkpoint as dcp

    four = ranks[3]
    scaled = [name for name in FOR_ADAM if formats.get(name).scaled]
    for source, target in [(None, each) for each in scaled] + [(each, None) for each in scaled] + [scaled]:
        _saved_on_four(ranks, AdamW, "other", state_format=source)
        model = model_of(four.place, seed=2)
        opt = AdamW(model.parameters(), state_format=target)
        train(model, opt, four.place, (1,))
        before, found = everything(model, opt), {"optimizer": get_optimizer_state_dict(model, opt)}
        try:
            dcp.load(found, checkpoint_id=str(four.folder / "other"))
        except BaseException as error:
            missing = f"exp_avg_{target}" if target else "exp_avg"
            assert missing in str(error), str(error)  # noqa: PT017
        else:
            raise AssertionError(f"{source} was loaded as {target}")
        assert different(everything(model, opt), before) == []


def check_averages_are_switched_on_over_an_old_checkpoint(ranks: Sequence[Ranks]) -> None:
    _saved_on_four(ranks, AdamW, "without", state_format="float8")
    for some in ranks[:3]:
        if some.includes_me:
            model = model_of(some.place, seed=2)
            opt = AdamW(model.parameters(), state_format="float8", average=0.9)
            some.load("without", model, opt)
            loaded = [whole(p).clone() for p in model.parameters()]
            train(model, opt, some.place, (3,))
            now = [whole(p).clone() for p in model.parameters()]
            with opt.averaged_parameters():
                for p, before, after in zip(model.parameters(), loaded, now, strict=True):
                    weight = 0.1 / (1 - 0.9**3)
                    torch.testing.assert_close(whole(p), before + weight * (after - before))
            assert bits([whole(p) for p in model.parameters()]) == bits(now)


def check_torchs_options_of_state_dicts_work(ranks: Sequence[Ranks]) -> None:
    """Flattened, whole on every rank, and whole on the first alone; and each into fresh optimizers."""
    import torch.distributed.checkpoint as dcp

    four = ranks[3]
    model = model_of(four.place)
    opt = AdamW(model.parameters(), state_format="float8", average=0.9)
    train(model, opt, four.place, (1, 2))
    expected = everything(model, opt)
    for flat, full, offload in (
        (True, False, False),
        (False, True, False),
        (False, True, True),
    ):  # both flattened and whole torch loads for no optimizer
        options = StateDictOptions(
            flatten_optimizer_state_dict=flat, full_state_dict=full, cpu_offload=offload
        )
        saved = get_optimizer_state_dict(model, opt, options=options)
        folder = str(four.folder / f"options {flat} {full} {offload}")
        if not full:
            dcp.save(saved, checkpoint_id=folder)
        other = AdamW(model.parameters(), state_format="float8", average=0.9)
        if not full:
            saved = get_optimizer_state_dict(model, other, options=options)
            dcp.load(saved, checkpoint_id=folder)
        if full and offload:  # the first rank alone has them
            options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        set_optimizer_state_dict(model, other, saved, options=options)
        wrong = different(everything(model, other), expected)
        if full and offload:
            # Torch sends the memory of a replica, and what stands for it elsewhere is row-major: the state of
            # a transposed parameter whose shards would cut blocks, which is one, does not arrive.
            wrong = [name for name in wrong if not name.startswith("p4.")]
        assert wrong == [], f"flat {flat}, full {full}, offload {offload}: {wrong}"


def check_a_step_during_an_asynchronous_save_is_not_in_it(ranks: Sequence[Ranks]) -> None:
    import torch.distributed.checkpoint as dcp

    four = ranks[3]
    model = model_of(four.place)
    opt = AdamW(model.parameters(), state_format="float8", average=0.9)
    train(model, opt, four.place, (1, 2))
    expected, folder = everything(model, opt), str(four.folder / "asynchronous")
    # Through a group of its own: its messages must not meet those of the step.
    writing = dcp.async_save(_named(model, opt), checkpoint_id=folder, process_group=four.group)
    train(model, opt, four.place, (3,))
    writing.result()
    dist.barrier()
    four.load("asynchronous", model, opt)
    assert different(everything(model, opt), expected) == []


def check_a_ranks_own_file_is_read_safely(ranks: Sequence[Ranks]) -> None:
    four = ranks[3]
    model = model_of(four.place)
    opt = AdamW(model.parameters(), state_format="float8", average=0.9)
    train(model, opt, four.place, (1, 2))
    file = four.folder / f"own{dist.get_rank()}.pt"
    torch.save(opt.state_dict(), file)
    other = AdamW(model.parameters(), state_format="float8", average=0.9)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert different(everything(model, other), everything(model, opt)) == []


def check_the_state_of_one_process_loads_into_shards(ranks: Sequence[Ranks]) -> None:
    """Of every format into every format, in the order of the dimensions that it was saved in."""
    plain = model_of()
    for source in FOR_ADAM:
        opt = AdamW(plain.parameters(), state_format=source, average=0.9)
        train(plain, opt, None, (1, 2))
        saved = {name: p.detach().clone() for name, p in plain.named_parameters()}
        for target in FOR_ADAM:
            plain.load_state_dict(saved)
            expected = AdamW(plain.parameters(), state_format=target, average=0.9)
            expected.load_state_dict(copy.deepcopy(opt.state_dict()))
            train(plain, expected, None, (3,))
            for some in ranks[2:]:
                if some.includes_me:
                    model = model_of(some.place)
                    for p, value in zip(model.parameters(), saved.values(), strict=True):
                        with torch.no_grad():
                            p.copy_(some.place(value))
                    mine = AdamW(model.parameters(), state_format=target, average=0.9)
                    mine.load_state_dict(copy.deepcopy(opt.state_dict()))
                    train(model, mine, some.place, (3,))
                    wrong = different(everything(model, mine), everything(plain, expected))
                    assert wrong == [], f"{source} to {target} on {some.size}: {wrong}"


def check_meshes_of_two_dimensions_go_to_one(ranks: Sequence[Ranks]) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh, shapes = init_device_mesh("cpu", (2, 2)), SHAPES[:4]
    plain = model_of(shapes=shapes)
    expected = AdamW(plain.parameters(), state_format="float8", average=0.9)
    train(plain, expected, None, (1, 2))
    for dims in ((0, 0), (0, 1), (1, 0)):

        def place(x: Tensor, dims: tuple[int, int] = dims) -> Tensor:
            return distribute_tensor(x, mesh, [Shard(min(dim, x.dim() - 1)) for dim in dims])

        model = model_of(place, shapes=shapes)
        opt = AdamW(model.parameters(), state_format="float8", average=0.9)
        train(model, opt, place, (1, 2))
        ranks[3].save("two", model, opt)
        model = model_of(place, seed=2, shapes=shapes)
        opt = AdamW(model.parameters(), state_format="float8", average=0.9)
        ranks[3].load("two", model, opt)
        assert different(everything(model, opt), everything(plain, expected)) == [], str(dims)
        if ranks[2].includes_me:
            model = model_of(ranks[2].place, seed=2, shapes=shapes)
            opt = AdamW(model.parameters(), state_format="float8", average=0.9)
            ranks[2].load("two", model, opt)
            assert different(everything(model, opt), everything(plain, expected)) == [], str(dims)


def check_torchs_first_step_changes_nothing(ranks: Sequence[Ranks]) -> None:
    """With which torch.distributed.checkpoint makes a state to load into."""
    four = ranks[3]
    for name in FOR_ADAM:
        model = model_of(four.place)
        before = bits([whole(p) for p in model.parameters()])
        opt = AdamW(model.parameters(), state_format=name, average=0.9)
        get_optimizer_state_dict(model, opt)
        assert bits([whole(p) for p in model.parameters()]) == before
        averages = [whole(opt.state[p]["average"]) for p in model.parameters()]
        assert bits(averages) == before


def check_fully_sharded_training_goes_on(ranks: Sequence[Ranks]) -> None:
    """On as many ranks to the bit, on fewer to rounding: their sums of gradients are others."""
    four = ranks[3]

    def losses(some: Ranks, steps: int, load: bool = False, save: bool = False) -> list[float]:
        model, opt = _training(some)
        if load:
            some.load("training", model, opt)
        found = []
        for k in range(steps):
            x = randn(12, 40, seed=k if not load else k + 3)
            loss = model(x).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            found.append(float(loss.detach()))
        if save:
            some.save("training", model, opt)
        return found

    expected = losses(four, 6)
    assert losses(four, 3, save=True) == expected[:3]
    assert losses(four, 3, load=True) == expected[3:]
    for some in ranks[:3]:
        if some.includes_me:
            torch.testing.assert_close(losses(some, 3, load=True), expected[3:], rtol=1e-4, atol=0.0)


def _training(some: Ranks) -> tuple[nn.Module, Any]:
    """A small network, and its optimizer, by FSDP2; every rank has the same batch."""
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 130), nn.Tanh(), nn.Linear(130, 40))
    fully_shard(model, mesh=some.mesh)
    return model, AdamW(model.parameters(), lr=0.01, state_format="float8", average=0.9)


def _named(model: nn.Module, opt: Any) -> dict[str, Any]:
    """What torch would have saved of both."""
    found, state = get_state_dict(model, opt)
    return {"model": found, "optimizer": state}


CHECKS = {name.removeprefix("check_"): value for name, value in globals().items() if name[:6] == "check_"}


def run_checks(rank: int, folder: str, names: Sequence[str]) -> None:
    """Run the checks by name; what each raised goes to a file of this rank."""
    warnings.simplefilter("ignore")
    ranks = [Ranks(range(n + 1), Path(folder)) for n in range(SIZE)]
    raised = dict.fromkeys(names, "not run: a check before it failed")
    for name in names:
        try:
            CHECKS[name](ranks)
        except BaseException:
            raised[name] = traceback.format_exc()
            break  # the other ranks may wait for this one
        del raised[name]
        dist.barrier()
    Path(folder, f"raised{rank}.json").write_text(json.dumps(raised))


# Processes that are killed.


def _kill_me(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_me_after(owner: Any, name: str) -> None:
    """Let the next call of a method be the last thing that this process does."""
    method = getattr(owner, name)

    def last(*args: Any, **options: Any) -> None:
        method(*args, **options)
        _kill_me()

    setattr(owner, name, last)


# What kills a process in the middle of each; what it was doing; and which of two processes it is.
MOMENTS: dict[str, tuple[Callable[[Any], None], str, int]] = {
    "its part is written": (lambda opt: _kill_me_after(FileSystemWriter, "write_data"), "save", 1),
    "its part is read": (lambda opt: _kill_me_after(FileSystemReader, "read_data"), "load", 1),
    "a step begins": (lambda opt: opt.register_step_pre_hook(_kill_me), "step", 1),
    "the old folder is moved": (lambda opt: _kill_me_after(Path, "rename"), "save", 0),
}


def run_until_killed(rank: int, file: str, folder: str) -> None:
    """Be, of pairs of processes that do something together, the one that is killed, or the one that is not.

    The first process is in all pairs, and killed in the last; what the others then raise goes to a file.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    size = len(MOMENTS) + 1
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)
    pairs = [Ranks((0, k + 1), Path(folder)) for k in range(len(MOMENTS))]
    for pair, (moment, (arm, action, victim)) in zip(pairs, MOMENTS.items(), strict=True):
        if not pair.includes_me:
            continue
        model = model_of(pair.place)
        opt = AdamW(model.parameters(), state_format="float8", average=0.9)
        train(model, opt, pair.place, (1, 2))
        pair.save(moment, model, opt)
        before = [bits(p.to_local()) for p in model.parameters()]
        if (rank > 0) == victim:
            arm(opt)
        try:
            if action == "step":
                train(model, opt, pair.place, (3,))
            else:
                getattr(pair, action)(moment, model, opt)
        except RuntimeError as error:
            told = str(error)
            if action == "step":
                assert [bits(p.to_local()) for p in model.parameters()] == before, "a step took place in part"
        else:
            told = ""
        Path(folder, f"{moment}.told").write_text(told)
    os._exit(0)  # without a farewell to those who are gone
