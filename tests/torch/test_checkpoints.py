"""Checkpoints: to torch's class of the same name and back, and ours to ours without changing a bit."""

from __future__ import annotations

import collections
import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    assert_rounding,
    assorted,
    bits,
    copies,
    default_dtype,
    everything,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch


def through_a_file(state_dict: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


TRANSPORTS = {"a deep copy": copy.deepcopy, "a file": through_a_file}


@pytest.fixture(params=TRANSPORTS.values(), ids=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return request.param


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_resuming_changes_no_bit(make: Make, transport: Callable) -> None:
    through, resumed = assorted(torch.float32), assorted(torch.float32)
    whole, first = make(through), make(resumed)
    train(whole, through, range(8))
    train(first, resumed, range(5))
    second = make(resumed, lr=0.5)  # the saved lr must replace it
    second.load_state_dict(transport(first.state_dict()))
    train(second, resumed, range(5, 8))
    assert everything(second) == everything(whole)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_saving_again_what_was_loaded_gives_the_same(make: Make, transport: Callable) -> None:
    params = assorted(torch.float32)
    opt = make(params)
    train(opt, params, range(3))
    other = make(params)
    other.load_state_dict(transport(opt.state_dict()))
    assert bits(other.state_dict()) == bits(opt.state_dict())


def hand_over(makers: list[Make], params: list[torch.Tensor], transport: Callable) -> None:
    """Three steps with each optimizer in turn, which takes over from the one before it."""
    opt = makers[0](params)
    for turn, make in enumerate(makers):
        state_dict = transport(opt.state_dict())
        opt = make(params)
        if turn:
            opt.load_state_dict(state_dict)
        train(opt, params, range(3 * turn, 3 * turn + 3))


VARIANTS = [
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {"amsgrad": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Adagrad", {"lr_decay": 0.5, "initial_accumulator_value": 0.1}),
    *((name, {}) for name in DROP_IN),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_training_goes_to_torch_and_back(
    name: str, options: dict[str, Any], dtype: torch.dtype, transport: Callable
) -> None:
    def ours(params: list[torch.Tensor]) -> torch.optim.Optimizer:
        return DROP_IN[name](params, **options)

    def theirs(params: list[torch.Tensor]) -> torch.optim.Optimizer:
        return getattr(torch.optim, name)(params, foreach=False, **options)

    alone, starting_here, starting_there = (copies(assorted(dtype)) for _ in range(3))
    with default_dtype(dtype):
        hand_over([theirs, theirs, theirs], alone, transport)
        hand_over([ours, theirs, ours], starting_here, transport)
        hand_over([theirs, ours, theirs], starting_there, transport)
    assert_rounding(starting_here, alone)
    assert_rounding(starting_there, alone)


@pytest.mark.parametrize("name", DROP_IN)
def test_a_fused_optimizer_of_torch_hands_over(name: str) -> None:
    options = {"fused": True} if name in ("Adam", "AdamW", "SGD", "Adagrad") else {"foreach": True}
    theirs, ours = simple(), simple()
    reference = getattr(torch.optim, name)(theirs, **options)
    train(reference, theirs, range(3))
    train(getattr(torch.optim, name)(ours, **options), ours, range(3))
    opt = DROP_IN[name](ours)
    opt.load_state_dict(copy.deepcopy(reference.state_dict()))
    train(reference, theirs, range(3, 6))
    train(opt, ours, range(3, 6))
    assert_rounding(ours, theirs)


@pytest.mark.parametrize("name", [name for name in DROP_IN if name != "SGD"])
def test_an_old_checkpoint_counts_steps_with_numbers(name: str) -> None:
    """Torch before 1.12 kept an int, NAdam's product of momenta as a float, and fewer options."""
    ours, old = simple(), simple()
    opt, resumed = DROP_IN[name](ours), DROP_IN[name](old)
    train(opt, ours, range(3))
    train(resumed, old, range(3))
    state_dict = copy.deepcopy(resumed.state_dict())
    for state in state_dict["state"].values():
        state["step"] = int(state["step"])
        if "mu_product" in state:
            state["mu_product"] = float(state["mu_product"])
    for group in state_dict["param_groups"]:
        for option in ("maximize", "foreach", "capturable", "differentiable", "fused", "amsgrad"):
            group.pop(option, None)
    resumed = DROP_IN[name](old)
    resumed.load_state_dict(state_dict)
    train(opt, ours, range(3, 6))
    train(resumed, old, range(3, 6))
    assert bits(old) == bits(ours)
    assert resumed.state_dict()["state"][0]["step"].item() == 6


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_trains_on_as_the_original(make: Make, duplicate: Callable) -> None:
    params = simple()
    opt = make(params)
    train(opt, params, range(3))
    new, new_params = duplicate((opt, params))
    assert new.param_groups[0]["params"][0] is new_params[0]
    assert everything(new) == everything(opt)
    train(new, new_params, range(3, 6))
    assert everything(new) != everything(opt)
    train(opt, params, range(3, 6))
    assert everything(new) == everything(opt)
    assert new.backend == opt.backend


def test_a_copy_keeps_the_backend_that_was_asked_for() -> None:
    opt = copy.deepcopy(adamas.torch.Adam(simple(), backend="reference"))
    train(opt, opt.param_groups[0]["params"], range(1))
    assert opt.backend == "reference"


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_checkpoint_before_the_first_step_starts_from_the_beginning(make: Make) -> None:
    ours, other = simple(), simple()
    opt, loaded = make(ours), make(other)
    loaded.load_state_dict(copy.deepcopy(make(simple()).state_dict()))
    train(opt, ours, range(3))
    train(loaded, other, range(3))
    assert bits(other) == bits(ours)


def test_sgd_takes_its_first_step_once_across_a_checkpoint() -> None:
    """Dampening spares the first step; a resumed run's first step is not that one."""
    whole, resumed = simple(), simple()
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    opt = adamas.torch.SGD(whole, **options)
    train(opt, whole, range(2))
    first = adamas.torch.SGD(resumed, **options)
    train(first, resumed, range(1))
    second = adamas.torch.SGD(resumed, **options)
    second.load_state_dict(through_a_file(first.state_dict()))
    train(second, resumed, range(1, 2))
    assert bits(resumed) == bits(whole)


def test_parameters_with_different_step_counts_come_back_with_them() -> None:
    params, resumed = simple(), simple()
    opts = [adamas.torch.Adam(params), adamas.torch.Adam(resumed)]
    for opt, ps in zip(opts, (params, resumed), strict=True):
        train(opt, ps[:1], range(2))  # the second has no gradient yet
        train(opt, ps, range(2, 4))
    other = adamas.torch.Adam(resumed)
    other.load_state_dict(through_a_file(opts[1].state_dict()))
    assert [s["step"].item() for s in other.state_dict()["state"].values()] == [4, 2]
    train(opts[0], params, range(4, 6))
    train(other, resumed, range(4, 6))
    assert bits(resumed) == bits(params)


def test_a_checkpoint_of_the_first_parameters_only_leaves_the_others_new() -> None:
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params[:1], range(3))
    other = adamas.torch.Adam(params)
    other.load_state_dict(through_a_file(opt.state_dict()))
    train(other, params, range(3, 4))
    assert [s["step"].item() for s in other.state_dict()["state"].values()] == [4, 1]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_loading_into_a_running_optimizer_goes_back_in_time(make: Make) -> None:
    params = simple()
    opt = make(params)
    train(opt, params, range(2))
    saved, before = copy.deepcopy(opt.state_dict()), copies(params)
    train(opt, params, range(2, 4))
    later = everything(opt)
    opt.load_state_dict(saved)
    with torch.no_grad():
        for p, old in zip(params, before, strict=True):
            p.copy_(old)
    train(opt, params, range(2, 4))
    assert everything(opt) == later


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_state_dict_hooks_see_and_change_the_state(make: Make) -> None:
    params = simple()
    opt = make(params)
    calls: list[str] = []

    def rename(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        calls.append("post")
        return {**state_dict, "note": "kept"}

    def strip(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        calls.append("load pre")
        return {key: value for key, value in state_dict.items() if key != "note"}

    opt.register_state_dict_pre_hook(lambda optimizer: calls.append("pre"))
    opt.register_state_dict_post_hook(rename)
    opt.register_load_state_dict_pre_hook(strip)
    opt.register_load_state_dict_post_hook(lambda optimizer: calls.append("load post"))
    train(opt, params, range(2))
    state_dict = opt.state_dict()
    assert state_dict["note"] == "kept"
    opt.load_state_dict(copy.deepcopy(state_dict))
    assert calls == ["pre", "post", "load pre", "load post"]


def test_a_load_hook_that_replaces_the_state_is_obeyed_to_the_bit() -> None:
    """What is loaded is what the hooks give back, its dtypes included."""
    params = [leaf(randn(4, dtype=torch.float64))]
    opt = adamas.torch.Adam(params)
    train(opt, params, range(1))
    saved = copy.deepcopy(opt.state_dict())

    def double(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        state = {k: v | {"exp_avg": 2 * v["exp_avg"]} for k, v in state_dict["state"].items()}
        return {**state_dict, "state": state}

    opt.register_load_state_dict_pre_hook(double)
    opt.load_state_dict(saved)
    torch.testing.assert_close(opt.state[params[0]]["exp_avg"], 2 * saved["state"][0]["exp_avg"])


def test_loading_reorders_by_name_where_a_hook_does() -> None:
    """Torch's recipe for named parameters: a hook that maps names to places."""
    named = [("w", leaf(randn(3, seed=1))), ("b", leaf(randn(2, seed=2)))]
    opt = adamas.torch.AdamW(named)
    train(opt, [p for _, p in named], range(2))
    state_dict = opt.state_dict()
    assert state_dict["param_groups"][0]["param_names"] == ["w", "b"]
    other = adamas.torch.AdamW(named[::-1])

    def by_name(optimizer: torch.optim.Optimizer, loaded: dict[str, Any]) -> dict[str, Any]:
        names = loaded["param_groups"][0]["param_names"]
        wanted = optimizer.param_groups[0]["param_names"]
        state = {i: loaded["state"][names.index(name)] for i, name in enumerate(wanted)}
        return {"state": state, "param_groups": [loaded["param_groups"][0] | {"param_names": wanted}]}

    other.register_load_state_dict_pre_hook(by_name)
    other.load_state_dict(copy.deepcopy(state_dict))
    assert bits(other.state[named[0][1]]) == bits(opt.state[named[0][1]])


# Adagrad's sum is made by torch's constructor, in the parameter's own dtype.
@pytest.mark.parametrize("name", [name for name in DROP_IN if name != "Adagrad"])
def test_half_precision_parameters_keep_their_float32_state(name: str) -> None:
    """Torch casts what it loads to the parameter's dtype, and loses the small digits (pytorch#43706)."""
    options = {"momentum": 0.9} if name == "SGD" else {}
    params = [leaf(randn(8, dtype=torch.bfloat16))]
    opt = DROP_IN[name](params, **options)
    train(opt, params, range(3))
    other = DROP_IN[name](params, **options)
    other.load_state_dict(through_a_file(opt.state_dict()))
    assert bits(other.state_dict()) == bits(opt.state_dict())
    assert {v.dtype for v in other.state[params[0]].values()} == {torch.float32}


def test_what_a_user_keeps_in_the_state_travels_along() -> None:
    """Keys that are not the rule's are not the optimizer's business: any shape, any type."""
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params, range(1))
    opt.state[params[0]]["history"] = torch.arange(7)
    other = adamas.torch.Adam(params)
    other.load_state_dict(through_a_file(opt.state_dict()))
    train(other, params, range(1, 3))
    assert other.state[params[0]]["history"].tolist() == list(range(7))


def test_state_is_a_dict_of_dicts_by_parameter() -> None:
    params = simple()
    opt = adamas.torch.Adam(params)
    assert isinstance(opt.state, collections.defaultdict)
    train(opt, params, range(1))
    assert [id(p) for p in opt.state] == [id(p) for p in params]
    assert list(opt.state[params[0]]) == ["step", "exp_avg", "exp_avg_sq"]
