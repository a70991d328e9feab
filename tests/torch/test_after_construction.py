"""Options that change under way: whatever torch takes after construction, with torch's numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    simple,
    train,
)

from adamas.rules import Rule

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_drop_in = pytest.mark.parametrize("name", DROP_IN)
VARIANTS = [name for name in OPTIMIZERS if name.partition("-")[0] in DROP_IN]


def torchs(name: str) -> Make:
    """The class of torch.optim that one of ours stands for, with the same options."""
    make = OPTIMIZERS[name]
    keywords = make.keywords if isinstance(make, functools.partial) else {}
    return functools.partial(getattr(torch.optim, name.partition("-")[0]), foreach=False, **keywords)


def beside_torch(name: str, change: Callable[[torch.optim.Optimizer], None], **options: Any) -> None:
    """Two steps, a change, three more: the numbers are torch's."""
    ours, theirs = simple(), simple()
    for make, params in ((OPTIMIZERS[name], ours), (torchs(name), theirs)):
        opt = make(params, **options)
        train(opt, params, range(2))
        change(opt)
        train(opt, params, range(2, 5))
    assert_rounding(ours, theirs)
    assert all(p.isfinite().all() for p in theirs)


# What torch takes after construction.


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("lr", [-2e-18, -0.1, 0.0, 3.0, -0.0])
def test_any_lr(name: str, lr: float) -> None:
    """A schedule may end below zero, by rounding (pytorch#68058)."""
    beside_torch(name, lambda opt: opt.param_groups[0].update(lr=lr))


@every_optimizer
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_tiny_negative_lr_in_every_class(make: Make, backend: str) -> None:
    """Less than half a unit in the last place of any parameter here: nothing moves, nothing raises."""
    params = simple()
    opt: Any = make(params, backend=backend, weight_decay=0.5)
    if type(opt.rule_of(opt.param_groups[0])).averaged is not Rule.averaged:
        pytest.skip("its average goes on")
    train(opt, params, range(2))
    before = bits(params)
    opt.param_groups[0]["lr"] = -2e-18
    train(opt, params, range(2, 4))
    assert bits(params) == before


@every_drop_in
def test_a_linear_schedule_to_nothing_and_beyond(name: str) -> None:
    """From .3 × lr in three steps LinearLR ends at about -2e-18."""
    last = []

    def schedule(opt: torch.optim.Optimizer) -> None:
        scheduler = lr_scheduler.LinearLR(opt, 0.3, 0.0, 3)
        for _ in range(3):
            opt.step()
            scheduler.step()
        last.append(opt.param_groups[0]["lr"])

    beside_torch(name, schedule, lr=0.1)
    assert last[0] == last[1]
    assert last[0] < 0


def changes() -> Iterator[tuple[str, dict[str, Any]]]:
    values: dict[str, list[Any]] = {
        "betas": [(0.5, 0.75), (-0.25, 0.9), [0.5, 0.75]],
        "eps": [0.5, 1],
        "weight_decay": [-0.1, 0.5, 1],
        "momentum": [-0.5, 0.25, 1.25],
        "dampening": [-0.5, 2.0],
        "alpha": [0.5, 1.0],
        "rho": [0.5, 1.0],
        "lr_decay": [0.5, -0.01],
        "momentum_decay": [0.5, -1e-3],
    }
    for name in VARIANTS:
        defaults = OPTIMIZERS[name](simple()).defaults
        for option in values.keys() & defaults.keys():
            for value in values[option]:
                if defaults.get("nesterov") and option in ("momentum", "dampening"):
                    continue
                # Torch's RMSprop makes no momentum buffer after its first step.
                if name.startswith("RMSprop") and option == "momentum" and not defaults[option] and value > 0:
                    continue
                yield name, {option: value}


@pytest.mark.parametrize(("name", "options"), sorted(changes(), key=str), ids=str)
def test_any_option(name: str, options: dict[str, Any]) -> None:
    beside_torch(name, lambda opt: opt.param_groups[0].update(options))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("RMSprop")])
def test_rmsprop_whose_average_forgets_nothing(name: str) -> None:
    """alpha = 1: square_avg stays at zero, and ε alone divides."""
    ours, theirs = simple(), simple()
    for make, params in ((OPTIMIZERS[name], ours), (torchs(name), theirs)):
        train(make(params, alpha=1, eps=0.5, lr=0.1), params, range(4))
    assert_rounding(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "name", [name for name in OPTIMIZERS if "betas" in OPTIMIZERS[name](simple()).defaults]
)
def test_betas_may_become_an_array(name: str, dtype: type[np.floating[Any]]) -> None:
    """It compares elementwise, and is read anew at every step."""
    params, plain = simple(), simple()
    opt, other = OPTIMIZERS[name](params), OPTIMIZERS[name](plain)
    train(opt, params, range(2))
    train(other, plain, range(2))
    count = len(opt.defaults["betas"])
    betas = np.array([0.5, 0.75, 0.625][:count], dtype)
    opt.param_groups[0]["betas"], other.param_groups[0]["betas"] = betas, (0.5, 0.75, 0.625)[:count]
    train(opt, params, range(2, 4))
    train(other, plain, range(2, 4))
    betas[:] = [0.25, 0.875, 0.75][:count]
    other.param_groups[0]["betas"] = (0.25, 0.875, 0.75)[:count]
    train(opt, params, range(4, 6))
    train(other, plain, range(4, 6))
    assert bits(params) == bits(plain)


# Numbers as 0-d tensors.


def numeric(make: Make) -> dict[str, Any]:
    """The options of an optimizer that are numbers, or pairs of them."""
    return {
        name: value
        for name, value in make(simple()).defaults.items()
        if not isinstance(value, bool) and isinstance(value, (int, float, tuple))
    }


OTHER = {"momentum": 0.5, "dampening": 0.25, "weight_decay": 0.125, "lr": 0.25}
TENSORS = [
    pytest.param(name, option, OTHER.get(option, 0.5), id=f"{name}-{option}")
    if not isinstance(default, tuple)
    else pytest.param(name, option, (0.5, 0.75, 0.625)[: len(default)], id=f"{name}-{option}")
    for name, make in OPTIMIZERS.items()
    for option, default in numeric(make).items()
    # Nesterov's momentum takes no dampening; the fields of a rule are given to the rule.
    if (name, option) not in [("SGD-nesterov", "dampening"), ("Optimizer", "beta")]
]


def as_tensor(value: Any, dtype: torch.dtype = torch.float32) -> Any:
    if isinstance(value, tuple):
        return tuple(as_tensor(x, dtype) for x in value)
    return torch.tensor(value, dtype=dtype)


@pytest.mark.parametrize(("name", "option", "value"), TENSORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_number_may_be_a_tensor(name: str, option: str, value: Any, dtype: torch.dtype) -> None:
    params, plain = simple(), simple()
    keywords = getattr(OPTIMIZERS[name], "keywords", {})
    make = getattr(OPTIMIZERS[name], "func", OPTIMIZERS[name])
    opt = make(params, **(keywords | {option: as_tensor(value, dtype)}))
    other = make(plain, **(keywords | {option: value}))
    train(opt, params, range(3))
    train(other, plain, range(3))
    assert bits(params) == bits(plain)


@pytest.mark.parametrize(("name", "option", "value"), TENSORS)
def test_every_number_may_become_a_tensor_that_changes_in_place(name: str, option: str, value: Any) -> None:
    if option == "initial_accumulator_value":
        pytest.skip("Adagrad reads it at construction only")
    params, plain = simple(), simple()
    opt, other = OPTIMIZERS[name](params), OPTIMIZERS[name](plain)
    train(opt, params, range(2))
    train(other, plain, range(2))
    tensor = as_tensor(value)
    opt.param_groups[0][option] = tensor
    for factor in (1.0, 0.5, 0.5):
        for x in tensor if isinstance(tensor, tuple) else (tensor,):
            x.mul_(factor)
        value = tuple(x * factor for x in value) if isinstance(value, tuple) else value * factor
        other.param_groups[0][option] = value
        train(opt, params, range(2, 4))
        train(other, plain, range(2, 4))
    assert bits(params) == bits(plain)
