"""State and options in places where they do not belong: one error that says where they go."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch_support import OPTIMIZERS, Make, bits, everything, give_gradients, simple, train

import adamas.torch

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


# Checkpoints of another class.


def slot_keys(make: Make) -> set[str]:
    params = simple()
    opt = make(params)
    train(opt, params, range(1))
    return {key for key, x in opt.state[params[0]].items() if torch.is_tensor(x) and x.dim()}


KEYS: dict[str, set[str]] = {}
for _name, _make in OPTIMIZERS.items():
    KEYS.setdefault(_name.partition("-")[0], set()).update(slot_keys(_make))
FOREIGN = [
    pytest.param(source, target, id=f"{source} into {target}")
    for source in OPTIMIZERS
    for target in OPTIMIZERS
    if slot_keys(OPTIMIZERS[source]) - KEYS[target.partition("-")[0]] and source != "Optimizer"
]


@pytest.mark.parametrize(("source", "target"), FOREIGN)
def test_state_that_no_slot_takes_is_not_loaded(source: str, target: str) -> None:
    """A moment that nobody reads would be a momentum lost in silence."""
    params = simple()
    opt, other = OPTIMIZERS[source](simple()), OPTIMIZERS[target](params)
    train(opt, opt.param_groups[0]["params"], range(2))
    train(other, params, range(2))
    saved, before = copy.deepcopy(opt.state_dict()), everything(other)
    lost = slot_keys(OPTIMIZERS[source]) - KEYS[target.partition("-")[0]]
    with pytest.raises(ValueError, match="|".join(f"'{key}'" for key in sorted(lost))):
        other.load_state_dict(saved)
    assert everything(other) == before
    train(other, params, range(2, 3))


def test_the_cases_of_foreign_state() -> None:
    """Those that users run into are among them."""
    pairs = {(case.values[0], case.values[1]) for case in FOREIGN}
    assert {("Adam", "Lion"), ("Adam", "SGD"), ("SGD-momentum", "Adam"), ("AdamW", "RMSprop")} <= pairs
    assert not {("Adam", "AdamW"), ("Adam", "AMSGrad"), ("RMSprop-both", "RMSprop")} & pairs


@every_optimizer
def test_a_users_own_buffer_is_loaded(make: Make) -> None:
    params, again = simple(), simple()
    opt, other = make(params), make(again)
    train(opt, params, range(2))
    for p in params:
        opt.state[p]["slow_weights"] = p.detach() * 2
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    for p, q in zip(params, again, strict=True):
        assert bits(other.state[q]["slow_weights"]) == bits(opt.state[p]["slow_weights"])
    train(other, again, range(2))


# Options in the wrong place.

EXTRA: dict[str, Any] = {
    "backend": "numba",
    "state_format": "bfloat16",
    "clip_norm": 1.0,
    "skip_nonfinite": True,
    "skip_spikes": 6.5,
    "average": 0.75,
    "cautious_decay": True,
    "decay_scaling": "squared",
    "seed": 3,
    "warn_after_skips": 5,
    "process_group": "a group",
    "key_by": "name",
    "offload": True,
    "semantics": "lazy",
}


def test_these_are_all_extra_keywords() -> None:
    ours = inspect.signature(adamas.torch.Adam).parameters.keys()
    assert ours - inspect.signature(torch.optim.Adam).parameters.keys() == EXTRA.keys()


@every_optimizer
@pytest.mark.parametrize("name", EXTRA)
def test_an_option_of_the_optimizer_is_refused_in_a_group(make: Make, name: str) -> None:
    """It would do nothing there. The error says where it goes."""
    params = simple()
    groups = [{"params": params[:1]}, {"params": params[1:], name: EXTRA[name]}]
    cls = type(make(simple())).__name__
    where = rf"(?s)(?=.*\b{name}\b)(?=.*\b{cls}\(.*{name}=)"
    with pytest.raises((TypeError, ValueError), match=where):
        make(groups)
    opt = make(params[:1])
    before = everything(opt)
    with pytest.raises((TypeError, ValueError), match=where):
        opt.add_param_group(groups[1])
    assert everything(opt) == before
    opt.add_param_group({"params": params[1:]})
    train(opt, params, range(1))


@every_optimizer
@pytest.mark.parametrize("name", EXTRA)
@pytest.mark.parametrize("steps", [0, 2], ids=["first step", "later"])
def test_an_option_of_the_optimizer_is_refused_in_a_group_that_it_is_put_into(
    make: Make, name: str, steps: int
) -> None:
    """As skorch's `set_params(optimizer__clip_norm=1.0)` does, and a loop over `param_groups`."""
    params = simple()
    opt = make(params)
    train(opt, params, range(steps))
    opt.param_groups[0][name] = EXTRA[name]
    give_gradients(params, 5)
    before = everything(opt)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"(?s)(?=.*\b{name}\b)(?=.*\b{type(opt).__name__}\(.*{name}=)"):
            opt.step()
        assert everything(opt) == before
    del opt.param_groups[0][name]
    opt.step()
    assert everything(opt) != before


@every_optimizer
@pytest.mark.parametrize("steps", [0, 2], ids=["first step", "later"])
def test_one_parameter_in_two_groups_is_an_error(make: Make, steps: int) -> None:
    """Torch's constructor refuses it; a group's own list gets past that."""
    params = simple()
    opt = make([{"params": [p]} for p in params])
    train(opt, params, range(steps))
    opt.param_groups[1]["params"].append(params[0])
    give_gradients(params, 5)
    before = everything(opt) if not steps else bits(params)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"(?i)more than one|two|both.*group"):
            opt.step()
        assert (everything(opt) if not steps else bits(params)) == before
    opt.param_groups[1]["params"].pop()
    opt.step()
    assert bits(params) != before
