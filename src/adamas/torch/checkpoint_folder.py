"""Checkpoints in folders, which any number of processes write and read.

The folders are those of torch.distributed.checkpoint, with torch's names. It loads into tensors that it is
given, which torch has an optimizer make in a step; here they are made as the checkpoint has them, whatever
the optimizer's own format, and the next step converts.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import formats
from .checkpoint import Checkpoints
from .mesh import empty_state, spread_of

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: Checkpoints,
    *,
    for_torch: bool = False,
    process_group: Any = None,
    **others: Any,
) -> None:
    """Write a model and its optimizer to a folder, each process its shards; all of it, or nothing.

    The folder is written beside its place, with ".partial" after its name, and put there at the end. Whenever
    a process stops, the checkpoint that was there before is whole: in its place, or, for the moment of the
    change, with ".previous" after its name, where `load_checkpoint` finds it.

    Args:
        path: the folder, on a disk that all processes see. A checkpoint that is there already is replaced.
        model: its parameters and buffers are saved by name.
        optimizer: one whose parameters are all the model's.
        for_torch: write what torch.optim's class of the same name loads: state in float32, without averages.
        process_group: the processes that save, each of which must call; by default all.
        others: by a name for each, what else is part of the checkpoint, with a `state_dict` and a
            `load_state_dict`, such as a scheduler.

    Raises:
        ValueError: the optimizer has a parameter that the model has not.
        RuntimeError: a process could not write its part; what was there before is as it was.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict import get_model_state_dict
    from torch.distributed.checkpoint.state_dict_saver import save

    names = [name for group in _names(model, optimizer) for name in group]
    state = optimizer.torch_state_dict() if for_torch else optimizer.state_dict()
    state["state"] = {names[number]: each for number, each in state["state"].items()}
    for group in state["param_groups"]:
        group["params"] = [names[number] for number in group["params"]]
    place = Path(path).absolute()
    partial = _beside(place, "partial")
    _by_first(process_group, lambda: _remove(partial))
    parts = {"model": get_model_state_dict(model), "optimizer": state, **others}
    with _told(f"the checkpoint {str(place)!r} was not written, and what was there is as it was"):
        save(parts, storage_writer=FileSystemWriter(partial), process_group=process_group)
    _by_first(process_group, lambda: _replace(place, partial))


def load_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: Checkpoints,
    *,
    process_group: Any = None,
    **others: Any,
) -> None:
    """Read a model and its optimizer from a folder, into any number of processes and any format of state.

    The state may be in another format than the optimizer's, or be torch.optim's, or have no averages: the
    next step converts it, and makes what is missing. Options of groups are the checkpoint's, as in torch.

    Args:
        path: a folder that `save_checkpoint` wrote, or torch.distributed.checkpoint with the model's state
            under "model" and the optimizer's, not flattened, under "optimizer".
        model, optimizer, process_group, others: as of `save_checkpoint`.

    Raises:
        FileNotFoundError: there is no whole checkpoint.
        ValueError: groups, shapes or slots do not match; nothing has changed.
        RuntimeError: the model does not match, and nothing has changed; or a process could not read its part,
            and the model may be read in part.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
    from torch.distributed.checkpoint.state_dict_loader import load

    place = _readable(Path(path).absolute())
    names = _names(model, optimizer)
    read = {"optimizer": _as_saved(FileSystemReader(place).read_metadata(), names, optimizer)}

    def fill(parts: dict[str, Any]) -> None:
        with _told(f"the checkpoint {str(place)!r} cannot be loaded"):
            load(parts, storage_reader=FileSystemReader(place), process_group=process_group)

    fill(read)
    state = _numbered(read["optimizer"], names)
    optimizer.check_loaded(state)
    parts = {"model": get_model_state_dict(model), **others}
    fill(parts)
    set_model_state_dict(model, parts["model"])
    optimizer.load_state_dict(state)


# Names.


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The names of the parameters of each group, as torch's checkpoints have them.

    Torch names the parameters of any optimizer that has a state, and lets one without take a step.
    """
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ValueError("FSDP1's flat parameters have no names of their own: use FSDP2's fully_shard")
    known = set(model.parameters())
    for k, group in enumerate(optimizer.param_groups):
        for p in group["params"]:
            if p not in known:
                raise ValueError(
                    f"a parameter of shape {tuple(p.shape)} in group {k} is not one of the model's, and a "
                    f"checkpoint knows parameters by their names in the model"
                )
    params = [list(group["params"]) for group in optimizer.param_groups]
    if not any(params):
        return params
    stand_in = torch.optim.SGD([{"params": each} for each in params])
    stand_in.state[next(p for each in params for p in each)] = {"step": torch.zeros(())}
    named: Any = get_optimizer_state_dict(model, stand_in)["param_groups"]
    return [list(group["params"]) for group in named]


def _numbered(saved: Mapping[str, Any], names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The loaded state as `load_state_dict` takes it: by the optimizer's groups, and the places in them."""
    group_of = {name: k for k, group in enumerate(saved["param_groups"]) for name in group["params"]}
    numbers = {name: n for n, name in enumerate(name for group in names for name in group)}
    groups = []
    for k, mine in enumerate(names):
        if missing := [name for name in mine if name not in group_of]:
            raise ValueError(f"the checkpoint has no optimizer state of {missing[0]!r}; nothing was loaded")
        theirs = {group_of[name]: name for name in mine} or {min(k, len(saved["param_groups"]) - 1): ""}
        if len(theirs) > 1:
            raise ValueError(
                f"{' and '.join(map(repr, theirs.values()))} are in one parameter group, and in two of the "
                f"checkpoint; nothing was loaded"
            )
        options = {key: x for key, x in saved["param_groups"][min(theirs)].items() if key != "param_names"}
        groups.append({**options, "params": [numbers[name] for name in mine]})
    state = {numbers[name]: each for name, each in saved["state"].items()}
    return {"state": state, "param_groups": groups}


# Tensors to load into.


def _as_saved(metadata: Any, names: Sequence[Sequence[str]], optimizer: Checkpoints) -> dict[str, Any]:
    """The optimizer's part of a checkpoint, its tensors without values and the rest without anything."""
    given = [p for group in optimizer.param_groups for p in group["params"]]
    params = dict(zip([name for group in names for name in group], given, strict=True))
    saved: dict[str, Any] = {"state": {}, "param_groups": []}
    for key, stored in metadata.state_dict_metadata.items():
        part, *path = metadata.planner_data[key]
        if part != "optimizer" or (path[0] == "state" and path[1] not in params):
            continue
        if path[0] not in saved:
            raise ValueError(
                f"the checkpoint's optimizer state is flattened ({key!r}); load it with torch's dcp.load and "
                f"set_optimizer_state_dict, or save it without flatten_optimizer_state_dict"
            )
        value = None
        if hasattr(stored, "properties"):  # a tensor
            ordered = f"{key.removesuffix('_scale')}_order" in metadata.state_dict_metadata
            p = params[path[1]] if path[0] == "state" else None
            value = _empty(p, path[-1], stored.size, stored.properties.dtype, ordered)
        _put(saved, path, value)
    return saved


def _empty(p: Tensor | None, key: Any, shape: Sequence[int], dtype: torch.dtype, ordered: bool) -> Tensor:
    """A tensor of the state of `p`, placed as the parameter is where a step could use it so.

    Codes and scales of blocks that shards would cut, or that were made in an order of the dimensions, are
    whole in every process.
    """
    spread, scaled = None if p is None else spread_of(p), _is_scaled(key)
    if p is None or not shape:
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")
    if spread is None or (tuple(shape) != spread.shape and not scaled):
        return torch.empty(tuple(shape), dtype=dtype, device=p.device)
    whole = scaled and (spread.cuts_blocks or spread.order is not None or ordered)
    return empty_state(p, spread, shape, dtype, whole)


def _is_scaled(key: str) -> bool:
    """Whether a key names codes or scales."""
    scaled = [name for name in formats.names() if formats.get(name).scaled]
    return any(key.endswith((f"_{name}", f"_{name}_scale")) for name in scaled)


def _put(tree: Any, path: Sequence[str | int], value: Any) -> None:
    """Put a value at the end of a path of keys, and of numbers in lists, into nested containers."""
    for key, following in pairwise(path):
        inner: Any = [] if isinstance(following, int) else {}
        if isinstance(tree, dict):
            tree = tree.setdefault(key, inner)
            continue
        tree.extend([None] * (int(key) + 1 - len(tree)))
        tree[key] = tree = inner if tree[key] is None else tree[key]
    if isinstance(tree, list):
        tree.extend([None] * (int(path[-1]) + 1 - len(tree)))
    tree[path[-1]] = value


# Folders.


def _beside(place: Path, state: str) -> Path:
    return place.with_name(f"{place.name}.{state}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _replace(place: Path, partial: Path) -> None:
    """Put a new checkpoint in the place of one that may be there; at every moment one of them is found."""
    previous = _beside(place, "previous")
    if place.exists():
        _remove(previous)
        place.rename(previous)
    partial.rename(place)
    _remove(previous)


def _readable(place: Path) -> Path:
    """The folder of a whole checkpoint: the place itself, or where a process that was killed left it."""
    previous = _beside(place, "previous")
    if place.exists():
        return place
    if not previous.exists():
        raise FileNotFoundError(f"there is no checkpoint {str(place)!r}")
    warnings.warn(
        f"a save was interrupted: there is no checkpoint {str(place)!r}, and the one before, "
        f"{str(previous)!r}, is loaded",
        stacklevel=3,
    )
    return previous


# Processes.


def _by_first(process_group: Any, action: Callable[[], None]) -> None:
    """Let the first process act, and the others wait for it; what it raises all raise."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        action()
        return
    outcome: list[OSError | None] = [None]
    if dist.get_rank(process_group) == 0:
        try:
            action()
        except OSError as error:
            outcome = [error]
    dist.broadcast_object_list(outcome, group=process_group, group_src=0)
    if outcome[0] is not None:
        raise RuntimeError(f"the first process could not change the folder: {outcome[0]}") from outcome[0]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raise torch's collected errors of all processes, which are no `Exception`, as a RuntimeError."""
    from torch.distributed.checkpoint.api import CheckpointException

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        try:
            yield
        except CheckpointException as error:
            causes = dict.fromkeys(str(cause) for cause, _ in error.failures.values())
            raise RuntimeError(f"{what}: {'; '.join(causes)}") from error
