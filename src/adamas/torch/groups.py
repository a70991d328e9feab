"""Parameter groups by glob patterns on the names of a model's parameters."""

from __future__ import annotations

import difflib
import fnmatch
import sys
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["groups", "names_of"]

_KINDS = ("bias", "norm", "embedding")
_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

# The names under which torch.compile, activation checkpointing and FSDP1 keep the module they wrap.
_WRAPPED = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
# These keep it as "module", which a model may call one of its own.
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


@dataclass
class _Param:
    """A parameter, its names, of which a tied one has several, and the kinds that it is by any of them."""

    p: Tensor
    names: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)


def groups(
    model: nn.Module,
    patterns: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    no_decay: bool | Collection[str] = False,
) -> list[dict[str, Any]]:
    """The parameter groups of a model, for any torch optimizer, by patterns on the names of its parameters.

    `groups(model, {"*.bias": dict(weight_decay=0), "head.*": dict(lr=1e-4)})`: a parameter has the options of
    all patterns that match its name, and of each option the value of the last that gives one. Parameters with
    the same options share a group; an option that no pattern gives is the optimizer's default.

    Args:
        model: any module. Names are those of `model.named_parameters()`, without the prefixes of DDP,
            `torch.compile`, activation checkpointing and FSDP. A tied parameter is in one group, under its
            first name, and matches by any of its names. Frozen parameters are included, as in
            `model.parameters()`.
        patterns: options by pattern, in the order in which they apply. `*` matches any text, dots too, `?`
            one character and `[ab]` one of those; upper and lower case differ.
        no_decay: sets `weight_decay` to 0, after the patterns, for these kinds of parameters: "bias", "norm"
            and "embedding", or True for the three. A norm is a parameter of a normalization module of torch,
            or any other of at most one dimension; an embedding is that of an `Embedding` or `EmbeddingBag`;
            a bias has "bias" as the first or last word of its name.

    Returns:
        A dictionary a group, in the order of their first parameters: "params", a list of parameters;
        "param_names", a list of their names; and the options.

    Raises:
        ValueError: a pattern matches no parameter, or gives a weight decay that `no_decay` takes from all
            that it matches; a kind is not one of the three, or cannot be known (FSDP1, lazy parameters).
        TypeError: `model` is not a module, or the options of a pattern are not a dictionary of options.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"groups takes a torch.nn.Module, got {type(model).__name__}")
    patterns = {} if patterns is None else patterns
    for pattern, options in patterns.items():
        _check_options(pattern, options)
    chosen = _chosen_kinds(no_decay)
    if chosen:
        _check_dimensions(model)
    params = _params_of(model)
    exempt = [bool(param.kinds & chosen) for param in params]
    merged: list[dict[str, Any]] = [{} for _ in params]
    for pattern, options in patterns.items():
        found = _matches(pattern, params)
        if options.get("weight_decay") and all(exempt[place] for place in found):
            _raise_undone(pattern, [params[place] for place in found], chosen)
        for place in found:
            merged[place] |= options
    for options, none in zip(merged, exempt, strict=True):
        if none:
            options["weight_decay"] = 0.0
    return _grouped(params, merged)


def names_of(model: nn.Module) -> dict[int, str]:
    """The names that `groups` gives a model's parameters, by their identity, in the order of the model."""
    return {id(param.p): param.names[0] for param in _params_of(model)}


def _check_options(pattern: str, options: Any) -> None:
    if not isinstance(pattern, str) or not isinstance(options, Mapping):
        raise TypeError(
            f"a pattern is a string, and its options a dictionary such as dict(lr=1e-4), got "
            f"{pattern!r}: {options!r}"
        )
    for name in options:
        if not isinstance(name, str) or name in ("params", "param_names"):
            raise TypeError(
                f"the options of pattern {pattern!r} have {name!r}, which is no option of a group"
            )


def _chosen_kinds(no_decay: Any) -> set[str]:
    if isinstance(no_decay, bool):
        return set(_KINDS) if no_decay else set()
    chosen = {no_decay} if isinstance(no_decay, str) else set(no_decay)
    if wrong := chosen - set(_KINDS):
        raise ValueError(
            f"no_decay must be True, False, or some of {', '.join(map(repr, _KINDS))}, got {wrong.pop()!r}"
        )
    return chosen


def _check_dimensions(model: nn.Module) -> None:
    """Raise a ValueError where a parameter does not have the dimensions that it is used with."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is not None and any(isinstance(m, fsdp.FullyShardedDataParallel) for m in model.modules()):
        raise ValueError(
            "no_decay goes by dimensions, and FullyShardedDataParallel makes parameters flat: use "
            "fully_shard (FSDP2), or patterns with weight_decay=0"
        )
    for name, p in model.named_parameters():
        if is_lazy(p):
            raise ValueError(f"no_decay goes by dimensions, and {name!r} has none yet: call the model once")


def _params_of(model: nn.Module) -> list[_Param]:
    """The parameters in the order of `model.named_parameters()`."""
    found: dict[int, _Param] = {}
    for path, module in _plain_modules(model):
        for own, p in module.named_parameters(recurse=False, remove_duplicate=False):
            param = found.setdefault(id(p), _Param(p))
            param.names.append(f"{path}.{own}" if path else own)
            param.kinds |= _kinds_of(p, own, module)
    return list(found.values())


def _plain_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules under all their names, without what wrappers put into them."""
    modules: dict[str, nn.Module] = {}
    plain: dict[str, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        parent, _, own = path.rpartition(".")
        wrapped = own in _WRAPPED or (own == "module" and isinstance(modules[parent], _PARALLEL))
        above = plain.get(parent, "")
        modules[path], plain[path] = module, above if wrapped else f"{above}.{own}" if above else own
        yield plain[path], module


def _kinds_of(p: Tensor, name: str, module: nn.Module) -> set[str]:
    """The kinds of parameters that are usually not decayed, of which this is one."""
    words = name.split("_")
    kinds = {"bias"} if "bias" in (words[0], words[-1]) else set()
    if isinstance(module, _EMBEDDINGS):
        kinds.add("embedding")
    if isinstance(module, _NORMS) or not (kinds or is_lazy(p) or p.dim() > 1):
        kinds.add("norm")
    return kinds


def _matches(pattern: str, params: Sequence[_Param]) -> list[int]:
    """The places of the parameters with a name that the pattern matches."""
    found = [
        place
        for place, param in enumerate(params)
        if any(fnmatch.fnmatchcase(name, pattern) for name in param.names)
    ]
    if not found:
        names = [name for param in params for name in param.names]
        nearest = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
        raise ValueError(
            f"pattern {pattern!r} matches no parameter; the nearest names are "
            f"{', '.join(map(repr, nearest)) or 'none: the model has no parameters'}"
        )
    return found


def _raise_undone(pattern: str, params: Sequence[_Param], chosen: set[str]) -> None:
    left = [kind for kind in _KINDS if kind in chosen and not any(kind in param.kinds for param in params)]
    raise ValueError(
        f"pattern {pattern!r} gives a weight_decay, and no_decay sets it to 0 for all that it matches: leave "
        f"it out, or name what is not to decay: no_decay={left or False}"
    )


def _grouped(params: Sequence[_Param], merged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A group for each set of options."""
    found: dict[Hashable, dict[str, Any]] = {}
    for param, options in zip(params, merged, strict=True):
        key = frozenset((name, _identity(value)) for name, value in options.items())
        group = found.setdefault(key, {"params": [], "param_names": [], **options})
        group["params"].append(param.p)
        group["param_names"].append(param.names[0])
    return list(found.values())


def _identity(value: Any) -> Hashable:
    """A value that is equal for equal options; of what cannot be hashed, for the same object alone."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value  # type: ignore[no-any-return]
