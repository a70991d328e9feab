"""Bugs that other libraries have had, each named with its report: none of them here."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from numba.core import event
from torch import Tensor
from torch.distributed.checkpoint import state_dict as dcp
from torch_support import (
    DROP_IN,
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    default_dtype,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch

UNIT_STEP = ["Adam", "AdamW", "Adamax", "AMSGrad", "AdamW-amsgrad", "Lion"]


@pytest.mark.parametrize("name", UNIT_STEP)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_the_first_step_has_the_size_of_lr(name: str, size: float) -> None:
    """Bias correction divides (convnetjs#70); whatever the size of the gradient."""
    p = leaf(torch.zeros(2))
    opt = OPTIMIZERS[name]([p], lr=0.25)
    p.grad = torch.tensor([size, -size])
    opt.step()
    assert p.tolist() == pytest.approx([-0.25, 0.25], rel=2e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "AMSGrad"])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 0.5])
def test_epsilon_stands_outside_the_root_of_the_corrected_moment(name: str, eps: float) -> None:
    """Algorithm 1 of the paper (pytorch#2060, #22628, tensorflow#9047): Δ = lr g / (|g| + ε)."""
    p = leaf(torch.zeros(3))
    opt = OPTIMIZERS[name]([p], lr=0.25, eps=eps)
    p.grad = torch.tensor([1e-4, 0.5, -2.0])
    opt.step()
    expected = [-0.25 * g / (abs(g) + eps) for g in (1e-4, 0.5, -2.0)]
    assert p.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in DROP_IN if name != "SGD"])
@pytest.mark.parametrize("taken", [255, 256, 257, 65_535, 69_999, 1_000_000])
def test_the_step_counter_goes_on(name: str, taken: int) -> None:
    """A counter in bfloat16 sticks at 256 (torchao#4915, DeepSpeed#8496). All that a rule knows of the
    steps behind it is its state, so to set the counter there is to have taken them."""
    ours, theirs = simple(), simple()
    opt = DROP_IN[name](ours)
    reference = getattr(torch.optim, name)(theirs, foreach=False)
    for optimizer, params in ((opt, ours), (reference, theirs)):
        train(optimizer, params, range(1))
        for p in params:
            optimizer.state[p]["step"].fill_(taken)
        train(optimizer, params, range(1, 4))
    assert_rounding(ours, theirs)
    assert [opt.state[p]["step"].item() for p in ours] == [taken + 3, taken + 3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_step_counter_does_not_follow_a_low_precision_default(dtype: torch.dtype) -> None:
    p = leaf(torch.zeros(3, dtype=torch.float32))
    with default_dtype(dtype):
        opt = adamas.torch.Adam([p])
        p.grad = torch.ones(3, dtype=torch.float32)
        opt.step()
        opt.state[p]["step"].fill_(300)
        opt.step()
    assert opt.state[p]["step"].dtype == torch.float32
    assert opt.state[p]["step"].item() == 301


@pytest.mark.parametrize("name", ["AdamW", "AdaBelief", "Lion"])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_weight_decay_is_applied_once(name: str, groups: int) -> None:
    """Once a parameter, not once a group (timm#2750): without gradient p shrinks by 1 - lr λ exactly."""
    params = [leaf(torch.ones(4)) for _ in range(3)]
    opt = OPTIMIZERS[name]([{"params": params[k::groups]} for k in range(groups)], lr=0.5, weight_decay=0.5)
    for t in range(1, 4):
        for p in params:
            p.grad = torch.zeros(4)
        opt.step()
        assert [p.tolist() for p in params] == [[0.75**t] * 4] * 3


def test_weight_decay_of_a_group_is_its_own() -> None:
    decayed, spared = leaf(torch.ones(4)), leaf(torch.ones(4))
    groups = [{"params": [decayed]}, {"params": [spared], "weight_decay": 0.0}]
    opt = adamas.torch.AdamW(groups, lr=0.5, weight_decay=0.5)
    for p in (decayed, spared):
        p.grad = torch.zeros(4)
    opt.step()
    assert (decayed.tolist(), spared.tolist()) == ([0.75] * 4, [1.0] * 4)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "SGD"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_state_decays_to_zero_and_not_into_denormals(name: str, dtype: torch.dtype) -> None:
    """Processors compute with denormals a hundred times slower (pytorch#3863)."""
    p = leaf(torch.ones(40, dtype=dtype))
    opt = OPTIMIZERS[name]([p])
    tiny = torch.finfo(dtype).tiny
    p.grad = torch.logspace(-20, 0, 40, dtype=dtype)
    opt.step()
    for key, value in opt.state[p].items():
        if value.dim():  # a step before each of these falls below the smallest normal number
            opt.state[p][key] = (tiny * torch.linspace(0.5, 1.5, 40, dtype=torch.float64)).to(dtype)
    p.grad = torch.zeros(40, dtype=dtype)
    for _ in range(3):
        opt.step()
        for value in opt.state[p].values():
            assert bool(((value == 0) | (value.abs() >= tiny)).all())


def test_no_option_compiles_anything_after_the_first_step() -> None:
    """torch.compile recompiles when lr or β change (pytorch#163093, #130467)."""
    params = simple()
    opt = adamas.torch.AdamW(params)
    train(opt, params, range(1))
    with event.install_recorder("numba:compile") as compilations:
        for seed in range(1, 6):
            opt.param_groups[0].update(
                lr=0.1 / seed,
                betas=(0.9 / seed, 0.99),
                eps=10.0**-seed,
                weight_decay=0.1 * seed,
                maximize=bool(seed % 2),
                decoupled_weight_decay=bool(seed % 3),
            )
            train(opt, params, [seed])
        opt.param_groups[0]["lr"] = torch.tensor(0.1)
        train(opt, params, range(6, 8))
    assert compilations.buffer == []


@pytest.mark.parametrize("name", ["Adam", "Adam-amsgrad", "NAdam", "SGD-momentum", "RMSprop-both", "Adagrad"])
def test_a_distributed_checkpoint_makes_the_state_it_loads_into(name: str) -> None:
    """It does so by a step with zero gradients and lr 0, of which nothing may remain."""
    options: dict[str, Any] = {"lr": 0.1}
    models = [torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    opts = [OPTIMIZERS[name](model.parameters(), **options) for model in models]
    params = [list(model.parameters()) for model in models]
    train(opts[0], params[0], range(3))
    saved = copy.deepcopy(dcp.get_optimizer_state_dict(models[0], opts[0]))
    models[1].load_state_dict(models[0].state_dict())
    dcp.set_optimizer_state_dict(models[1], opts[1], saved)
    assert opts[1].param_groups[0]["lr"] == 0.1
    train(opts[0], params[0], range(3, 6))
    train(opts[1], params[1], range(3, 6))
    assert bits(params[1]) == bits(params[0])


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_with_lr_0_moves_nothing(make: Make) -> None:
    params = simple()
    opt = make(params, lr=0.0, weight_decay=0.5)
    train(opt, params, range(3))
    assert bits(params) == bits(simple())


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_gradient_of_zero_from_the_start_is_no_division_by_zero(make: Make) -> None:
    p = leaf(torch.ones(5))
    opt = make([p])
    for _ in range(3):
        p.grad = torch.zeros(5)
        opt.step()
    # AdamW decays by default.
    expected = (1 - 1e-3 * 1e-2) ** 3 if isinstance(opt, torch.optim.AdamW) else 1.0
    assert p.tolist() == pytest.approx([expected] * 5, rel=1e-6)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
@pytest.mark.parametrize("name", ["Adam", "Adam-amsgrad", "Adamax", "NAdam", "Adagrad", "RMSprop", "Lion"])
def test_the_scale_of_the_gradients_does_not_matter(name: str, scale: float) -> None:
    """The paper's section 2.1; with ε = 0 and a power of two, to the bit."""
    options = {} if name == "Lion" else {"eps": 0.0}
    params, scaled = [leaf(randn(9, seed=1))], [leaf(randn(9, seed=1))]
    opt, other = OPTIMIZERS[name](params, **options), OPTIMIZERS[name](scaled, **options)
    for seed in range(4):
        g = randn(9, seed=seed) + 2
        params[0].grad, scaled[0].grad = g, g * scale
        opt.step()
        other.step()
    assert bits(scaled) == bits(params)


def test_adamw_without_decay_is_adam() -> None:
    params, plain = simple(), simple()
    opt, other = adamas.torch.AdamW(params, weight_decay=0), adamas.torch.Adam(plain)
    train(opt, params, range(5))
    train(other, plain, range(5))
    assert bits(params) == bits(plain)


def test_amsgrad_by_either_name() -> None:
    params, plain = simple(), simple()
    opt, other = adamas.torch.AMSGrad(params), adamas.torch.Adam(plain, amsgrad=True)
    train(opt, params, range(5))
    train(other, plain, range(5))
    assert everything(opt) == everything(other)


def accumulate(opt: torch.optim.Optimizer, p: Tensor, parts: int) -> None:
    opt.zero_grad()
    for _ in range(parts):
        (p.sum() / parts).backward()
    opt.step()


def test_accumulation_is_not_ignored() -> None:
    p, whole = leaf(torch.ones(3)), leaf(torch.ones(3))
    opt, other = adamas.torch.SGD([p], lr=0.5), adamas.torch.SGD([whole], lr=0.5)
    accumulate(opt, p, 4)
    accumulate(other, whole, 1)
    assert bits(p) == bits(whole)


def test_many_steps_with_one_sign_stay_within_the_bound_of_the_paper() -> None:
    """|Δ| <= lr where 1 - β1 <= sqrt(1 - β2) (section 2.1), for 1,000 steps of wild gradients."""
    p = leaf(torch.zeros(50))
    opt = adamas.torch.Adam([p], lr=0.01, betas=(0.9, 0.99), eps=0.0)
    for seed in range(1000):
        before = p.detach().clone()
        p.grad = torch.exp(3 * randn(50, seed=seed))
        opt.step()
        assert (p.detach() - before).abs().max().item() <= 0.01 * math.sqrt(1 / (1 - 0.9**2 / 0.99)) * 1.01


def test_hundreds_of_small_parameters_in_one_step() -> None:
    """More tensors than any list of arguments of a kernel; one call for all."""
    params = [leaf(randn(3, seed=k)) for k in range(300)]
    plain = [leaf(randn(3, seed=k)) for k in range(300)]
    opt, reference = adamas.torch.Adam(params), torch.optim.Adam(plain, foreach=False)
    for seed in range(2):
        give_gradients(params, seed)
        give_gradients(plain, seed)
        opt.step()
        reference.step()
    assert_rounding(params, plain)


def test_a_step_works_without_assertions() -> None:
    """`python -O` removes assertions, and with them what is called inside one."""
    program = (
        "import torch, adamas.torch\n"
        "p = torch.nn.Parameter(torch.ones(3))\n"
        "p.grad = torch.ones(3)\n"
        "adamas.torch.Adam([p], lr=0.25).step()\n"
        "print(p.tolist())"
    )
    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[0.75, 0.75, 0.75]"), done.stderr
