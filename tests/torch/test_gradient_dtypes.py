"""Float32 gradients of 16-bit parameters are used as they are: nothing of them is rounded or lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import OPTIMIZERS, Make, assert_rounding, bits, leaf, randn

from adamas.torch import SGD, Adam

pytestmark = pytest.mark.skipif(
    not hasattr(torch.Tensor, "grad_dtype"), reason="this torch has no Tensor.grad_dtype"
)

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_half = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
every_backend = pytest.mark.parametrize("backend", ["numba", "reference"])
SMALL, LARGE = 1e-9, 3e5  # below the smallest float16, beyond the largest


def half(values: Sequence[float] | Tensor, dtype: torch.dtype) -> Tensor:
    """A 16-bit parameter that takes float32 gradients."""
    p = leaf(torch.as_tensor(values).to(dtype))
    p.grad_dtype = torch.float32
    return p


def slots_of(opt: torch.optim.Optimizer, p: Tensor) -> list[Tensor]:
    return [x for x in opt.state[p].values() if torch.is_tensor(x) and x.dim()]


def assert_next_to(p: Tensor, expected: Tensor) -> None:
    """Rounded to one of the two neighbours: less than a spacing away."""
    spacing = max(torch.finfo(p.dtype).eps, 1e-12)
    tiny = torch.finfo(p.dtype).smallest_normal * spacing
    torch.testing.assert_close(p.detach().double(), expected.double(), rtol=spacing, atol=tiny)


@every_backend
@every_half
@pytest.mark.parametrize(("g", "lr"), [(SMALL, 1e6), (LARGE, 1e-5)])
def test_a_plain_step_is_lr_times_the_gradient(dtype: torch.dtype, g: float, lr: float, backend: str) -> None:
    p = half([0.0, 0.0], dtype)
    opt = SGD([p], lr=lr, backend=backend)
    p.grad = torch.tensor([g, -g])
    opt.step()
    assert opt.backend == backend
    assert_next_to(p, torch.tensor([-lr * g, lr * g]))


@every_backend
@every_half
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}], ids=["plain", "clip"])
def test_adams_first_step(dtype: torch.dtype, options: dict[str, Any], backend: str) -> None:
    """lr g / (|g| + ε), of the gradient as clipped."""
    g = torch.tensor([SMALL, -LARGE, 0.0])
    p = half([0.0, 0.0, 0.0], dtype)
    opt = Adam([p], lr=0.5, backend=backend, eps=1e-15, **options)
    p.grad = g.clone()
    opt.step()
    factor = 1 / (LARGE + 1e-6) if options else 1.0
    scaled = factor * g.double()
    assert_next_to(p, -0.5 * scaled / (scaled.abs() + 1e-15))
    assert bits(p.grad) == bits(g)
    if options:
        assert float(opt.last_step.grad_norm) == pytest.approx(LARGE, rel=1e-6)
        assert float(opt.last_step.clip_factor) == pytest.approx(factor, rel=1e-6)


@every_backend
@every_half
@every_optimizer
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}], ids=["plain", "clip"])
def test_the_state_is_that_of_a_float32_parameter(
    make: Make, dtype: torch.dtype, backend: str, options: dict[str, Any]
) -> None:
    """After one step from equal values and gradients: no bit of the gradient's was dropped."""
    start = randn(300, seed=1).to(dtype)
    p, wide = half(start, dtype), leaf(start.float())
    opt, other = make([p], backend=backend, **options), make([wide], backend=backend, **options)
    p.grad, wide.grad = randn(300, seed=2), randn(300, seed=2)
    opt.step()
    other.step()
    assert opt.backend == backend
    assert_rounding(slots_of(opt, p), slots_of(other, wide), ulps=4)
    assert_next_to(p, wide.detach())


@every_backend
@every_half
def test_a_gradient_too_large_for_the_parameters_type_is_not_skipped(
    dtype: torch.dtype, backend: str
) -> None:
    big = 2.0**127 * (2 - 2**-20) if dtype == torch.bfloat16 else LARGE  # rounds to infinity
    p = half([0.0, 1.0], dtype)
    lr = 100 / big
    opt = SGD([p], lr=lr, skip_nonfinite=True, backend=backend)
    p.grad = torch.tensor([big, 0.0])
    opt.step()
    assert not opt.last_step.skipped
    assert_next_to(p, torch.tensor([-100.0, 1.0]))
    before = bits(p)
    p.grad = torch.tensor([math.inf, 0.0])
    opt.step()
    assert opt.last_step.skipped
    assert bits(p) == before


@every_half
def test_a_momentum_buffer_has_the_digits_of_the_gradient(dtype: torch.dtype) -> None:
    """1 + 2^-9 + 2^-20 is no 16-bit number; torch.optim would keep 16 bits here."""
    g = 1 + 2**-9 + 2**-20
    p = half([0.0], dtype)
    opt = SGD([p], lr=0.5, momentum=0.5)
    for expected in (g, 1.5 * g):
        p.grad = torch.tensor([g])
        opt.step()
        assert opt.state[p]["momentum_buffer"].tolist() == [expected]
    assert opt.backend == "numba"


@every_half
@every_optimizer
def test_the_type_of_the_gradient_may_change_from_step_to_step(make: Make, dtype: torch.dtype) -> None:
    """Gradients that 16 bits hold exactly are the same gradients in either type."""
    params = [half(randn(300, seed=k).to(dtype), dtype) for k in range(2)]
    plain = [leaf(p.detach().clone()) for p in params]
    opt, other = make(params, lr=0.01), make(plain, lr=0.01)
    for seed in range(6):
        for k, (p, q) in enumerate(zip(params, plain, strict=True)):
            q.grad = randn(300, seed=10 * seed + k).to(dtype)
            wide = (seed + k) % 3 > 0
            p.grad = None
            p.grad_dtype = torch.float32 if wide else dtype
            p.grad = q.grad.float() if wide else q.grad.clone()
        opt.step()
        other.step()
        assert opt.backend == "numba"
    assert bits(params) == bits(plain)
    assert [bits(slots_of(opt, p)) for p in params] == [bits(slots_of(other, q)) for q in plain]


@every_backend
def test_gradients_of_every_type_in_one_optimizer(backend: str) -> None:
    """Their norm is that of all of them, in full."""
    params = [
        half(torch.zeros(5), torch.float16),
        half(torch.zeros(5), torch.bfloat16),
        leaf(torch.zeros(5)),
        leaf(torch.zeros(5, dtype=torch.float16)),
        leaf(torch.zeros(5, dtype=torch.float64)),
    ]
    opt = SGD(params, lr=1.0, clip_norm=1.0, backend=backend)
    for p, size in zip(params, (LARGE, 1e5, 2e5, 6e4, 4e5), strict=True):
        p.grad = torch.full((5,), size, dtype=p.grad_dtype or p.dtype)
    norm = math.sqrt(5 * (LARGE**2 + 1e5**2 + 2e5**2 + 6e4**2 + 4e5**2))
    expected = [p.grad.double() / (norm + 1e-6) for p in params]  # type: ignore[union-attr]
    opt.step()
    assert float(opt.last_step.grad_norm) == pytest.approx(norm, rel=1e-6)
    for p, moved in zip(params, expected, strict=True):
        assert_next_to(p, -moved)


@every_half
def test_state_formats_and_averages_beside_it(dtype: torch.dtype) -> None:
    p, wide = half(torch.ones(5000), dtype), leaf(torch.ones(5000))
    opts = [Adam([x], lr=0.01, state_format="bfloat16", average=0.5) for x in (p, wide)]
    for seed in range(3):
        for x, opt in zip((p, wide), opts, strict=True):
            x.grad = SMALL * (2 + randn(5000, seed=seed))
            opt.step()
    assert opts[0].backend == "numba"
    moved = [1 - x.detach().double().mean().item() for x in (p, wide)]
    # Each of 5,000 roundings is off by less than a spacing: a mean by less than four of its deviations.
    assert moved[0] == pytest.approx(moved[1], abs=4 * torch.finfo(dtype).eps / 5000**0.5)
    assert opts[0].state[p]["average"].dtype == torch.float32
