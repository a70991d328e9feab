"""The norm of the step: the root of the rounded sum of squares, on every launcher and however split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_support import leaf, randn

from adamas.backends import exact
from adamas.torch import SGD, Adam
from adamas.torch.launchers import _squares, names

every_launcher = pytest.mark.parametrize("backend", names())
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def reals(tensors: Sequence[Tensor]) -> list[float]:
    parts = [torch.view_as_real(x) if x.is_complex() else x for x in tensors]
    return [x for part in parts for x in part.double().flatten().tolist()]


def rounded(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(math.fsum(x * x for x in reals(tensors)))


def wild(n: int, seed: int, dtype: torch.dtype, span: float = 12.0) -> Tensor:
    """Numbers of all sizes and some zeros."""
    generator = torch.Generator().manual_seed(seed)
    real = dtype.to_real() if dtype.is_complex else dtype
    shape = (n, 2) if dtype.is_complex else (n,)
    powers = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 10 ** (powers * span)
    x[torch.rand(shape, generator=generator) < 0.2] = 0
    limit = torch.finfo(real).max
    x = x.clamp(-limit, limit).to(real)
    return torch.view_as_complex(x) if dtype.is_complex else x


def sum_in(words: Any) -> int:
    """The sum that words have, in units of 2^LEAST."""
    return sum(word << 32 * j for j, word in enumerate(words.tolist()))


def exact_square(x: float) -> int:
    """A square, rounded to 53 bits whatever its exponent, in units of 2^LEAST."""
    mantissa, power = math.frexp(x)
    return int(math.ldexp(mantissa * mantissa, 54)) << (2 * power - 54 - exact.LEAST)


def measured(grads: Sequence[Tensor], backend: str) -> float:
    params = [leaf(torch.zeros_like(g)) for g in grads]
    opt = SGD(params, lr=0.0, clip_norm=math.inf, backend=backend)
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    opt.step()
    assert opt.backend == backend
    assert opt.last_step.grad_norm is not None
    return opt.last_step.grad_norm


@every_launcher
@every_dtype
def test_the_norm_is_the_rounded_one(dtype: torch.dtype, backend: str) -> None:
    if backend == "torch" and dtype in (torch.bfloat16, torch.float16):
        pytest.skip("torch.optim rounds these to nearest")
    # Several chunks, and tiles that are not whole; Triton's interpreter takes chunks of 1024.
    long = (700, 2500) if backend == "triton" else (5000, 70_001)
    grads = [wild(n, n, dtype) for n in (long[0], 1, long[1], 0, 33)]
    assert measured(grads, backend) == rounded(grads)
    assert measured([torch.cat(grads).flip(0)], backend) == rounded(grads)


@pytest.mark.parametrize("ranks", [2, 3, 4])
@every_dtype
def test_parts_add_up_to_the_whole_on_every_launcher(dtype: torch.dtype, ranks: int) -> None:
    """The words of the parts that ranks have, summed as integers."""
    g = wild(10_000, 0, dtype, 60.0)
    whole = _squares.sum_of_squares([g]).numpy()
    parts = [_squares.sum_of_squares([part]).numpy() for part in g.tensor_split(ranks)]
    assert sum_in(np.sum(parts, axis=0)) == sum_in(whole) == sum(map(exact_square, reals([g])))
    assert exact.root(whole) == measured([g], "numba")


def test_launchers_together() -> None:
    grads = [wild(n, n, torch.float32) for n in (300, 5000)]
    params = [leaf(torch.zeros_like(g)) for g in grads]
    graph = leaf(torch.zeros(300)).clone()
    graph.retain_grad()
    groups = [{"params": params, "differentiable": False}, {"params": [graph]}]
    opt = Adam(groups, clip_norm=math.inf, differentiable=True)
    for p, g in zip([*params, graph], [*grads, grads[0]], strict=True):
        p.grad = g.clone()
    opt.step()
    assert opt.backend == "numba and reference"
    assert opt.last_step.grad_norm == rounded([*grads, grads[0]])


def test_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    grads = [wild(n, n, torch.float32) for n in (3, 700, 64, 0, 64, 129)]
    monkeypatch.setattr(_squares, "_BUCKET", 64)
    assert exact.root(_squares.sum_of_squares(grads).numpy()) == rounded(grads)


@every_launcher
@pytest.mark.parametrize("bad", [math.inf, math.nan], ids=str)
def test_what_is_not_finite(bad: float, backend: str) -> None:
    g = randn(9000, seed=0)
    g[7000] = bad
    assert measured([randn(5, seed=1), g], backend) == pytest.approx(bad, nan_ok=True)
    g[1] = math.nan
    assert math.isnan(measured([g], backend))


@every_launcher
@pytest.mark.parametrize(
    "values", [[], [0.0, 0.0], [5e-324], [1e-170, 3e-160], [1e300, 1e-300, 1.0]], ids=str
)
def test_float64_of_any_size(values: Any, backend: str) -> None:
    """Squares neither over- nor underflow: the norm is that of the same numbers near one."""
    g = torch.tensor(values, dtype=torch.float64)
    power = -math.frexp(max(values, default=1.0))[1]
    near_one = [math.ldexp(x, power) for x in values]
    expected = math.ldexp(math.sqrt(math.fsum(x * x for x in near_one)), -power)
    assert measured([g], backend) == expected
