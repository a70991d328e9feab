"""Decay that is cautious, squared in lr, or independent of it: every rule, schedules, checkpoints."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import in_backward_support
import numpy as np
import pytest
import torch
from gpu_support import OF_GPUS
from rule_cases import CASES, gradients, parameters, with_lr
from sparse_support import Twins
from torch import Tensor
from torch.optim import lr_scheduler
from torch_support import CLASSES, bits, default_dtype, everything, give_gradients, leaf, randn, simple, train

import adamas.torch
from adamas.backends import Envelope, host_carry, reference
from adamas.rules import SGD, Adam, Rule
from adamas.torch import AdamW, Lion, Optimizer

N, DECAY = 23, 0.05
SCALINGS = ("lr", "squared", "independent")
# The lr of each step, the largest of them not the first.
RATES = (0.01, 0.04, 0.02, 0.0, 0.03)
DECOUPLED: dict[str, Any] = {"weight_decay": DECAY, "decoupled_weight_decay": True}
# Rules that decay by themselves.
DECAYING = [name for name, rule in CASES.items() if hasattr(rule, "weight_decay")]
every_scaling = pytest.mark.parametrize("scaling", SCALINGS)


def taken(scaling: str, lr: float, largest: float) -> float:
    """The part of p that a step takes, by the formulas of the papers."""
    return {"lr": lr * DECAY, "squared": lr * lr / largest * DECAY, "independent": lr / largest * DECAY}[
        scaling
    ]


def judged(rule: Rule, cautious: bool, scaling: str) -> list[np.ndarray]:
    """The reference's parameter after each step of `RATES`."""
    p, carried, found = parameters(N), tuple(rule.carried.values()), []
    slots = reference.init(rule, p)
    for t, (lr, g) in enumerate(zip(RATES, gradients(len(RATES), N), strict=True), start=1):
        now, part = with_lr(rule, lr), taken(scaling, lr, max(RATES))
        carried = host_carry(now, t, *carried)
        envelope = Envelope(cautious_decay=part) if cautious else Envelope(decay_factor=1 - part)
        p, *slots = reference.step(now, t, p, g, slots, carried=carried, envelope=envelope)
        found.append(p)
    return found


def agrees(rule: Rule, backend: str, cautious: bool, scaling: str) -> None:
    p = leaf(torch.from_numpy(parameters(N)))
    options: dict[str, Any] = {"cautious_decay": cautious, "decay_scaling": scaling, "backend": backend}
    opt = Optimizer([p], with_lr(rule, max(RATES)), **DECOUPLED, **options)
    for lr, g, expected in zip(RATES, gradients(len(RATES), N), judged(rule, cautious, scaling), strict=True):
        opt.param_groups[0]["lr"] = lr
        p.grad = torch.from_numpy(g)
        opt.step()
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    assert opt.backend == backend


@every_scaling
@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name", [name for name in CASES if name not in DECAYING])
def test_every_rule_agrees_with_the_reference(name: str, cautious: bool, scaling: str) -> None:
    with default_dtype(torch.float64):
        agrees(CASES[name], "reference", cautious, scaling)


@every_scaling
@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize(
    ("name", "backend"),
    # CautiousAdam sums over tensors.
    [(name, "numba") for name in ("Adam", "SGD-momentum", "CautiousAdam")] + [("Adam", x) for x in OF_GPUS],
)
def test_kernels_agree_with_the_reference(name: str, backend: str, cautious: bool, scaling: str) -> None:
    with default_dtype(torch.float64):
        agrees(CASES[name], backend, cautious, scaling)


# What lr_max is.


def by_hand(opt: Any) -> Any:
    opt.param_groups[0]["lr"] /= 2


def one_cycle(opt: Any) -> Any:
    return lr_scheduler.OneCycleLR(opt, 0.3, total_steps=8, cycle_momentum=False)


def warm_up(opt: Any) -> Any:
    first = lr_scheduler.LinearLR(opt, 0.1, total_iters=3)
    return lr_scheduler.SequentialLR(opt, [first, lr_scheduler.CosineAnnealingLR(opt, 5)], [3])


def raised_then_scheduled(opt: Any) -> Any:
    opt.param_groups[0]["lr"] = 0.2
    return lr_scheduler.ExponentialLR(opt, 0.5)


# What makes a scheduler, and the largest lr that it has with a first lr of 0.1.
SCHEDULES: dict[str, tuple[Callable[[Any], Any], float]] = {
    "one-cycle": (one_cycle, 0.3),
    "cosine": (lambda opt: lr_scheduler.CosineAnnealingLR(opt, 8), 0.1),
    "lambda": (lambda opt: lr_scheduler.LambdaLR(opt, lambda t: min(1.0, (t + 1) / 4)), 0.1),
    "linear": (lambda opt: lr_scheduler.LinearLR(opt, 0.25, total_iters=4), 0.1),
    "warm-up": (warm_up, 0.1),
    "raised": (raised_then_scheduled, 0.2),
    "plateau": (lambda opt: lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=0), 0.1),
    "none": (lambda opt: None, 0.1),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def advance(scheduler: Any) -> None:
    if scheduler is not None:
        scheduler.step(*([1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))


def decayed(opt: Any, p: Tensor) -> float:
    """The part of p that a step without a gradient takes."""
    before = p.detach().clone()
    p.grad = torch.zeros_like(p)
    opt.step()
    return float((1 - p.detach() / before).mean())


def one(scaling: str, lr: Any = 0.1, **options: Any) -> tuple[Any, Tensor]:
    p = leaf(randn(4, seed=1, dtype=torch.float64))
    return Optimizer([p], SGD(lr=lr), **DECOUPLED, decay_scaling=scaling, **options), p


@every_schedule
@every_scaling
@pytest.mark.parametrize("options", [{}, {"cautious_decay": True}, {"backend": "triton"}], ids=str)
def test_schedules(options: dict[str, Any], scaling: str, name: str) -> None:
    if options.get("backend", "numba") not in ("numba", *OF_GPUS):
        pytest.skip("there is no Triton for this system")
    make, largest = SCHEDULES[name]
    opt, p = one(scaling, **options)
    scheduler, seen = make(opt), []
    for _ in range(7):
        lr = float(opt.param_groups[0]["lr"])
        assert decayed(opt, p) == pytest.approx(taken(scaling, lr, largest), rel=1e-9, abs=1e-15)
        seen.append(lr)
        advance(scheduler)
    assert len(set(seen)) > 1 or name == "none"


@pytest.mark.parametrize("backend", ["numba", *OF_GPUS])
def test_a_schedule_that_begins_under_way(backend: str) -> None:
    """Its keys appear in groups between two steps, and lr may stay."""
    opt, p = one("independent", backend=backend)
    assert decayed(opt, p) == pytest.approx(DECAY)
    opt.param_groups[0]["max_lr"] = 0.4
    assert decayed(opt, p) == pytest.approx(DECAY / 4)
    opt.param_groups[0]["max_lr"] = 0.2
    assert decayed(opt, p) == pytest.approx(DECAY / 2)


@pytest.mark.parametrize("backend", ["numba", "reference", *OF_GPUS])
@pytest.mark.parametrize("scaling", ["squared", "independent"])
def test_a_larger_lr_than_known_is_refused(scaling: str, backend: str) -> None:
    """A warm-up by hand from a small lr would decay by a large multiple of λ, and nobody would see it."""
    opt, p = one(scaling, lr=1e-6, backend=backend)
    decayed(opt, p)
    opt.param_groups[0]["lr"] = 0.1
    before = everything(opt)
    with pytest.raises(ValueError, match=r"(?s)lr=0\.1 .*first_lr=1e-06.*group\['max_lr'\]"):
        opt.step()
    assert everything(opt) == before
    opt.param_groups[0]["max_lr"] = 0.1
    assert decayed(opt, p) == pytest.approx(taken(scaling, 0.1, 0.1))


def test_a_group_without_decay_may_have_any_lr() -> None:
    opt, p = one("independent", lr=0.0)
    opt.param_groups[0] |= {"lr": 0.1, "weight_decay": 0.0}
    assert decayed(opt, p) == 0


def test_lr_of_zero_decays_nothing() -> None:
    for lr in (0.0, torch.tensor(0.0)):
        assert decayed(*one("independent", lr=0.1 * float(lr))) == 0


def test_lr_may_be_a_tensor_that_changes_in_place() -> None:
    p, lr = leaf(randn(4, seed=1)), torch.tensor(0.1)
    opt = AdamW([p], lr=lr, weight_decay=DECAY, decay_scaling="independent")
    lr.fill_(0.05)
    assert decayed(opt, p) == pytest.approx(DECAY / 2, rel=1e-4)


@pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system")
def test_an_lr_on_the_device_is_refused() -> None:
    """It could not be compared with the largest without waiting."""
    opt, p = one("independent", lr=0.1, backend="triton")
    opt.param_groups[0]["lr"] = torch.tensor(0.1)
    p.grad = torch.zeros_like(p)
    with pytest.raises(ValueError, match="lr is a tensor on cpu"):
        opt.step()


# Groups and checkpoints.


def trained(scaling: str = "independent", lr: float = 0.1, **options: Any) -> tuple[Any, Any, list[Tensor]]:
    """Under way in a schedule, with groups of other lr."""
    params = simple()
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": lr / 10}]
    opt = AdamW(groups, lr=lr, weight_decay=DECAY, decay_scaling=scaling, **options)
    scheduler = lr_scheduler.CosineAnnealingLR(opt, 6)
    follow(opt, scheduler, params, range(3))
    return opt, scheduler, params


def follow(opt: Any, scheduler: Any, params: list[Tensor], seeds: range) -> None:
    for seed in seeds:
        train(opt, params, [seed])
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize("scaling", ["squared", "independent"])
@pytest.mark.parametrize("cautious", [False, True])
def test_saving_and_loading_changes_no_bit(scaling: str, cautious: bool) -> None:
    opt, scheduler, params = trained(scaling, cautious_decay=cautious)
    saved = copy.deepcopy((opt.state_dict(), scheduler.state_dict(), [p.detach() for p in params]))
    follow(opt, scheduler, params, range(3, 6))
    again, schedule, others = trained(scaling, 0.7, cautious_decay=cautious)
    again.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    with torch.no_grad():
        for q, kept in zip(others, saved[2], strict=True):
            q.copy_(kept)
    follow(again, schedule, others, range(3, 6))
    assert bits(others) == bits(params)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)),
}


@pytest.mark.parametrize("again", COPIES.values(), ids=COPIES)
def test_a_copy_goes_on_to_the_same_bits(again: Callable[[Any], Any]) -> None:
    """Without a scheduler: what lr it had at first is known to the optimizer alone."""
    opt, p = one("independent", cautious_decay=True)
    opt.param_groups[0]["lr"] = 0.02
    other = again(opt)
    (q,) = other.param_groups[0]["params"]
    assert decayed(other, q) == decayed(opt, p) == pytest.approx(DECAY / 5)


def test_the_first_lr_is_loaded_or_stays() -> None:
    """As every option of a group is; a checkpoint without it leaves the one of the constructor."""
    saved = one("independent", lr=0.2)[0].state_dict()
    opt, p = one("independent", lr=0.4)
    opt.load_state_dict(saved)
    opt.param_groups[0]["lr"] = 0.1
    assert decayed(opt, p) == pytest.approx(DECAY / 2)
    opt, p = one("independent", lr=0.4)
    opt.load_state_dict(one("lr", lr=0.2)[0].state_dict())
    assert decayed(opt, p) == pytest.approx(DECAY / 2)


def test_an_added_group_has_its_own() -> None:
    opt, _ = one("independent")
    q = leaf(randn(4, seed=2, dtype=torch.float64))
    opt.add_param_group({"params": [q], "lr": 0.01})
    opt.param_groups[1]["lr"] = 0.005
    assert decayed(opt, q) == pytest.approx(DECAY / 2)


def test_torch_loads_the_checkpoint() -> None:
    opt = trained()[0]
    other = torch.optim.AdamW([{"params": [p]} for p in simple()])
    other.load_state_dict(opt.torch_state_dict())
    assert "first_lr" in opt.param_groups[0]
    assert "first_lr" not in other.param_groups[0]
    train(other, other.param_groups[0]["params"], [1])


def test_other_optimizers_keep_no_lr() -> None:
    assert "first_lr" not in AdamW(simple(), cautious_decay=True).param_groups[0]


# Refusals.


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("options", [{"cautious_decay": True}, {"decay_scaling": "independent"}], ids=str)
def test_coupled_decay_is_refused(name: str, options: dict[str, Any]) -> None:
    """By every class, when it is made, when a group is added, and when λ or the coupling changes."""
    make: Any = functools.partial(CLASSES[name], backend="reference", **options)
    decoupled = make(simple(), weight_decay=0.0).defaults.get("decoupled_weight_decay", False)
    how = "the rule's own" if decoupled is None else "decoupled_weight_decay=True"
    pattern = rf"(?s){next(iter(options))}=.*weight_decay=0\.1.*{how}"
    if decoupled:
        opt = make(simple(), weight_decay=0.1)
        opt.param_groups[0]["decoupled_weight_decay"] = False
    else:
        with pytest.raises(ValueError, match=pattern):
            make(simple(), weight_decay=0.1)
        opt = make(simple(), weight_decay=0.0)
        with pytest.raises(ValueError, match=pattern):
            opt.add_param_group({"params": simple(), "weight_decay": 0.1})
        opt.param_groups[0]["weight_decay"] = 0.1
    before = everything(opt)
    give_gradients(opt.param_groups[0]["params"], 0)
    with pytest.raises(ValueError, match=pattern):
        opt.step()
    assert everything(opt) == before
    opt.param_groups[0]["weight_decay"] = 0.0
    opt.step()


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("options", [{"cautious_decay": True}, {"decay_scaling": "independent"}], ids=str)
def test_a_rule_that_decays_by_itself_is_refused(name: str, options: dict[str, Any]) -> None:
    """With a decay; without one it steps as ever."""
    with pytest.raises(ValueError, match=r"weight_decay=0\.1 of this group is the rule's own"):
        Optimizer(simple(), CASES[name], weight_decay=0.1, **options)
    params, others, backend = simple(), simple(), "numba" if name == "Adan" else "reference"
    opt = Optimizer(params, CASES[name], weight_decay=0.0, backend=backend, **options)
    other = Optimizer(others, CASES[name], weight_decay=0.0, backend=backend)
    train(opt, params, range(2))
    train(other, others, range(2))
    assert bits(params) == bits(others)


@pytest.mark.parametrize("value", ["Lr", "scaled", None, 1])
def test_an_unknown_scaling_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="'lr', 'squared' or 'independent'"):
        AdamW(simple(), decay_scaling=value)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_cautious_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="cautious_decay must be True or False"):
        AdamW(simple(), cautious_decay=value)


# Ways to take a step.

CAUTIOUS: dict[str, Any] = {"weight_decay": 0.5, "cautious_decay": True, "lr": 0.1}


def after(make: Callable[..., Any], dtype: torch.dtype = torch.float32, **options: Any) -> list[Tensor]:
    params = simple(dtype)
    train(make(params, **{**CAUTIOUS, **options}), params, range(4))
    return [p.detach() for p in params]


@pytest.mark.parametrize("make", [AdamW, Lion])
def test_cautious_decay_is_another_step(make: Any) -> None:
    plain = simple()
    train(make(plain, **{**CAUTIOUS, "cautious_decay": False}), plain, range(4))
    assert bits(after(make)) != bits([p.detach() for p in plain])


def test_the_average_is_of_decayed_parameters() -> None:
    params = simple()
    opt = AdamW(params, **CAUTIOUS, average=0.5)
    train(opt, params, range(1))
    assert bits([p.detach() for p in params]) != bits(simple())
    assert bits([opt.state[p]["average"] for p in params]) == bits([p.detach() for p in params])
    assert bits(after(AdamW, average=0.5)) == bits(after(AdamW))


def test_the_report_knows_independent_decay() -> None:
    """A thousandth of lr λ is 1e-5 of a weight; a λ of .1 of its own is a tenth."""
    params = simple()
    opt = AdamW(params, lr=1e-4, weight_decay=0.1, decay_scaling="independent")
    assert {each.decay for each in opt.report().params} == {"independent"}
    opt.watch(every=1)
    with pytest.warns(adamas.torch.DiagnosisWarning, match="decay outweighs the gradient"):
        train(opt, params, range(10))


@every_scaling
def test_stepping_in_backward(scaling: str) -> None:
    """To the bits of a step after it, as lr falls by hand."""
    params, others = simple(), simple()
    opt, other = (AdamW(each, **CAUTIOUS, decay_scaling=scaling) for each in (params, others))
    with opt.step_in_backward():
        for seed in range(3):
            in_backward_support.train_in_backward(opt, params, [seed])
            train(other, others, [seed])
            for each in (opt, other):
                by_hand(each)
    assert bits(params) == bits(others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_offloaded(dtype: torch.dtype) -> None:
    """Its float32 masters are stepped; parameters of 16 bits are those, rounded to nearest."""
    params, wide = simple(dtype), [leaf(p.detach().float()) for p in simple(dtype)]
    opt, other = AdamW(params, **CAUTIOUS, offload=True), AdamW(wide, **CAUTIOUS)
    for seed in range(4):
        give_gradients(params, seed)
        for p, q in zip(params, wide, strict=True):
            assert p.grad is not None
            q.grad = p.grad.float()
        opt.step()
        other.step()
    assert bits([p.detach() for p in params]) == bits([q.detach().to(dtype) for q in wide])


def test_a_step_that_is_differentiated() -> None:
    """The derivative by p is 1 - lr λ where the element decays, and 1 where not."""
    start = torch.tensor([1.0, 1.0, -2.0, -2.0], requires_grad=True)
    p = start.clone()
    opt = Optimizer([p], SGD(lr=0.1), **DECOUPLED, cautious_decay=True, differentiable=True)
    p.grad = torch.tensor([1.0, -1.0, 1.0, -1.0])
    opt.step()
    p.sum().backward()
    expected = torch.tensor([1 - 0.1 * DECAY, 1.0, 1.0, 1 - 0.1 * DECAY])
    torch.testing.assert_close(start.grad, expected)


def test_a_measured_step_has_the_same_bits() -> None:
    params, others, options = simple(), simple(), {**CAUTIOUS, "weight_decay": DECAY}
    opt, other = AdamW(params, **options), AdamW(others, **options)
    opt.watch(every=1)
    train(opt, params, range(3))
    train(other, others, range(3))
    assert bits(params) == bits(others)


@pytest.mark.parametrize("scaling", ["squared", "independent"])
def test_rows_that_lag_decay_as_all_rows_do(scaling: str) -> None:
    options = {"lr": 0.01, "weight_decay": DECAY, "decay_scaling": scaling}
    twins = Twins(functools.partial(AdamW, **options))
    schedules = [lr_scheduler.CosineAnnealingLR(opt, 40) for opt in twins.opts]
    for _ in range(30):
        twins.train(1)
        for schedule in schedules:
            schedule.step()
    assert twins.apart() < 1e-9


def test_rows_that_lag_cannot_be_cautious() -> None:
    with pytest.raises(ValueError, match="cannot be tracked: cautious_decay=True"):
        Twins(functools.partial(AdamW, cautious_decay=True))


def test_lazy_rows_decay_where_they_have_a_gradient() -> None:
    p = leaf(randn(5, 3, seed=1, dtype=torch.float64))
    before = p.detach().clone()
    opt = Optimizer([p], Adam(lr=0.01), **DECOUPLED, cautious_decay=True, semantics="lazy")
    g = randn(2, 3, seed=2, dtype=torch.float64)
    p.grad = torch.sparse_coo_tensor([[1, 3]], g, (5, 3), check_invariants=True)
    opt.step()
    rows = [1, 3]
    x, envelope = before[rows].numpy(), Envelope(cautious_decay=0.01 * DECAY)
    expected, *_ = reference.step(Adam(lr=0.01), 1, x, g.numpy(), [0 * x, 0 * x], envelope=envelope)
    np.testing.assert_allclose(p.detach()[rows].numpy(), expected, rtol=1e-12)
    torch.testing.assert_close(p.detach()[[0, 2, 4]], before[[0, 2, 4]], rtol=0, atol=0)


def test_without_a_kernel_torchs_own_step_is_not_taken() -> None:
    for options in ({"cautious_decay": True}, {"decay_scaling": "squared"}):
        with pytest.raises(ValueError, match="neither cautious nor"):
            after(AdamW, backend="torch", **options)
