"""The range of numbers: gradients far larger or smaller than usual take torch's steps, or float64's."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import DROP_IN, OPTIMIZERS, Make, leaf, randn

from adamas.torch import SGD, Adagrad, Adam, RMSprop

every_backend = pytest.mark.parametrize("backend", ["numba", "reference"])
VARIANTS = [name for name in OPTIMIZERS if name.partition("-")[0] in DROP_IN]
ADAPTIVE = [name for name in VARIANTS if "eps" in OPTIMIZERS[name]([leaf(torch.zeros(1))]).defaults]


def torchs(name: str) -> Make:
    """The class of torch.optim that one of ours stands for, with the same options."""
    make = OPTIMIZERS[name]
    keywords = make.keywords if isinstance(make, functools.partial) else {}
    return functools.partial(getattr(torch.optim, name.partition("-")[0]), foreach=False, **keywords)


def stepped(
    make: Make, start: Tensor, gradients: Sequence[Tensor], **options: Any
) -> tuple[Tensor, torch.optim.Optimizer]:
    p = leaf(start.clone())
    opt = make([p], **options)
    for g in gradients:
        p.grad = g.to(p.dtype)
        opt.step()
    return p.detach(), opt


# Large gradients.

LARGE = torch.tensor([1e18, -1e19, 2e19, -1e20, 2e20, 3e20])


@every_backend
@pytest.mark.parametrize("later", [1.0, 1e20], ids=["then small", "large on"])
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_whose_squares_overflow_step_as_torchs(name: str, later: float, backend: str) -> None:
    """Torch multiplies 1 - β2 first, so that Adam's v lasts to 5.8e20. Element by element, wherever torch's
    state is finite in float32, its step in float64 (in float32 its NAdam divides by infinity).
    Three such gradients, and three more."""
    gradients = [LARGE] * 3 + [torch.full_like(LARGE, later)] * 3
    start = torch.ones_like(LARGE)
    narrow, reference = stepped(torchs(name), start, gradients, lr=1e-3)
    theirs, _ = stepped(torchs(name), start.double(), gradients, lr=1e-3)
    ours, opt = stepped(OPTIMIZERS[name], start, gradients, lr=1e-3, backend=backend)
    states = [x for state in reference.state.values() for x in state.values() if x is not None and x.dim()]
    held = torch.stack([narrow.isfinite(), *(x.isfinite() for x in states)]).all(dim=0)
    assert opt.backend == backend
    assert held.any() or later > 1  # Adagrad's sum holds no 1e20
    size = theirs.abs().max().item()  # of what cancels, in steps that follow the gradient's size
    torch.testing.assert_close(ours[held].double(), theirs[held], rtol=1e-4, atol=1e-6 * size)
    assert not ours[narrow.isfinite()].isnan().any()


@every_backend
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adam-amsgrad", "NAdam", "RAdam"])
def test_one_gradient_at_the_end_of_torchs_range(name: str, backend: str) -> None:
    gradients = [torch.tensor([5e20, -5.5e20]), torch.ones(2), torch.ones(2)]
    theirs, _ = stepped(torchs(name), torch.ones(2, dtype=torch.float64), gradients, lr=1e-3)
    ours, opt = stepped(OPTIMIZERS[name], torch.ones(2), gradients, lr=1e-3, backend=backend)
    assert all(x.isfinite().all() for state in opt.state.values() for x in state.values())
    size = theirs.abs().max().item()
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6 * size)


def test_how_far_torch_lasts() -> None:
    """What the test above rests on: there are elements beyond 1.85e19 that torch steps rightly."""
    for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adam-amsgrad"):
        p, opt = stepped(torchs(name), torch.ones(6), [LARGE] * 3)
        assert p.isfinite().all()
        assert all(state["exp_avg_sq"].isfinite().all() for state in opt.state.values())


@every_backend
def test_radams_first_steps_are_the_mean_alone(backend: str) -> None:
    """Unrectified, they do not look at v, infinite or not."""
    gradients = [torch.full((4,), 1e25)] * 4
    theirs, _ = stepped(torch.optim.RAdam, torch.zeros(4), gradients, lr=1e-26, foreach=False)
    ours, _ = stepped(OPTIMIZERS["RAdam"], torch.zeros(4), gradients, lr=1e-26, backend=backend)
    assert theirs.isfinite().all()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "AMSGrad"])
def test_large_gradients_in_state_of_bfloat16(name: str, dtype: torch.dtype) -> None:
    """It has the range of float32: no element is lost."""
    p = leaf(torch.zeros(5000, dtype=dtype))
    opt = OPTIMIZERS[name]([p], lr=1e-3, state_format="bfloat16")
    for _ in range(6):
        p.grad = torch.full((5000,), 1e20, dtype=dtype)
        opt.step()
    moved = -p.detach().double()
    assert moved.isfinite().all()
    expected, _ = stepped(OPTIMIZERS[name], torch.zeros(1), [torch.full((1,), 1e20)] * 6, lr=1e-3)
    assert moved.mean().item() == pytest.approx(-expected.item(), rel=0.05)


# Norms whose squares overflow.


@every_backend
@pytest.mark.parametrize("scale", [1e200, 1e154, 1e-200, 1e307])
def test_the_norm_of_wide_gradients_is_finite_and_right(scale: float, backend: str) -> None:
    p = leaf(torch.zeros(3, dtype=torch.float64))
    opt = SGD([p], lr=1.0, clip_norm=1e-3 * scale, skip_nonfinite=True, backend=backend)
    p.grad = torch.tensor([3.0, -4.0, 0.0], dtype=torch.float64) * scale
    opt.step()
    assert not opt.last_step.skipped
    assert float(opt.last_step.grad_norm) == pytest.approx(5 * scale, rel=1e-12)
    if scale > 1:  # torch adds 1e-6 to the norm that it divides by
        assert p.tolist() == pytest.approx([-6e-4 * scale, 8e-4 * scale, 0.0], rel=1e-12)


@every_backend
def test_the_norm_of_wide_and_narrow_gradients_together(backend: str) -> None:
    params = [
        leaf(randn(3000, seed=1)),
        leaf(randn(5000, seed=2).double()),
        leaf(randn(9, seed=3).bfloat16()),
    ]
    opt = Adam(params, clip_norm=1.0, skip_nonfinite=True, backend=backend)
    for k, p in enumerate(params):
        p.grad = randn(*p.shape, seed=10 + k).to(p.dtype)
    params[1].grad *= 1e200  # type: ignore[operator]
    expected = 1e200 * float((params[1].grad / 1e200).norm())  # type: ignore[operator]
    opt.step()
    assert not opt.last_step.skipped
    assert float(opt.last_step.grad_norm) == pytest.approx(expected, rel=1e-12)
    assert float(opt.last_step.clip_factor) == pytest.approx(1 / expected, rel=1e-12)
    assert all(p.isfinite().all() for p in params)


@every_backend
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan], ids=str)
def test_an_element_that_is_not_finite_still_skips(bad: float, backend: str) -> None:
    """Among others whose squares overflow."""
    p = leaf(torch.zeros(3, dtype=torch.float64))
    opt = SGD([p], lr=1.0, clip_norm=1.0, skip_nonfinite=True, backend=backend)
    p.grad = torch.tensor([3e200, bad, 1.0], dtype=torch.float64)
    opt.step()
    assert opt.last_step.skipped
    assert p.tolist() == [0.0] * 3


@every_backend
def test_complex_gradients_of_large_size(backend: str) -> None:
    p = leaf(torch.zeros(2, dtype=torch.complex128))
    opt = SGD([p], lr=1.0, clip_norm=1.0, skip_nonfinite=True, backend=backend)
    p.grad = torch.tensor([3e200 + 4e200j, 0], dtype=torch.complex128)
    opt.step()
    assert not opt.last_step.skipped
    assert float(opt.last_step.grad_norm) == pytest.approx(5e200, rel=1e-12)


# Small gradients.


@every_backend
@pytest.mark.parametrize("eps", [0.0, 1e-35, 1e-30])
@pytest.mark.parametrize("size", [1e-15, 1e-18])
@pytest.mark.parametrize("name", [name for name in ADAPTIVE if name != "Adadelta"])
def test_tiny_gradients_with_a_tinier_epsilon(name: str, size: float, eps: float, backend: str) -> None:
    """v of gradients of 1e-18 is denormal, and still what divides: to a thousandth, torch's in float64."""
    signs = torch.tensor([1.0, -1.0, 1.0, 0.5])
    gradients = [size * signs, size * signs.flip(0), *([size * signs] * 6)]
    start = torch.zeros(4)
    make = torchs(name)
    theirs, _ = stepped(make, start.double(), [g.double() for g in gradients], lr=0.1, eps=eps)
    ours, opt = stepped(OPTIMIZERS[name], start, gradients, lr=0.1, eps=eps, backend=backend)
    assert opt.backend == backend
    size = theirs.abs().max().item()
    assert size > 5e-3
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-3 * size)


# Sums of 16-bit parameters.


def gapped(x: Tensor) -> Tensor:
    wide = torch.zeros(*x.shape, 2, dtype=x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


@pytest.mark.parametrize("layout", [Tensor.clone, gapped], ids=["dense", "gaps"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("dtype", "size", "steps", "total"),
    [
        (torch.float16, 300.0, 1, 90_000.0),
        (torch.bfloat16, 1.0, 600, 600.0),
        (torch.float16, 16.0, 400, 102_400.0),
    ],
    ids=str,
)
def test_adagrads_sum_is_kept_in_float32(
    layout: Any, backend: str, dtype: torch.dtype, size: float, steps: int, total: float
) -> None:
    """In 16 bits it overflows, or no longer grows; torch's constructor makes it so."""
    p = leaf(layout(torch.zeros(3, dtype=dtype)))
    opt = Adagrad([p], lr=0.5, backend=backend)
    for _ in range(steps):
        p.grad = torch.full_like(p, size)
        opt.step()
    assert opt.state[p]["sum"].dtype == torch.float32
    assert opt.state[p]["sum"].tolist() == [total] * 3
    if steps == 1:
        assert p.tolist() == [-0.5] * 3


@pytest.mark.parametrize("layout", [Tensor.clone, gapped], ids=["dense", "gaps"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cls", [Adam, RMSprop])
def test_squares_beyond_float16_on_every_backend(cls: Make, layout: Any, backend: str) -> None:
    p = leaf(layout(torch.zeros(3, dtype=torch.float16)))
    opt = cls([p], lr=0.5, backend=backend)
    p.grad = torch.full_like(p, 6e4)
    opt.step()
    assert p.isfinite().all()
    assert p[0].item() == pytest.approx(-0.5 if cls is Adam else -5.0, rel=1e-3)
