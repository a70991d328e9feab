"""One plan for all parameters, and code that is not a kernel: what either must not change, keep or forget."""

from __future__ import annotations

import gc
import math
import pickle
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import OPTIMIZERS, Make, assert_rounding, bits, everything, leaf, randn, simple, train

import adamas.torch
from adamas.rules import SIGNED, Rule, xp
from adamas.torch import SGD, Adagrad, Adam, NAdam, Optimizer

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_backend = pytest.mark.parametrize("backend", ["numba", "reference", "torch"])


def give(*params: Tensor, value: float = 1.0) -> None:
    for p in params:
        p.grad = torch.full_like(p, value)


# Parameters that rest.


@pytest.mark.parametrize("gaps", [False, True], ids=["dense", "gaps"])
@every_optimizer
def test_a_resting_parameter_is_not_written_to(make: Make, gaps: bool) -> None:
    """Autograd would say that it was modified in place, and something else may have its memory."""
    a = leaf(randn(3))
    b = leaf(randn(3, 4)[:, ::2] if gaps else randn(3, 2))
    opt = make([a, b])
    give(a, b)
    opt.step()
    b.grad = None
    version, factor = b._version, leaf(randn(3, 2))
    loss = (factor * b).sum()
    give(a)
    opt.step()
    assert b._version == version
    loss.backward()


def test_a_resting_view_does_not_undo_what_another_parameter_did() -> None:
    x = torch.ones(8)
    part, whole = leaf(x[::2]), leaf(x)
    opt = SGD([part, whole], lr=0.125)
    give(part)
    opt.step()
    part.grad = None
    for _ in range(2):
        give(whole)
        opt.step()
    assert x.tolist() == [0.625, 0.75] * 4


def test_parameters_that_share_elements_are_refused_where_one_is_copied() -> None:
    """The copy back would undo what the step did to the other; views that only interleave are right."""
    x = torch.ones(8)
    part, whole, rest = leaf(x[::2]), leaf(x), leaf(x[1::2])
    give(part, whole, rest)
    opt = SGD([part, whole], lr=0.125)
    with pytest.raises(ValueError, match="share elements"):
        opt.step()
    assert x.tolist() == [1.0] * 8
    SGD([part, rest], lr=0.125).step()
    assert x.tolist() == [0.875] * 8


@pytest.mark.parametrize("change", [lambda x: torch.ones(5), lambda x: torch.ones(1).expand(3)])
def test_a_resting_parameter_may_change_its_shape(change: Any) -> None:
    a, b = leaf(torch.ones(3)), leaf(torch.ones(2))
    opt = Adam([a, b], lr=0.5)
    give(a, b)
    opt.step()
    a.grad, a.data = None, change(a.data)
    give(b)
    opt.step()
    torch.testing.assert_close(b.detach(), torch.zeros(2), atol=1e-6, rtol=0)


def test_layers_that_freeze_and_thaw_make_no_new_plan() -> None:
    params = simple()
    opt = Adam(params)
    train(opt, params, range(1))
    plans = set()
    for t in range(6):
        for k, p in enumerate(params):
            p.requires_grad_(k == t % 2)
            p.grad = torch.ones_like(p) if k == t % 2 else None
        opt.step()
        plans.add(id(opt._plan))
    assert len(plans) == 1


@pytest.mark.parametrize("carried", [math.nan, math.inf])
def test_a_counter_that_is_not_finite_harms_no_other_parameter(carried: float) -> None:
    a, b = leaf(torch.ones(3)), leaf(torch.ones(2))
    opt = NAdam([{"params": [a]}, {"params": [b]}], lr=0.5)
    give(a, b)
    opt.step()
    opt.state[a]["mu_product"].fill_(carried)
    opt.step()
    assert torch.isfinite(b).all()


@pytest.mark.parametrize("name", ["Adam", "SGD-momentum", "Lion"])
def test_a_steady_step_is_two_dozen_calls(name: str) -> None:
    """Counted, not timed: functions of Python that a step calls, its own included."""
    params = simple()
    opt = OPTIMIZERS[name](params)
    train(opt, params, range(3))
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(frame.f_code) if event == "call" else None)
    try:
        opt.step()
    finally:
        sys.setprofile(None)
    assert len(calls) <= 24


# Memory.


@every_optimizer
def test_an_optimizer_is_freed_without_the_collector(make: Make) -> None:
    """A cycle would keep a whole model alive until the collector comes by."""
    params = simple()
    opt = make(params, average=0.5)
    train(opt, params, range(2))
    watched = [weakref.ref(x) for x in (opt, *params)]
    gc.collect()
    gc.disable()
    try:
        del opt, params
        assert [ref() for ref in watched] == [None] * len(watched)
    finally:
        gc.enable()


def test_a_plan_that_cannot_be_made_leaves_no_state() -> None:
    a, b = leaf(torch.zeros(1)), leaf(torch.zeros(1, dtype=torch.bfloat16))
    opt = SGD([a, b], lr=1.0, momentum=0.5, dampening=0.5)
    give(a, b)
    opt.state[b]["step"] = torch.zeros(2)
    with pytest.raises((ValueError, RuntimeError)):
        opt.step()
    assert a not in opt.state
    del opt.state[b]
    opt.step()
    assert a.item() == -1


# Norms where no kernel measures.


@every_backend
@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"skip_nonfinite": True}], ids=str)
def test_gradients_of_zero_have_a_norm_of_zero(backend: str, options: dict[str, Any]) -> None:
    p = leaf(torch.ones(3))
    opt = Adam([p], backend=backend, **options)
    give(p, value=0.0)
    opt.step()
    assert (p.tolist(), opt.last_step.grad_norm, opt.last_step.skipped) == ([1.0] * 3, 0.0, False)


@every_backend
def test_an_infinite_gradient_has_an_infinite_norm(backend: str) -> None:
    p = leaf(torch.ones(3))
    opt = SGD([p], lr=1.0, backend=backend, clip_norm=1.0)
    p.grad = torch.tensor([1.0, math.inf, 0.0])
    opt.step()
    assert opt.last_step.grad_norm == math.inf
    assert p[0] == 1 == p[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"skip_nonfinite": True}], ids=str)
@every_optimizer
def test_parameters_without_values_step(make: Make, options: dict[str, Any], dtype: torch.dtype) -> None:
    p = torch.nn.Parameter(torch.empty(4, 4, dtype=dtype, device="meta"))
    opt = make([p], **options)
    p.grad = torch.empty_like(p)
    opt.step()
    assert opt.last_step == (None, 1.0, False, None)


# Torch's own step, where it is taken.


class Halved(SGD):
    """A class of a user's, with a rule of its own."""

    def rule_of(self, group: Any, checked: bool = False) -> Rule:
        return adamas.rules.SGD(lr=0.5 * group["lr"])


def test_a_subclass_with_a_rule_of_its_own_is_not_torchs() -> None:
    p = leaf(torch.ones(2))
    opt = Halved([p], lr=0.5)
    give(p)
    opt.step()
    assert p.tolist() == [0.75] * 2
    asked = Halved([p], backend="torch")
    with pytest.raises(ValueError, match=r"torch\.optim has no such optimizer"):
        asked.step()


def test_torchs_step_has_our_defaults() -> None:
    """Torch's Adagrad makes late state from the defaults, not from the options of the group."""
    p, late = leaf(torch.ones(2)), leaf(torch.ones(2))
    q, later = leaf(torch.ones(2)), leaf(torch.ones(2))
    ours = Adagrad([p], lr=0.1, initial_accumulator_value=0.5, backend="torch")
    theirs = torch.optim.Adagrad([q], lr=0.1, initial_accumulator_value=0.5)
    for opt, params in ((ours, [p, late]), (theirs, [q, later])):
        opt.add_param_group({"params": params[1:]})
        give(*params, value=0.1)
        opt.step()
    assert bits([p, late]) == bits([q, later])


@pytest.mark.parametrize("name", ["Adam", "SGD-momentum", "NAdam", "Adagrad", "RMSprop-both"])
def test_backends_take_over_from_each_other(name: str) -> None:
    """By their checkpoints, in any order."""
    params, plain = simple(), simple()
    reference = OPTIMIZERS[name](plain)
    saved = None
    for seed, backend in enumerate(["torch", "numba", "reference", "torch", "reference", "numba"]):
        opt = OPTIMIZERS[name](params, backend=backend)
        if saved is not None:
            opt.load_state_dict(saved)
        train(opt, params, [seed])
        train(reference, plain, [seed])
        saved = opt.state_dict()
    assert_rounding(params, plain)


# Rules on whole arrays.

SCALE = [0.5]


@dataclass(frozen=True)
class Scaled(Rule):
    lr: float = 1.0
    slots = {"m": SIGNED}

    def scalars(self, t: int) -> tuple[float, ...]:
        return (self.lr,)

    @staticmethod
    def update(p, g, m, lr):
        return p - lr * SCALE[0] * g, m


@dataclass(frozen=True)
class Steps(Rule):
    """Of sizes that are numbers, and chosen by a condition."""

    lr: float = 1.0

    def scalars(self, t: int) -> tuple[float, ...]:
        return self.lr, 0.25

    @staticmethod
    def update(p, g, lr, small):
        size = xp.where(g > 0, 0.1, 0.3) + xp.sqrt(small) * (g > 1) + xp.maximum(lr, small)
        return (p - size * g,)


@dataclass(frozen=True)
class Branching(Rule):
    lr: float = 1.0

    def scalars(self, t: int) -> tuple[float, ...]:
        return (self.lr,)

    @staticmethod
    def update(p, g, lr):
        d = torch.tanh(g)
        if g > 0:
            return (p - lr * d,)
        return (p,)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_list_of_constants_that_is_edited(backend: str) -> None:
    SCALE[:] = [0.5]
    p = leaf(torch.zeros(2))
    opt = Optimizer([p], Scaled(), backend=backend)
    for scale, expected in ((0.5, -0.5), (0.25, -0.75), (0.125, -0.875)):
        SCALE[0] = scale
        give(p)
        opt.step()
        assert p.tolist() == [expected] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_and_conditions_have_the_type_of_the_computation(dtype: torch.dtype) -> None:
    g = randn(50, dtype=dtype) * 2
    results = []
    for backend in ("numba", "reference"):
        p = leaf(torch.zeros(50, dtype=dtype))
        p.grad = g.clone()
        Optimizer([p], Steps(), backend=backend).step()
        results.append(p)
    assert_rounding(results[:1], results[1:], ulps=4)


def test_a_branch_on_an_array_is_refused_where_no_kernel_is_made() -> None:
    p = leaf(torch.zeros(3))
    opt = Optimizer([p], Branching(), backend="reference")
    give(p)
    with pytest.raises(TypeError, match=r"xp\.where"):
        opt.step()
    assert p.tolist() == [0.0] * 3


def test_functions_of_torch_take_arrays_by_name() -> None:
    @dataclass(frozen=True)
    class Clamped(Rule):
        lr: float = 1.0

        def scalars(self, t: int) -> tuple[float, ...]:
            return (self.lr,)

        @staticmethod
        def update(p, g, lr):
            return (p - lr * torch.clamp(g, max=p),)

    p = leaf(torch.full((3,), 0.5))
    opt = Optimizer([p], Clamped(), backend="reference")
    p.grad = torch.tensor([-2.0, 0.25, 2.0])
    opt.step()
    assert p.tolist() == [2.5, 0.25, 0.0]


# Earlier versions.


def test_the_former_places_of_classes_are_still_found() -> None:
    """Pickles of whole optimizers name them."""
    for module, name in (("_drop_in", "Adam"), ("_own", "Lion"), ("_phase", "Phase"), ("_phase", "LastStep")):
        found = pickle.loads(f"cadamas.torch.{module}\n{name}\n.".encode())
        assert isinstance(found, type)


def test_an_optimizer_pickled_with_its_former_options_goes_on() -> None:
    params = simple()
    opt = Adam(params, clip_norm=1.0)
    train(opt, params, range(2))
    state = opt.__getstate__()
    state["phase"] = state.pop("options")
    other = Adam.__new__(Adam)
    other.__setstate__(state)
    assert other.options == opt.options
    train(other, params, range(2, 3))
    fresh = simple()
    undisturbed = Adam(fresh, clip_norm=1.0)
    train(undisturbed, fresh, range(3))
    assert everything(other) == everything(undisturbed)


def test_a_class_with_one_option() -> None:
    class Plain(adamas.torch.extra.FusedOptimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.5})

        def rule_of(self, group: Any, checked: bool = False) -> Rule:
            return adamas.rules.SGD(lr=group["lr"])

    p = leaf(torch.ones(2))
    opt = Plain([p])
    give(p)
    opt.step()
    assert p.tolist() == [0.5] * 2
