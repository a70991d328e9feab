"""State in storage formats through the torch optimizers: memory, near float32, and the bits of a seed."""

from __future__ import annotations

import itertools

import pytest
import torch
from code_support import coarseness
from state_support import (
    FOR_ADAM,
    LARGE,
    SMALL,
    STORED,
    STORED_FOR_ADAM,
    fits,
    formats_in,
    large,
    stored_bytes,
    tensors_of,
)
from torch import Tensor
from torch_support import OPTIMIZERS, Make, bits, copies, everything, give_gradients, leaf, randn, train

from adamas import formats
from adamas.torch import SGD, Adam

every_format = pytest.mark.parametrize("format", FOR_ADAM)
every_stored = pytest.mark.parametrize("format", STORED_FOR_ADAM)

# A rule of each kind (each is a compilation, and test_formats_rules.py has them all): with two moments,
# without a count of steps, with a carried value, and a user's own; with each format that it takes.
KINDS = ["Adam", "SGD-nesterov", "NAdam", "Optimizer"]
every_kind = pytest.mark.parametrize("make", [OPTIMIZERS[name] for name in KINDS], ids=KINDS)
KIND_FORMATS = [(name, x) for name in KINDS for x in STORED if fits(OPTIMIZERS[name], x)]


# What is stored.


@every_format
def test_memory_of_adams_state(format: str) -> None:
    """Two slots of what the format stores, and a scale for each block of a row, where it has them."""
    p = leaf(torch.zeros(1000, 1000))
    opt = Adam([p], state_format=format)
    train(opt, [p], range(1))
    known = formats.get(format)
    used = 2 * (known.stored.itemsize / known.packs + (4 * 8 / 1000 if known.scaled else 0))
    assert stored_bytes(opt, p) / p.numel() == used


@every_format
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_small_tensors_are_not_scaled(format: str, dtype: torch.dtype) -> None:
    sizes = {LARGE: format, SMALL: "float32" if formats.get(format).scaled else format}
    params = [leaf(torch.zeros(n, dtype=dtype)) for n in sizes]
    opt = Adam(params, state_format=format)
    train(opt, params, range(2))
    for p, expected in zip(params, sizes.values(), strict=True):
        assert set(formats_in(opt, p).values()) == {expected}


def test_a_format_for_each_slot() -> None:
    p = leaf(randn(LARGE))
    opt = Adam([p], amsgrad=True, state_format={"exp_avg": "float8", "exp_avg_sq": "bfloat16"})
    train(opt, [p], range(2))
    assert formats_in(opt, p) == {"exp_avg": "float8", "exp_avg_sq": "bfloat16", "max_exp_avg_sq": "float32"}


@every_stored
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.complex128], ids=str)
def test_wide_and_complex_parameters_keep_state_of_their_own_type(format: str, dtype: torch.dtype) -> None:
    params = [leaf(randn(5000, seed=1, dtype=dtype))]
    plain = copies(params)
    opt = Adam(params, state_format=format)
    train(opt, params, range(3))
    train(Adam(plain), plain, range(3))
    assert {x.dtype for x in tensors_of(opt, params[0]).values()} == {dtype}
    assert bits(params) == bits(plain)


@every_kind
def test_float32_by_name_is_the_default(make: Make) -> None:
    params, plain = large(), large()
    opt, other = make(params, state_format="float32"), make(plain)
    train(opt, params, range(3))
    train(other, plain, range(3))
    assert everything(opt) == everything(other)


@pytest.mark.parametrize(("name", "format"), KIND_FORMATS)
def test_training_stays_near_that_in_float32(name: str, format: str) -> None:
    """Ten steps in one direction with noise; as close as the derivation in test_formats_rules.py says."""
    make, params, plain = OPTIMIZERS[name], large(), large()
    start = copies(params)
    opt, other = make(params, state_format=format), make(plain)
    for seed in range(10):
        for ps in (params, plain):
            give_gradients(ps, seed)
            for p in ps:
                p.grad = 0.05 + 0.05 * p.grad
        opt.step()
        other.step()
    for p, q, s in zip(params, plain, start, strict=True):
        error = (p - q).norm() / (q - s).norm()
        assert error.item() <= coarseness(format) ** 0.5 / 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_kind
def test_half_precision_parameters_keep_float32_state(make: Make, dtype: torch.dtype) -> None:
    params = large(dtype)
    opt = make(params)
    train(opt, params, range(2))
    assert all(x.dtype == torch.float32 for p in params for x in tensors_of(opt, p).values())
    assert opt.backend == "numba"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_model_learns_and_counts(dtype: torch.dtype) -> None:
    """At a stepsize of a fortieth of a spacing, for more steps than a bfloat16 counter could count."""
    p = leaf(torch.ones(LARGE, dtype=dtype))
    opt = Adam([p], lr=1e-4, state_format="bfloat16")
    for _ in range(300):
        p.grad = p.detach().clone()
        opt.step()
    assert opt.state[p]["step"].item() == 300
    assert p.detach().double().mean().item() == pytest.approx(1 - 300e-4, abs=2e-3)


# Seeds.


def updates(seed: int) -> list[list[Tensor]]:
    """Three equal tensors after each of three steps, which only rounding tells apart."""
    params = [leaf(torch.ones(500, dtype=torch.bfloat16)) for _ in range(3)]
    opt, history = SGD(params, lr=2**-9, seed=seed), []
    for _ in range(3):
        for p in params:
            p.detach().fill_(1)
            p.grad = torch.ones(500, dtype=torch.bfloat16)
        opt.step()
        history.append([p.detach().clone() for p in params])
    return history


def test_rounding_depends_on_the_seed_the_step_and_the_tensor() -> None:
    """No two of them alike: seeds two apart must not round neighbouring tensors alike, either."""
    seen = [bits(x) for seed in range(6) for step in updates(seed) for x in step]
    assert len(seen) == 54
    assert all(a != b for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("seed", [0, 7, -3, 2**70])
def test_a_seed_is_a_run(seed: int) -> None:
    assert bits(updates(seed)) == bits(updates(seed))


def test_rounding_does_not_depend_on_what_else_has_a_gradient() -> None:
    params = [leaf(torch.ones(500, dtype=torch.bfloat16)) for _ in range(2)]
    opt = SGD(params, lr=2**-9)
    params[1].grad = torch.ones(500, dtype=torch.bfloat16)
    opt.step()
    assert bits(params[1].detach()) == bits(updates(0)[0][1])
