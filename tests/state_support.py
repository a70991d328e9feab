"""What the tests of state in storage formats share: formats that optimizers take, and what a state holds."""

from __future__ import annotations

import io
from typing import Any

import torch
from code_support import magnitudes, smallest
from torch import Tensor
from torch_support import Make, leaf, randn

from adamas import formats
from adamas.torch import Adam

# All that `state_format` takes: a format that is added is tested without being named here.
FORMATS = [name for name in formats.names() if name != "float64"]
STORED = [name for name in FORMATS if name != "float32"]
LARGE, SMALL = 4096, 4095  # where scales begin


def fits(make: Make, format: str) -> bool:
    """Whether an optimizer takes a format for all its slots."""
    try:
        make([leaf(torch.zeros(2))], state_format=format)
    except ValueError:
        return False
    return True


FOR_ADAM = [name for name in FORMATS if fits(Adam, name)]
STORED_FOR_ADAM = [name for name in FOR_ADAM if name != "float32"]
SCALED_FOR_ADAM = [name for name in FOR_ADAM if formats.get(name).scaled]


def large(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """A matrix laid out otherwise, a vector with a part of a block, and one too small for scales."""
    return [
        leaf(randn(70, 60, seed=1, dtype=torch.float32).to(dtype).t()),
        leaf(randn(4999, seed=2).to(dtype)),
        leaf(randn(9, seed=3).to(dtype)),
    ]


def keys_of(opt: Any, group: int = 0) -> list[str]:
    """The keys of the slots of the rule of a group."""
    return list(opt._slot_keys(opt.rule_of(opt.param_groups[group])))


def formats_in(opt: Any, p: Tensor) -> dict[str, str]:
    """The format in which each slot of a parameter is kept, read off the keys and dtypes of its state."""
    found, state = {}, opt.state[p]
    for key in keys_of(opt):
        for name in formats.names():
            if formats.get(name).scaled and f"{key}_{name}" in state:
                assert key not in state
                assert state[f"{key}_{name}_scale"].dtype == torch.float32
                found[key] = name
        if key in state:
            found[key] = formats.find(state[key].dtype)
    return found


def tensors_of(opt: torch.optim.Optimizer, p: Tensor) -> dict[str, Tensor]:
    """The tensors of a parameter's state but for counters."""
    return {key: x for key, x in opt.state[p].items() if torch.is_tensor(x) and x.dim()}


def stored_bytes(opt: torch.optim.Optimizer, p: Tensor) -> int:
    return sum(x.untyped_storage().nbytes() for x in tensors_of(opt, p).values())


def through_a_file(state_dict: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def loss_to(format: str, values: Tensor, signed: bool) -> tuple[float, float]:
    """The relative and absolute errors of values that are rounded to nearest in a format.

    Half a spacing; of scaled formats, where the scale and hence all codes move, and which have few codes or
    none near zero, also the smallest code of a block, for which the largest of all elements stands here.
    """
    if formats.get(format).encode is None:
        return 0.0, 0.0
    points = magnitudes(format, signed)
    upper = points[points >= points[-1] / 8] if formats.get(format).scaled else points[points >= 1]
    relative = float(((upper[1:] - upper[:-1]) / upper[:-1]).max()) / 2 * 1.01
    if not formats.get(format).scaled:
        return relative, smallest(format, signed)
    gap = max(
        smallest(format, signed), float((points[1:] - points[:-1])[points[1:] <= points[-1] / 8].max() / 2)
    )
    return relative, values.abs().max().item() * gap / float(points[-1])
