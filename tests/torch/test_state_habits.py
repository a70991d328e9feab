"""State as users and other processes find it: their own keys, the first buffer, one counter for ever."""

from __future__ import annotations

import copy
import functools
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import process_support
import pytest
import torch
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch
from adamas import rules

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
# Those that count, in `state[p]["step"]`.
COUNTING = {name: make for name, make in OPTIMIZERS.items() if not name.startswith("SGD")} | {
    "SGD-average": functools.partial(adamas.torch.SGD, momentum=0.9, average=0.75),
    "SGD-bfloat16": functools.partial(adamas.torch.SGD, momentum=0.9, state_format="bfloat16"),
}
every_counting = pytest.mark.parametrize("make", COUNTING.values(), ids=COUNTING)


# A user's own keys.


def keys_of_a_user(p: Tensor) -> dict[str, Any]:
    return {"mask": torch.ones_like(p), "slow_buffer": p.detach().clone(), "note": "mine", "none": None}


@every_optimizer
@pytest.mark.parametrize("options", [{}, {"average": 0.75}], ids=["plain", "average"])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_key_that_is_there_before_the_first_step_is_no_step(
    make: Make, options: dict[str, Any], backend: str
) -> None:
    """A mask of a pruned model, Lookahead's slow weights: the run is that without them, and they stay."""
    params, plain = simple(), simple()
    opt = make(params, backend=backend, **options)
    other = make(plain, backend=backend, **options)
    own = [keys_of_a_user(p) for p in params]
    for p, mine in zip(params, own, strict=True):
        opt.state[p].update(mine)
    before = bits(own)
    train(opt, params, range(3))
    train(other, plain, range(3))
    assert bits(params) == bits(plain)
    for p, q, mine in zip(params, plain, own, strict=True):
        state = opt.state[p]
        assert all(state[key] is value for key, value in mine.items())
        rest = {key: value for key, value in state.items() if key not in mine}
        assert bits(rest) == bits(other.state.get(q, {}))
    assert bits(own) == before


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_skipped_first_step_leaves_a_users_key_alone(backend: str) -> None:
    params = simple()
    opt = adamas.torch.SGD(params, momentum=0.9, dampening=0.5, skip_nonfinite=True, backend=backend)
    opt.state[params[0]]["mask"] = mask = torch.ones_like(params[0])
    give_gradients(params, 0)
    params[1].grad[0] = math.nan  # type: ignore[index]
    opt.step()
    assert opt.state[params[0]] == {"mask": mask}
    train(opt, params, range(1))
    assert_rounding([opt.state[params[0]]["momentum_buffer"]], [params[0].grad])


# Dampening.

DAMPED: dict[str, Make] = {
    "SGD": functools.partial(adamas.torch.SGD, lr=0.1, momentum=0.9, dampening=0.5),
    "Optimizer": lambda params, **options: adamas.torch.Optimizer(
        params, rules.SGD(lr=0.1, momentum=0.9, dampening=0.5), **options
    ),
}
every_damped = pytest.mark.parametrize("make", DAMPED.values(), ids=DAMPED)
AROUND: dict[str, dict[str, Any]] = {
    "plain": {},
    "average": {"average": 0.75},
    "bfloat16": {"state_format": "bfloat16"},
    "float8": {"state_format": "float8"},
    "clip": {"clip_norm": 1e6, "skip_nonfinite": True},
    "reference": {"backend": "reference"},
    "all": {"average": 0.75, "state_format": "bfloat16", "clip_norm": 1e6},
}
around = pytest.mark.parametrize("options", AROUND.values(), ids=AROUND)


def damped_sgd(params: list[Tensor]) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5, foreach=False)


def assert_near(ours: list[Tensor], theirs: list[Tensor], options: dict[str, Any]) -> None:
    """As near as state of that many bits lets a few steps of size 0.1 be; half a gradient is far from it."""
    if "state_format" not in options:
        assert_rounding(ours, theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.02)


@every_damped
@around
def test_the_first_buffer_is_the_gradient(make: Make, options: dict[str, Any]) -> None:
    ours, theirs = simple(), simple()
    train(make(ours, **options), ours, range(2))
    train(damped_sgd(theirs), theirs, range(2))
    assert_near(ours, theirs, options)


@every_damped
@around
def test_the_first_buffer_of_momentum_that_is_switched_on_later(make: Make, options: dict[str, Any]) -> None:
    ours, theirs = simple(), simple()
    for params, opt in ((ours, make(ours, **options)), (theirs, damped_sgd(theirs))):
        opt.param_groups[0]["momentum"] = 0.0
        train(opt, params, range(3))
        opt.param_groups[0]["momentum"] = 0.9
        train(opt, params, range(3, 5))
    assert_near(ours, theirs, options)


@every_damped
@around
def test_the_first_buffer_of_a_parameter_that_begins_later(make: Make, options: dict[str, Any]) -> None:
    ours, theirs = simple(), simple()
    for params, opt in ((ours, make(ours, **options)), (theirs, damped_sgd(theirs))):
        train(opt, params[:1], range(2))
        train(opt, params, range(2, 4))
    assert_near(ours, theirs, options)


@every_damped
@around
def test_the_first_buffer_after_a_checkpoint_without_one(make: Make, options: dict[str, Any]) -> None:
    """Averages count steps that momentum has not taken."""
    ours, theirs = simple(), simple()
    for params, make_one in ((ours, functools.partial(make, **options)), (theirs, damped_sgd)):
        opt = make_one(params)
        opt.param_groups[0]["momentum"] = 0.0
        train(opt, params, range(3))
        again = make_one(params)
        again.load_state_dict(copy.deepcopy(opt.state_dict()))
        again.param_groups[0]["momentum"] = 0.9
        train(again, params, range(3, 5))
    assert_near(ours, theirs, options)


# The counter.


def counters(opt: torch.optim.Optimizer) -> dict[int, Tensor]:
    return {id(p): state["step"] for p, state in opt.state.items() if "step" in state}


@every_counting
def test_the_counter_of_a_parameter_is_one_tensor_for_ever(make: Make) -> None:
    """Whatever else changes; users of torch.optim keep references to it."""
    params = [leaf(randn(5, seed=k)) for k in range(4)]
    opt = make(params[:3], skip_nonfinite=True, clip_norm=1.0)
    expected = dict.fromkeys(counters(opt), 0)  # Adagrad's constructor makes them
    train(opt, params[:2], range(1))
    kept = counters(opt)
    expected |= {id(params[0]): 1, id(params[1]): 1}

    def check(*stepped: int) -> None:
        for k in stepped:
            expected[id(params[k])] = expected.get(id(params[k]), 0) + 1
        now = counters(opt)
        assert {key: int(value) for key, value in now.items()} == expected
        assert all(now[key] is value for key, value in kept.items())
        kept.update(now)

    for active in ((0,), (1, 2), (0, 2), (0, 1, 2)):  # the active set changes
        opt.zero_grad()
        train(opt, [params[k] for k in active], [len(active)])
        check(*active)
    opt.add_param_group({"params": [params[3]]})
    train(opt, params, range(1))
    check(0, 1, 2, 3)
    give_gradients(params, 5)
    params[1].grad.fill_(math.nan)  # type: ignore[union-attr]
    opt.step()  # skipped
    check()
    opt.param_groups[0]["lr"] = 0.01
    params[0].data = params[0].data.clone()
    train(opt, params, range(6, 7))
    check(0, 1, 2, 3)


@every_counting
def test_a_counter_in_shared_memory_never_moves(make: Make) -> None:
    params = simple()
    opt = make(params)
    train(opt, params[:1], range(1))
    train(opt, params, range(1))
    for step in counters(opt).values():
        step.share_memory_()
    addresses = {key: step.data_ptr() for key, step in counters(opt).items()}
    for active in (params, params[1:], params):
        opt.zero_grad()
        train(opt, active, range(2, 4))
        assert {key: step.data_ptr() for key, step in counters(opt).items()} == addresses
        assert all(step.is_shared() for step in counters(opt).values())
    assert [int(step) for step in counters(opt).values()] == [6, 7]


@pytest.mark.parametrize("average", [None, 0.75], ids=["plain", "average"])
def test_two_processes_that_step_in_turn_sum_exactly(average: float | None) -> None:
    """Hogwild (Niu et al. 2011), A3C: parameters, state and counters are those of both processes."""
    params = [
        torch.zeros(300).share_memory_().requires_grad_(),
        torch.zeros(3).share_memory_().requires_grad_(),
    ]
    opt = adamas.torch.SGD(params, lr=0.5, momentum=1.0, average=average)
    for p in params:
        p.grad = torch.zeros_like(p)
    opt.step()
    share(opt)
    process_support.two_in_turn(opt, params, steps=5)
    buffer = position = 0.0
    for g in range(1, 11):
        buffer += g
        position -= 0.5 * buffer
    for p in params:
        assert set(p.tolist()) == {position}
        assert set(opt.state[p]["momentum_buffer"].tolist()) == {buffer}
        if average is not None:
            assert opt.state[p]["step"].item() == 11


@pytest.mark.parametrize("name", ["Adam", "NAdam", "Adagrad", "Lion", "Optimizer"])
def test_two_processes_that_step_in_turn_are_one(name: str) -> None:
    """To the bit: no step of the other process is missed, and none is counted twice."""
    shared = [p.detach().share_memory_().requires_grad_() for p in simple()]
    alone = simple()
    opt, other = OPTIMIZERS[name](shared), OPTIMIZERS[name](alone)
    for optimizer, params in ((opt, shared), (other, alone)):
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
    share(opt)
    process_support.two_in_turn(opt, shared, steps=4)
    for g in range(1, 9):
        for p in alone:
            p.grad = torch.full_like(p, float(g))
        other.step()
    assert everything(opt) == everything(other)
    train(opt, shared, range(3))  # and here, where the optimizer was made, the next steps follow on
    train(other, alone, range(3))
    assert everything(opt) == everything(other)


def share(opt: torch.optim.Optimizer) -> None:
    for state in opt.state.values():
        for value in state.values():
            value.share_memory_()


# Copies.


def through_a_file(x: Any) -> Any:
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), through_a_file],
    ids=["deepcopy", "pickle", "torch.save"],
)
@every_optimizer
def test_a_copy_knows_the_last_step(make: Make, copied: Callable[[Any], Any]) -> None:
    params = simple()
    opt = make(params, clip_norm=0.5, skip_nonfinite=True)
    train(opt, params, range(2))
    assert float(opt.last_step.clip_factor) < 1
    assert copied(opt).last_step == opt.last_step
    give_gradients(params, 2)
    params[0].grad[0] = math.inf  # type: ignore[index]
    opt.step()
    other = copied(opt)
    assert (other.last_step.skipped, other.skipped_steps) == (True, 1)
    assert float(other.last_step.grad_norm) == float(opt.last_step.grad_norm)
