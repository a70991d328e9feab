"""What torch's users build around an optimizer: groups, schedulers, hooks, scaling, autograd, compilation."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler, swa_utils
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    copies,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch


def both(name: str) -> list[Make]:
    return [DROP_IN[name], functools.partial(getattr(torch.optim, name), foreach=False)]


def beside_torch(name: str, run: Callable[[Make, list[Tensor]], Any]) -> list[Any]:
    """The same program with our class and with torch's: the parameters must agree."""
    ours, theirs = simple(), simple()
    results = [run(make, params) for make, params in zip(both(name), (ours, theirs), strict=True)]
    assert_rounding(ours, theirs)
    return results


# Groups


@pytest.mark.parametrize("name", DROP_IN)
def test_groups_have_their_own_options(name: str) -> None:
    def run(make: Make, params: list[Tensor]) -> None:
        groups = [{"params": [params[0]], "lr": 0.25}, {"params": [params[1]], "weight_decay": 0.5}]
        train(make(groups, lr=0.01), params, range(4))

    beside_torch(name, run)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_parameter_s_group_is_the_only_one_that_matters(make: Make) -> None:
    """Together in one optimizer, or each in its own: the same bits."""
    together, apart = simple(), simple()
    opt = make([{"params": [p], "lr": lr} for p, lr in zip(together, (0.1, 0.2), strict=True)])
    alone = [make([p], lr=lr) for p, lr in zip(apart, (0.1, 0.2), strict=True)]
    for seed in range(4):
        give_gradients(together, seed)
        give_gradients(apart, seed)
        opt.step()
        for other in alone:
            other.step()
    assert bits(together) == bits(apart)


@pytest.mark.parametrize("name", DROP_IN)
def test_a_group_added_late_counts_its_own_steps(name: str) -> None:
    def run(make: Make, params: list[Tensor]) -> None:
        opt = make(params[:1])
        train(opt, params[:1], range(3))
        opt.add_param_group({"params": [params[1]], "lr": 0.125})
        if isinstance(opt, torch.optim.Adagrad) and not opt.state[params[1]]:
            opt.state[params[1]] = {"step": torch.tensor(0.0), "sum": torch.zeros(4)}  # torch forgets it
        train(opt, params, range(3, 6))

    beside_torch(name, run)


def test_a_group_that_selects_another_form_of_the_rule() -> None:
    def run(make: Make, params: list[Tensor]) -> None:
        groups = [{"params": [params[0]], "momentum": 0.9}, {"params": [params[1]]}]
        train(make(groups, lr=0.1), params, range(4))

    beside_torch("SGD", run)


def test_named_parameters_keep_their_names() -> None:
    model = torch.nn.Linear(3, 2)
    opt = adamas.torch.Adam(model.named_parameters())
    assert opt.param_groups[0]["param_names"] == ["weight", "bias"]
    train(opt, list(model.parameters()), range(2))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_frozen_parameter_stays(make: Make) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    model[0].requires_grad_(False)
    before = bits(list(model[0].parameters()))
    opt = make(model.parameters())
    for _ in range(3):
        opt.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        opt.step()
    assert bits(list(model[0].parameters())) == before
    assert all(p not in set(opt.state) or not opt.state[p].get("step", 0) for p in model[0].parameters())


# Learning-rate schedulers

SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "LambdaLR": lambda opt: lr_scheduler.LambdaLR(opt, lambda epoch: 0.5**epoch),
    "CosineAnnealingLR": lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=5),
    "CosineAnnealingWarmRestarts": lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=3),
    "SequentialLR": lambda opt: lr_scheduler.SequentialLR(
        opt,
        [
            lr_scheduler.LinearLR(opt, start_factor=0.1, total_iters=3),
            lr_scheduler.ExponentialLR(opt, gamma=0.5),
        ],
        milestones=[3],
    ),
    "OneCycleLR": lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=0.5, total_steps=8, cycle_momentum=False),
    "CyclicLR": lambda opt: lr_scheduler.CyclicLR(
        opt, base_lr=0.1, max_lr=0.5, step_size_up=2, cycle_momentum=False
    ),
}


@pytest.mark.parametrize("name", DROP_IN)
@pytest.mark.parametrize("schedule", SCHEDULERS.values(), ids=SCHEDULERS)
def test_schedulers_are_obeyed(name: str, schedule: Callable[[torch.optim.Optimizer], Any]) -> None:
    def run(make: Make, params: list[Tensor]) -> list[float]:
        opt = make(params, lr=0.1)
        scheduler = schedule(opt)
        for seed in range(7):
            train(opt, params, [seed])
            scheduler.step()
        return scheduler.get_last_lr()

    ours, theirs = beside_torch(name, run)
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "options"),
    [("Adam", {}), ("AdamW", {}), ("NAdam", {}), ("SGD", {"momentum": 0.9}), ("RMSprop", {"momentum": 0.9})],
)
def test_one_cycle_moves_the_momentum_too(name: str, options: dict[str, Any]) -> None:
    def run(make: Make, params: list[Tensor]) -> Any:
        opt = make(params, lr=0.1, **options)
        scheduler = lr_scheduler.OneCycleLR(opt, max_lr=0.1, total_steps=8)
        for seed in range(7):
            train(opt, params, [seed])
            scheduler.step()
        return opt.param_groups[0].get("betas", opt.param_groups[0].get("momentum"))

    ours, theirs = beside_torch(name, run)
    assert ours == theirs


def test_reduce_on_plateau_reduces() -> None:
    def run(make: Make, params: list[Tensor]) -> float:
        opt = make(params, lr=0.1)
        scheduler = lr_scheduler.ReduceLROnPlateau(opt, patience=0, factor=0.1)
        for seed in range(5):
            train(opt, params, [seed])
            scheduler.step(1.0)
        return opt.param_groups[0]["lr"]

    ours, theirs = beside_torch("Adam", run)
    assert ours == theirs < 1e-3


def test_a_scheduler_drives_an_own_rule() -> None:
    params = [leaf(torch.zeros(3))]
    opt = OPTIMIZERS["Optimizer"](params, lr=1.0)
    scheduler = lr_scheduler.LambdaLR(opt, lambda epoch: 0.5**epoch)
    sizes = []
    for t in range(1, 4):
        before = params[0].detach().clone()
        params[0].grad = torch.ones(3)
        opt.step()
        scheduler.step()
        sizes.append((before - params[0].detach())[0].item() * t**0.5)
    assert sizes == pytest.approx([1, 0.5, 0.25])


@pytest.mark.parametrize("name", DROP_IN)
def test_a_tensor_lr_is_read_at_every_step(name: str) -> None:
    ours, theirs = simple(), simple()
    for make, params in zip(both(name), (ours, theirs), strict=True):
        lr = torch.tensor(0.25)
        opt = make(params, lr=lr)
        for seed in range(3):
            train(opt, params, [seed])
            lr.mul_(0.5)
        assert opt.param_groups[0]["lr"] is lr
    assert_rounding(ours, theirs)


def test_a_scheduler_fills_a_tensor_lr_in_place() -> None:
    def run(make: Make, params: list[Tensor]) -> float:
        opt = make(params, lr=torch.tensor(0.25))
        scheduler = lr_scheduler.ExponentialLR(opt, gamma=0.5)
        for seed in range(4):
            train(opt, params, [seed])
            scheduler.step()
        return float(opt.param_groups[0]["lr"])

    ours, theirs = beside_torch("Adam", run)
    assert ours == theirs == 0.25 * 0.5**4


# Options that all classes share


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_maximize_is_minimizing_the_negative(make: Make) -> None:
    up, down = simple(), simple()
    climbing, descending = make(up, maximize=True), make(down)
    for seed in range(4):
        give_gradients(up, seed)
        give_gradients(down, seed)
        for p in down:
            assert p.grad is not None
            p.grad.neg_()
        climbing.step()
        descending.step()
    assert bits(up) == bits(down)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_quadratic_is_minimized(make: Make) -> None:
    p = leaf(torch.tensor([3.0, -2.0]))
    # Adadelta's first steps are of the size of the root of its ε; some stepsizes fall with t.
    falling = {OPTIMIZERS["Adadelta"]: 10.0, OPTIMIZERS["Adagrad"]: 0.5, OPTIMIZERS["Optimizer"]: 0.2}
    opt = make([p], lr=falling.get(make, 0.02))
    for _ in range(300):
        opt.zero_grad()
        (p * p).sum().backward()
        opt.step()
    assert (p * p).sum().item() < 13 / 2


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_closure_is_called_once_with_gradients_on(make: Make) -> None:
    params = simple()
    opt = make(params)
    calls: list[bool] = []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        opt.zero_grad()
        loss = sum((p * p).sum() for p in params)
        assert isinstance(loss, Tensor)
        loss.backward()
        return loss

    before = bits(params)
    with torch.no_grad():
        loss = opt.step(closure)
    assert loss.item() == pytest.approx(sum((p.double() ** 2).sum() for p in simple()).item())
    assert calls == [True]
    assert bits(params) != before
    assert opt.step(closure=closure) < loss
    assert opt.step() is None


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_empty_list_of_parameters_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        make([])


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_duplicate_parameters_are_warned_of_and_updated_once(make: Make) -> None:
    params, once = simple(), simple()
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        opt = make([*params, params[0]])
    other = make(once)
    train(opt, params, range(3))
    train(other, once, range(3))
    assert bits(params) == bits(once)


# Hooks and the profiler


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_hooks_run_before_and_after_a_step(make: Make) -> None:
    params = simple()
    opt = make(params)
    start = bits(params)
    seen: list[tuple[str, bool]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda optimizer, args, kwargs: seen.append((name, bits(params) == start))

    handles = [opt.register_step_pre_hook(note("pre")), opt.register_step_post_hook(note("post"))]
    handles += [
        register_optimizer_step_pre_hook(note("global pre")),
        register_optimizer_step_post_hook(note("global post")),
    ]
    try:
        train(opt, params, range(1))
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [("global pre", True), ("pre", True), ("post", False), ("global post", False)]
    train(opt, params, range(1, 2))
    assert len(seen) == 4


def test_a_pre_hook_may_replace_the_closure() -> None:
    opt = adamas.torch.Adam(simple())
    opt.register_step_pre_hook(lambda optimizer, args, kwargs: ((optimizer, lambda: "replaced"), {}))
    assert opt.step(lambda: "original") == "replaced"
    assert opt.step() == "replaced"


def test_a_pre_hook_may_edit_what_the_step_reads() -> None:
    def run(make: Make, params: list[Tensor]) -> None:
        opt = make(params, lr=0.1)
        train(opt, params, range(2))

        def clip(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            torch.nn.utils.clip_grad_norm_(params, 0.01)
            optimizer.param_groups[0]["lr"] *= 0.5

        opt.register_step_pre_hook(clip)
        train(opt, params, range(2, 5))

    beside_torch("SGD", run)


@pytest.mark.parametrize("name", ["Adam", "Lion"])
def test_the_profiler_shows_the_step(name: str) -> None:
    params = simple()
    opt = getattr(adamas.torch, name)(params)
    give_gradients(params, 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        opt.step()
        opt.zero_grad()
    labels = {event.key for event in profile.key_averages()}
    assert f"Optimizer.step#{name}.step" in labels
    assert f"Optimizer.zero_grad#{name}.zero_grad" in labels


# Mixed precision


def scaled_training(make: Make, params: list[Tensor], **options: Any) -> tuple[Any, list[bool]]:
    opt = make(params, lr=0.1, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    moved = []
    for seed in range(5):
        opt.zero_grad()
        weights = [randn(*p.shape, seed=seed) for p in params]
        if seed == 2:
            weights[0][0] = math.inf
        loss = sum((w * p).sum() for w, p in zip(weights, params, strict=True))
        before = bits(params)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        moved.append(bits(params) != before)
    return opt, moved


@pytest.mark.parametrize("name", DROP_IN)
@pytest.mark.parametrize("fused", [False, True], ids=["", "fused=True"])
def test_a_scaler_skips_steps_with_infinite_gradients(name: str, fused: bool) -> None:
    """Torch's fused step leaves unscaling to itself; asked for a fused step, ours must not claim to."""
    if fused and "fused" not in inspect.signature(getattr(torch.optim, name)).parameters:
        return
    ours, theirs = simple(), simple()
    opt, moved = scaled_training(DROP_IN[name], ours, **({"fused": True} if fused else {}))
    scaled_training(both(name)[1], theirs)
    assert moved == [True, True, False, True, True]
    assert_rounding(ours, theirs)
    assert all(state["step"] == 4 for state in opt.state.values() if "step" in state)


def test_a_scaler_works_after_unscaling_and_clipping() -> None:
    def run(make: Make, params: list[Tensor]) -> None:
        opt = make(params, lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        for seed in range(3):
            opt.zero_grad()
            scaler.scale(sum((randn(*p.shape, seed=seed) * p).sum() for p in params)).backward()
            scaler.unscale_(opt)
            torch.nn.utils.clip_grad_norm_(params, 0.5)
            scaler.step(opt)
            scaler.update()

    beside_torch("Adam", run)


# Autograd


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_graph_that_a_step_made_stale_is_noticed(make: Make, backend: str) -> None:
    p = leaf(randn(4))
    opt = make([p], backend=backend)
    loss = (p**3).sum()
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_gradients_with_a_graph_of_their_own(make: Make) -> None:
    """create_graph=True gives gradients that require gradients; the step reads their values."""
    params, plain = simple(), simple()
    opt, other = make(params), make(plain)
    for _ in range(3):
        for ps, optimizer, create in ((params, opt, True), (plain, other, False)):
            loss = sum((p**4).sum() for p in ps)
            grads = torch.autograd.grad(loss, ps, create_graph=create)
            for p, g in zip(ps, grads, strict=True):
                p.grad = g
            optimizer.step()
    assert bits(params) == bits(plain)
    assert all(p.is_leaf and p.requires_grad for p in params)
    assert not any(v.requires_grad for s in opt.state.values() for v in s.values() if isinstance(v, Tensor))


def trained_loss(make: Make, start: tuple[Tensor, ...], steps: int, **options: Any) -> Tensor:
    """A loss after differentiable steps whose gradients, too, depend on where training starts."""
    params = [p.clone() for p in start]
    opt = make(params, lr=0.1, differentiable=True, **options)
    for seed in range(steps):
        for k, (p, s) in enumerate(zip(params, start, strict=True)):
            p.retain_grad()
            p.grad = randn(*p.shape, seed=10 * seed + k, dtype=torch.float64) * s
        opt.step()
    loss = sum((p**2).sum() for p in params)
    assert isinstance(loss, Tensor)
    return loss


def away_from_zero() -> tuple[Tensor, ...]:
    return tuple(leaf(p.detach().double().abs() + 0.5) for p in simple())


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_differentiable_step_is_differentiated(make: Make) -> None:
    """Against finite differences, through three steps: through parameters, state and gradients."""
    start = away_from_zero()
    assert torch.autograd.gradcheck(lambda *start: trained_loss(make, start, 3), start)
    assert torch.autograd.gradcheck(lambda *start: trained_loss(make, start, 2, weight_decay=0.5), start)


# Torch's own cuts the graph at the first momentum, and its Adamax and AMSGrad stop in their second step.
@pytest.mark.parametrize("name", [name for name in DROP_IN if name != "Adamax"])
def test_a_differentiable_step_has_the_derivative_of_torch(name: str) -> None:
    start = away_from_zero()
    ours, theirs = (
        torch.autograd.grad(trained_loss(make, start, 3), start)
        for make in (DROP_IN[name], getattr(torch.optim, name))
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=0)  # torch corrects the bias in float32


def test_differentiable_is_noticed_when_it_is_switched_on_and_off() -> None:
    start = leaf(randn(4, dtype=torch.float64))
    p = start.clone()
    p.retain_grad()
    opt = adamas.torch.SGD([p], lr=0.5, differentiable=True)
    p.grad = 0.25 * start
    opt.step()
    (slope,) = torch.autograd.grad(p.sum(), start, retain_graph=True)
    assert slope.tolist() == [1 - 0.5 * 0.25] * 4
    assert opt.backend == "reference"
    q = leaf(randn(4))
    other = adamas.torch.SGD([q])
    train(other, [q], range(2))
    other.param_groups[0]["differentiable"] = True
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        other.step()
    other.param_groups[0]["differentiable"] = False
    train(other, [q], range(2))
    assert other.backend == "numba"


@pytest.mark.parametrize(
    "options",
    [
        {"lr": torch.tensor(0.1, requires_grad=True)},
        {"betas": (torch.tensor(0.9), torch.tensor(0.99, requires_grad=True))},
    ],
    ids=["lr", "betas"],
)
def test_options_to_be_differentiated_are_refused(options: dict[str, Any]) -> None:
    """Their gradient would be lost without a word; torch's class can give it."""
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is a tensor with requires_grad=True"):
        adamas.torch.Adam(simple(), differentiable=True, **options)
    params = simple()
    train(adamas.torch.Adam(params, **options), params, range(2))
    assert bits(params) != bits(simple())


def test_groups_may_differ_in_being_differentiable() -> None:
    start = leaf(randn(3, dtype=torch.float64))
    inner, outer = start.clone(), leaf(randn(4, dtype=torch.bfloat16))
    inner.retain_grad()
    groups = [{"params": [inner], "differentiable": True}, {"params": [outer]}]
    opt = adamas.torch.SGD(groups, lr=0.5)
    inner.grad, outer.grad = start * 2, torch.ones(4, dtype=torch.bfloat16)
    opt.step()
    (g,) = torch.autograd.grad(inner.sum(), start)
    assert g.tolist() == [0.0, 0.0, 0.0]
    assert outer.is_leaf


# What torch composes with an optimizer


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_clipping_and_averaging_compose(name: str) -> None:
    def run(make: Make, params: list[Tensor]) -> list[Tensor]:
        torch.manual_seed(0)
        # No bias before the normalization: its gradient is rounding noise, which Adam scales up.
        first = torch.nn.Linear(3, 8, bias=False)
        model = torch.nn.Sequential(first, torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        opt = make(model.parameters(), lr=0.05)
        average = swa_utils.AveragedModel(model)
        schedule = swa_utils.SWALR(opt, swa_lr=0.01, anneal_epochs=3)
        batches = [randn(16, 3, seed=seed) for seed in range(6)]
        for x in batches:
            opt.zero_grad()
            model(x).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            opt.step()
            average.update_parameters(model)
            schedule.step()
        swa_utils.update_bn(batches, average)
        return [*model.parameters(), *average.parameters()]

    ours, theirs = beside_torch(name, run)
    assert_rounding([p.detach() for p in ours], [p.detach() for p in theirs], ulps=256)


def test_accumulated_gradients_are_one_gradient() -> None:
    params, whole = simple(), simple()
    opt, other = adamas.torch.Adam(params), adamas.torch.Adam(whole)
    for seed in range(3):
        opt.zero_grad()
        other.zero_grad()
        for part in range(4):
            sum((randn(*p.shape, seed=4 * seed + part) * p).sum() for p in params).backward()
        sum(
            (sum(randn(*p.shape, seed=4 * seed + part) for part in range(4)) * p).sum() for p in whole
        ).backward()
        opt.step()
        other.step()
    assert_rounding(params, whole)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none: bool) -> None:
    params = simple()
    opt = adamas.torch.Adam(params)
    train(opt, params, range(2))
    opt.zero_grad(set_to_none=set_to_none)
    assert all(p.grad is None if set_to_none else not p.grad.any() for p in params)


@pytest.mark.parametrize("finite", [True, False], ids=["taken", "skipped"])
def test_a_finished_step_holds_no_gradient(finite: bool) -> None:
    """A reference to it would keep its memory over the next forward pass."""
    params = simple()
    opt = adamas.torch.Adam(params, skip_nonfinite=True)
    train(opt, params, range(2))
    if not finite:
        params[0].grad = torch.full_like(params[0], math.nan)
        opt.step()
    assert opt.last_step.skipped is not finite
    watched = [weakref.ref(p.grad) for p in params]
    for p in params:
        p.grad = None
    assert [w() for w in watched] == [None, None]


@pytest.fixture
def compiler() -> Iterator[None]:
    """A C++ compiler for torch.compile, which warns of itself: of what torch has deprecated, and of
    looking for `.grad` where there is none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit.script_method. is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor", UserWarning)
        reason = compiler_missing()
        if reason:
            pytest.skip(f"torch.compile has no C++ compiler: {reason}")
        yield
        torch._dynamo.reset()


def compiler_missing() -> str | None:
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        return str(error)
    return None


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["Adam", "SGD", "NAdam", "Lion"])
def test_a_compiled_training_step_gives_the_same_numbers(name: str) -> None:
    models = [torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    opts = [getattr(adamas.torch, name)(model.parameters()) for model in models]

    def step(model: torch.nn.Module, opt: torch.optim.Optimizer, x: Tensor) -> Tensor:
        opt.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        opt.step()
        return loss.detach()

    compiled = torch.compile(functools.partial(step, models[0], opts[0]))
    for seed in range(4):
        x = randn(8, 4, seed=seed)
        torch.testing.assert_close(compiled(x), step(models[1], opts[1], x))
    assert_rounding(list(models[0].parameters()), list(models[1].parameters()))


@pytest.mark.usefixtures("compiler")
def test_a_compiled_step_alone_gives_the_same_numbers() -> None:
    params, plain = simple(), simple()
    opt, other = adamas.torch.Adam(params), adamas.torch.Adam(plain)
    compiled = torch.compile(opt.step)
    for seed in range(4):
        give_gradients(params, seed)
        compiled()
        train(other, plain, [seed])
    assert bits(params) == bits(plain)
    assert opt.state[params[0]]["step"] == 4


def test_step_is_the_same_for_any_number_of_threads() -> None:
    def run(threads: int) -> Any:
        params = [leaf(randn(400, 500, seed=1)), leaf(randn(33, seed=2))]
        opt = adamas.torch.Adam(params)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            train(opt, params, range(3))
        finally:
            torch.set_num_threads(before)
        return everything(opt)

    assert run(1) == run(2) == run(5)


def test_two_optimizers_over_the_same_parameters() -> None:
    """One for the first phase of training and one for the second, or both in turn (GANs share no state)."""

    def run(make: Make, params: list[Tensor]) -> None:
        opts = make(params, lr=0.1), make(params, lr=0.01)
        for seed in range(6):
            train(opts[seed % 2], params, [seed])

    beside_torch("Adam", run)


def test_an_optimizer_survives_a_deep_copy_of_its_model() -> None:
    model = torch.nn.Linear(3, 2)
    opt = adamas.torch.Adam(model.parameters())
    train(opt, list(model.parameters()), range(2))
    before = copies(model.parameters())
    twin = copy.deepcopy(model)
    train(opt, list(model.parameters()), range(2, 4))
    assert bits(list(twin.parameters())) == bits(before)
