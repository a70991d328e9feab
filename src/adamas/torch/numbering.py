"""The numbers that tell the random bits of one parameter from those of another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch import Tensor

from .options import Groups

__all__ = ["numbers_of", "plain_name"]

# What wrappers put into the names of parameters.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def plain_name(name: str) -> str:
    """A parameter's name in the model itself, whatever wraps that or its parts."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    return ".".join(parts) or name


def numbers_of(params: Sequence[Tensor], groups: Groups) -> dict[int, int]:
    """The number of each parameter by its identity: its place in the optimizer, or a hash of its name.

    Raises:
        ValueError: names are asked for, and a parameter has none.
    """
    if groups.numbers is not None:
        return dict(groups.numbers)
    key_by = groups.options.key_by
    if key_by == "number":
        return {id(p): n for n, p in enumerate(params)}
    names = _given_names(groups) if key_by == "name" else {id(p): name for name, p in key_by.items()}
    for p in params:
        if id(p) not in names:
            raise ValueError(
                f"key_by finds no name for a parameter of shape {tuple(p.shape)}: construct the optimizer "
                f"with model.named_parameters(), or pass key_by=dict(model.named_parameters())"
            )
    return {id(p): _hash(plain_name(names[id(p)])) for p in params}


def _given_names(groups: Groups) -> Mapping[int, str]:
    pairs = [
        (p, name)
        for group in groups.param_groups
        for p, name in zip(group["params"], group.get("param_names", ()), strict=False)
    ]
    return {id(p): name for p, name in pairs}


def _hash(name: str) -> int:
    """63 bits of a name, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1
