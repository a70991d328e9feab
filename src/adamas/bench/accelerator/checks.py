"""A few steps of every optimizer on a device, beside the same steps of the CPU's kernels."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

import adamas.torch
from adamas import formats

__all__ = ["Case", "Expected", "checked", "differences", "every_case", "first_cases", "trained"]

# A matrix with scaled state, a vector of an odd number of elements, and those smaller than a vector register.
_SHAPES = ((64, 130), (4097,), (3, 5), (1,))
_STEPS = 3
# Seconds to wait for a process that compiles.
_PATIENCE = 60.0
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Stored = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """An optimizer of `adamas.torch` by name, the dtype of its parameters, its format and its clipping."""

    optimizer: str
    dtype: str = "float32"
    state_format: str | None = None
    clip_norm: float | None = None

    @property
    def name(self) -> str:
        """The case in a few words."""
        clipped = [] if self.clip_norm is None else ["clipped"]
        state = [] if self.state_format is None else [f"{self.state_format} state"]
        return ", ".join([self.optimizer, self.dtype, *state, *clipped])

    def make(self, params: list[Tensor]) -> Any:
        """Return the optimizer."""
        cls = getattr(adamas.torch, self.optimizer)
        return cls(params, lr=0.01, state_format=self.state_format, clip_norm=self.clip_norm, seed=7)


def first_cases() -> list[Case]:
    """The forms of AdamW that are timed."""
    return [
        Case("AdamW"),
        Case("AdamW", "bfloat16", "bfloat16"),
        Case("AdamW", state_format="float8"),
        Case("AdamW", state_format="bfloat16"),
        Case("AdamW", "bfloat16", "float8"),
        Case("AdamW", state_format="float4"),
        Case("AdamW", clip_norm=1.0),
    ]


def every_case() -> list[Case]:
    """Every optimizer in every format, and with parameters of every dtype; all optimizers first in one."""
    found = list[list[Case]]()
    for name in adamas.torch.__all__:
        cls = getattr(adamas.torch, name)
        if name != "Optimizer" and isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer):
            dtypes = "float32", "bfloat16", "float16", "float64", "complex64"
            mine = [Case(name, dtype) for dtype in dtypes]
            mine += [Case(name, state_format=format) for format in formats.names()]
            found.append([case for case in mine if case not in first_cases() and _fits(case)])
    return [case for turn in itertools.zip_longest(*found) for case in turn if case is not None]


def _fits(case: Case) -> bool:
    try:
        case.make([torch.zeros(1, requires_grad=True)])
    except ValueError:
        return False
    return True


def trained(case: Case, device: str) -> tuple[Stored, str]:
    """Return parameters and state after a few steps on a device, and the backend that took them."""
    dtype = getattr(torch, case.dtype)
    params = [leaf.requires_grad_() for leaf in _leaves(dtype, device)]
    optimizer = case.make(params)
    for step in range(_STEPS):
        for k, p in enumerate(params):
            g = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + k), dtype=dtype)
            p.grad = g.to(device)
        optimizer.step()
    found = {f"{k}.p": p for k, p in enumerate(params)}
    for k, p in enumerate(params):
        found |= {f"{k}.{key}": x for key, x in optimizer.state[p].items() if isinstance(x, Tensor)}
    return {name: x.detach().cpu().clone() for name, x in found.items()}, optimizer.backend


def _leaves(dtype: torch.dtype, device: str) -> Iterator[Tensor]:
    for k, shape in enumerate(_SHAPES):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(k), dtype=dtype).to(device)
        # The vector begins between two addresses of 16 bytes.
        yield torch.cat([x[:1], x])[1:].detach() if k == 1 else x


def differences(found: Stored, expected: Stored) -> dict[str, Any]:
    """How far two results are apart.

    Returns:
        "ulps": the most units in the last place, over all that is no code; "relative": the norm of the
        difference over that of the expected, for parameters; "codes": the share of codes that are the same.
    """
    if found.keys() != expected.keys():
        raise ValueError(f"other state: {sorted(found)} and {sorted(expected)}")
    ulps, relative, same, codes = 0, 0.0, 0, 0
    for name, there in expected.items():
        here = found[name]
        if here.dtype != there.dtype or here.shape != there.shape:
            raise ValueError(f"{name}: {here.dtype} {tuple(here.shape)}, {there.dtype} {tuple(there.shape)}")
        if not (there.is_floating_point() or there.is_complex()):
            same, codes = same + int((here == there).sum()), codes + there.numel()
        elif there.numel():
            ulps = max(ulps, _ulps(here, there))
            if name.endswith(".p"):
                wide = torch.promote_types(there.dtype, torch.float64)
                apart = (here.to(wide) - there.to(wide)).norm() / there.to(wide).norm()
                relative = max(relative, float(apart))
    return {"ulps": ulps, "relative": relative, "codes": same / codes if codes else None}


def _ulps(a: Tensor, b: Tensor) -> int:
    """The most numbers between two elements; all that there are where one of them is NaN."""
    a, b = (torch.view_as_real(x) if x.is_complex() else x for x in (a, b))
    integer = _INTEGERS[a.element_size()]
    smallest = torch.iinfo(integer).min
    x, y = (z.contiguous().view(integer).to(torch.int64) for z in (a, b))
    x, y = (torch.where(z < 0, smallest - z, z) for z in (x, y))
    apart = (x - y).abs()
    odd = a.isnan() != b.isnan()
    return int(torch.where(odd, torch.iinfo(integer).max, apart).max())


class Expected:
    """What the CPU's kernels make of cases, each in one of some processes; compiling them takes long.

    With no processes it is computed when it is asked for.
    """

    def __init__(self, cases: list[Case], processes: int) -> None:
        self._pool, self._futures = None, dict[Case, Future[bytes]]()
        if processes:
            self._pool = ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,))
            self._futures = {case: self._pool.submit(_on_cpu, case) for case in cases}

    def __enter__(self) -> Expected:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def of(self, case: Case) -> Stored:
        """Return that of a case.

        Raises:
            TimeoutError: its process takes too long.
        """
        try:
            stored = self._futures[case].result(_PATIENCE) if case in self._futures else _on_cpu(case)
        except BrokenExecutor:
            stored = _on_cpu(case)
        found: Stored = torch.load(io.BytesIO(stored))
        return found


def _on_cpu(case: Case) -> bytes:
    """The result on the CPU, as bytes: tensors would go between processes in shared memory."""
    file = io.BytesIO()
    torch.save(trained(case, "cpu")[0], file)
    return file.getvalue()


def checked(case: Case, device: str, expected: Expected) -> dict[str, Any]:
    """Return how far a case on the device is from the CPU's kernels, and its backend there."""
    found, backend = trained(case, device)
    return {"backend": backend, **differences(found, expected.of(case))}
