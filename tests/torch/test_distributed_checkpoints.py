"""Checkpoints that any number of processes write and read, through torch.distributed.checkpoint."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from state_support import FOR_ADAM, FORMATS, fits
from torch import nn
from torch_support import OPTIMIZERS, Make, bits, randn

if not dist.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

import checkpoint_support
from checkpoint_support import CHECKS, MOMENTS, SIZE, different, everything, model_of, train
from process_support import WAIT, in_processes
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

from adamas.rules import Rule
from adamas.torch import AdamW, Lion, load_checkpoint, save_checkpoint


def trained(**options: Any) -> tuple[nn.Module, AdamW]:
    model = model_of()
    opt = AdamW(model.parameters(), **options)
    train(model, opt, None, (1, 2))
    return model, opt


# In many processes.


@pytest.fixture(scope="module")
def raised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """For each check, the tracebacks of the ranks on which it failed."""
    folder = tmp_path_factory.mktemp("ranks")
    in_processes(checkpoint_support.run_checks, str(folder / "store"), str(folder), list(CHECKS), size=SIZE)
    found = [json.loads((folder / f"raised{rank}.json").read_text()) for rank in range(SIZE)]
    return {name: [each[name] for each in found if name in each] for name in CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_four_processes(name: str, raised: dict[str, list[str]]) -> None:
    assert raised[name] == [], "\n".join(raised[name])


@pytest.fixture(scope="module")
def bereaved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that processes leave that lost another."""
    folder = tmp_path_factory.mktemp("bereaved")
    arguments = (str(folder / "store"), str(folder))
    context = mp.get_context("spawn")
    processes = [
        context.Process(target=checkpoint_support.run_until_killed, args=(rank, *arguments))
        for rank in range(len(MOMENTS) + 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(WAIT)
    waiting = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for rank in waiting:
        processes[rank].kill()
    assert waiting == [], f"these ranks waited for ever for one that was killed: {waiting}"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_leaves_an_error_and_whole_checkpoints(moment: str, bereaved: Path) -> None:
    """In the process that it was with; on the disk is the checkpoint before, and the next one replaces it."""
    assert (bereaved / f"{moment}.told").read_text() != ""
    expected, saved = trained(state_format="float8", average=0.9)
    model = model_of(seed=2)
    opt = AdamW(model.parameters(), state_format="float8", average=0.9)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a save was interrupted")
        load_checkpoint(bereaved / moment, model, opt)
    assert different(everything(model, opt), everything(expected, saved)) == []
    save_checkpoint(bereaved / moment, model, opt)
    assert [each.name for each in bereaved.glob(f"{moment}*") if each.is_dir()] == [moment]
    load_checkpoint(bereaved / moment, model, opt)


# In one process, which needs no group.


def first_step_of_torch(make: Make, dtype: torch.dtype = torch.float32, **options: Any) -> None:
    """Torch's zero gradients and lr 0, by which an optimizer makes a state to load into, change nothing."""
    shapes = ((70, 64), (5000,), (9,), ())
    params = [nn.Parameter(randn(*shape, seed=k).to(dtype)) for k, shape in enumerate(shapes)]
    model = nn.ParameterList(params)
    with torch.no_grad():
        params[0][0, 0] = -0.0
    before, values = bits(params), [p.detach().clone() for p in params]
    opt: Any = make(model.parameters(), **options)
    opt.state.clear()  # Adagrad has one from the start, and torch takes no step then
    get_optimizer_state_dict(model, opt)
    if hasattr(opt, "rule_of") and type(opt.rule_of(opt.param_groups[0])).averaged is not Rule.averaged:
        params[0].data[0, 0] = -0.0  # a step between two points makes it 0.0
        assert all(torch.equal(p, x) for p, x in zip(params, values, strict=True))
    assert bits(params) == before
    assert not opt.state or opt.state.keys() == set(params)  # plain descent has none
    for p in params:
        tensors = {key: x for key, x in opt.state[p].items() if torch.is_tensor(x)}
        assert not any(x.isnan().any() for x in tensors.values() if x.is_floating_point())
        if "average" in options:
            assert torch.equal(tensors["average"], p.detach().to(tensors["average"].dtype))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_torchs_first_step_changes_nothing(make: Make, format: str) -> None:
    if fits(make, format):
        first_step_of_torch(make, state_format=format)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_averages_are_the_parameters_then(make: Make) -> None:
    first_step_of_torch(make, average=0.9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("format", FOR_ADAM)
def test_averages_are_the_parameters_then_in_every_format(format: str, dtype: torch.dtype) -> None:
    first_step_of_torch(AdamW, dtype, state_format=format, average=0.9)


def test_saving_takes_no_step(tmp_path: Path) -> None:
    """Not even before the first, where torch's function counts one."""
    model = model_of()
    opt = AdamW(model.parameters())
    save_checkpoint(tmp_path / "new", model, opt)
    load_checkpoint(tmp_path / "new", model, opt)
    assert not opt.state
    train(model, opt, None, (1, 2))
    assert different(everything(model, opt), everything(*trained())) == []


def test_parameters_are_found_by_name(tmp_path: Path) -> None:
    """In whatever order, and with other groups' options left alone."""
    model = model_of()
    names = dict(model.named_parameters())
    groups = [
        {"params": list(names.values())[:2], "lr": 0.5},
        {"params": list(names.values())[2:], "lr": 0.25},
    ]
    opt = AdamW(groups)
    train(model, opt, None, (1, 2))
    save_checkpoint(tmp_path / "named", model, opt)
    expected = everything(model, opt)
    other = model_of(seed=2)
    params = list(other.parameters())
    opt = AdamW([{"params": [("six", params[5]), ("three", params[2])]}, {"params": [("two", params[1])]}])
    load_checkpoint(tmp_path / "named", other, opt)
    assert [group["lr"] for group in opt.param_groups] == [0.25, 0.5]
    assert [group["param_names"] for group in opt.param_groups] == [["six", "three"], ["two"]]
    found = everything(other, opt)
    assert [name for name in found if found[name] != expected[name]] == []
    assert {name for name in found if name.endswith("exp_avg")} == {"p5.exp_avg", "p2.exp_avg", "p1.exp_avg"}


def test_what_else_belongs_to_a_checkpoint(tmp_path: Path) -> None:
    model, opt = trained()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
    train(model, opt, None, (3,))
    scheduler.step()
    save_checkpoint(tmp_path / "all", model, opt, scheduler=scheduler)
    model, opt = trained()
    other = torch.optim.lr_scheduler.ExponentialLR(opt, 0.25)
    load_checkpoint(tmp_path / "all", model, opt, scheduler=other)
    assert other.state_dict() == scheduler.state_dict()
    assert opt.param_groups[0]["lr"] == 5e-4


def mismatches() -> dict[str, Any]:
    """Models and optimizers that do not match the checkpoint, and what the error says."""
    one, two, other, more = model_of(), model_of(), model_of(seed=2), model_of()
    more.register_parameter("p9", nn.Parameter(torch.zeros(3)))
    params = list(two.parameters())
    smaller = nn.ParameterDict({**model_of(), "p5": nn.Parameter(torch.zeros(7, 4))})
    return {
        "is not one of the model's": (one, AdamW(other.parameters())),
        "two of the checkpoint": (two, AdamW(params)),
        "no optimizer state of 'p9'": (more, AdamW([more.p9])),
        "another optimizer's": (one, Lion(list(one.parameters())[:2])),
        "has shape (7, 3), the parameter (7, 4)": (smaller, AdamW([smaller.p5])),
        "Missing key in checkpoint state_dict: model.p9": (more, AdamW(list(more.parameters())[:2])),
    }


@pytest.mark.parametrize("said", mismatches())
def test_what_does_not_match_is_refused(said: str, tmp_path: Path) -> None:
    saved = model_of()
    params = list(saved.parameters())
    opt = AdamW([{"params": params[:2]}, {"params": params[2:]}])
    train(saved, opt, None, (1, 2))
    save_checkpoint(tmp_path / "saved", saved, opt)
    model, mine = mismatches()[said]
    before = everything(model, mine)
    with pytest.raises((ValueError, RuntimeError), match=re.escape(said)):
        load_checkpoint(tmp_path / "saved", model, mine)
    assert different(everything(model, mine), before) == []


def test_a_flattened_checkpoint_is_refused(tmp_path: Path) -> None:
    model, opt = trained()
    flat = get_optimizer_state_dict(model, opt, options=StateDictOptions(flatten_optimizer_state_dict=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.save({"model": model.state_dict(), "optimizer": flat}, checkpoint_id=tmp_path / "flat")
    with pytest.raises(ValueError, match="flattened"):
        load_checkpoint(tmp_path / "flat", model, opt)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    model, opt = trained()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere", model, opt)


@pytest.mark.parametrize("last", range(4))
def test_a_whole_checkpoint_is_there_at_every_moment(
    last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save may end at any of the changes to folders: the one before is read, and the next save works."""
    model, opt = trained()
    save_checkpoint(tmp_path / "kept", model, opt)
    expected = everything(model, opt)
    train(model, opt, None, (3,))
    calls = itertools.count()

    def until_the_last(method: Any) -> Any:
        def changed(*args: Any, **options: Any) -> Any:
            if str(tmp_path) in str(args[0]) and ".metadata" not in str(args[0]) and next(calls) == last:
                raise KeyboardInterrupt
            return method(*args, **options)

        return changed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", until_the_last(Path.rename))
        patch.setattr(shutil, "rmtree", until_the_last(shutil.rmtree))
        if last < 3:
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path / "kept", model, opt)
        else:
            save_checkpoint(tmp_path / "kept", model, opt)
    finished = last >= 2  # what is left to do then is to remove the one before
    other = AdamW((mine := model_of(seed=2)).parameters())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_checkpoint(tmp_path / "kept", mine, other)
    assert any("a save was interrupted" in str(each.message) for each in seen) == (last == 1)
    assert different(everything(mine, other), everything(model, opt) if finished else expected) == []
    save_checkpoint(tmp_path / "kept", model, opt)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    load_checkpoint(tmp_path / "kept", mine, other)
    assert different(everything(mine, other), everything(model, opt)) == []
