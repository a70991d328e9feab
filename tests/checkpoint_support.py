"""What the ranks of the tests of distributed checkpoints run: each `check_*` by itself, all in one group.

Every check is one test of `torch/test_distributed_checkpoints.py`; starting processes is most of their cost.
"""

from __future__ import annotations

import functools
import json
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from state_support import FOR_ADAM
from torch import Tensor, nn
from torch_support import OPTIMIZERS, Make, bits, randn

from adamas.torch import AdamW, load_checkpoint, save_checkpoint

SIZE = 4
# Shards of every kind: on four ranks blocks are cut of the second and third, on three of the third; the last is
# too small for scales, and the one before lies transposed.
SHAPES = ((12, 384), (100, 64), (5000,), (6, 10, 11, 8), (64, 70), (7, 3))
Place = Callable[[Tensor], Tensor]


class Ranks:
    """The processes 0 to n - 1, of which this one may be one.

    Attributes:
        size: n.
        mesh, group: of those processes.
        folder: where checkpoints go.
    """

    def __init__(self, size: int, folder: Path) -> None:
        from torch.distributed.device_mesh import DeviceMesh

        self.size, self.folder = size, folder
        self.mesh = DeviceMesh("cpu", list(range(size)))
        self.group = dist.new_group(list(range(size)))

    @property
    def includes_me(self) -> bool:
        return dist.get_rank() < self.size

    def place(self, x: Tensor) -> Tensor:
        """The tensor cut along its rows."""
        from torch.distributed.tensor import Shard, distribute_tensor

        return distribute_tensor(x, self.mesh, [Shard(0)])

    def save(self, name: str, model: nn.Module, opt: Any, **options: Any) -> None:
        save_checkpoint(self.folder / name, model, opt, process_group=self.group, **options)

    def load(self, name: str, model: nn.Module, opt: Any, **options: Any) -> None:
        load_checkpoint(self.folder / name, model, opt, process_group=self.group, **options)


def model_of(place: Place | None = None, seed: int = 1, shapes: Sequence[Sequence[int]] = SHAPES) -> nn.Module:
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
        found |= {f"{name}.{key}": bits(whole(x)) for key, x in opt.state.get(p, {}).items()}
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


def _goes_on(ranks: Sequence[Ranks], make: Make, name: str, **options: Any) -> None:
    """What four ranks saved is loaded on each of these numbers, and goes on as if nothing had happened."""
    _saved_on_four(ranks, make, name, **options)
    model = model_of()
    opt = make(model.parameters(), **options)
    train(model, opt, None, (1, 2))
    two_steps = everything(model, opt)
    train(model, opt, None, (3,))
    three_steps = everything(model, opt)
    for some in ranks:
        if some.includes_me:
            model = model_of(some.place, seed=2)
            opt = make(model.parameters(), **options)
            some.load(name, model, opt)
            wrong = different(everything(model, opt), two_steps)
            assert wrong == [], f"{name} {options} loaded on {some.size}: {wrong}"
            train(model, opt, some.place, (3,))
            wrong = different(everything(model, opt), three_steps)
            assert wrong == [], f"{name} {options}, a step on {some.size}: {wrong}"


# The checks.


def check_every_format_goes_on_on_any_number_of_ranks(ranks: Sequence[Ranks]) -> None:
    for name in FOR_ADAM:
        _goes_on(ranks, AdamW, "formats", state_format=name, average=0.9)


def check_every_rule_goes_on_on_three_ranks(ranks: Sequence[Ranks]) -> None:
    for name, make in OPTIMIZERS.items():
        try:
            make([nn.Parameter(torch.zeros(2))], state_format="float8")
        except ValueError:
            _goes_on(ranks[2:3] + ranks[3:], make, f"rule {name}")
        else:
            _goes_on(ranks[2:3] + ranks[3:], make, f"rule {name}", state_format="float8")


def check_formats_are_converted_on_loading(ranks: Sequence[Ranks]) -> None:
    """As a whole optimizer converts them; torch's own checkpoint too."""
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
            expected.load_state_dict(saved.state_dict())
            train(plain, expected, None, (3,))
            for some in ranks[1:3]:
                if some.includes_me:
                    model = model_of(some.place, seed=2)
                    opt = AdamW(model.parameters(), **options)
                    some.load("source", model, opt)
                    train(model, opt, some.place, (3,))
                    found = different(everything(model, opt), everything(plain, expected))
                    assert found == [], f"{source} to {target} on {some.size}: {found}"


CHECKS = {name.removeprefix("check_"): value for name, value in globals().items() if name[:6] == "check_"}


def run_checks(rank: int, folder: str, names: Sequence[str]) -> None:
    """Run the checks by name; what each raised goes to a file of this rank."""
    warnings.simplefilter("ignore")
    ranks = [Ranks(n + 1, Path(folder)) for n in range(SIZE)]
    raised = {}
    for name in names:
        try:
            CHECKS[name](ranks)
        except BaseException:
            raised[name] = traceback.format_exc()
            break  # the other ranks may wait for this one
        dist.barrier()
    Path(folder, f"raised{rank}.json").write_text(json.dumps(raised))
