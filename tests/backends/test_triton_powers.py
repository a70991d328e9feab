"""Powers and whole quotients of device scalars, in Triton's interpreter, beside those of Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from gpu_support import OF_GPUS

from adamas.backends._generated import load_generated

pytestmark = pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system")

TEXT = """\
from adamas.backends.triton.kernels.powers import *
from adamas.backends.triton.kernels.powers import pair_product
from adamas.backends.triton.toolbox import *


@triton.jit
def each(x, y, out, n):
    at = tl.program_id(0) * 1024 + tl.arange(0, 1024)
    first, second = tl.load(x + at, at < n, 1.0), tl.load(y + at, at < n, 1.0)
    tl.store(out + at, {call}, at < n)
"""
POWER = TEXT.format(call="power(first, second)")
PRODUCT = TEXT.format(call="pair_product(first, 0.0, second, 0.0)[1]")
INF, NAN = np.inf, np.nan


def of(text: str, x: Any, y: Any) -> np.ndarray:
    """The function of a text, on all pairs of numbers of two lists of equal length."""
    from adamas.backends.triton import THREADS, launch

    arrays = [np.ascontiguousarray(each, np.float64) for each in (x, y)]
    out = np.full_like(arrays[0], np.nan)
    tensors = [torch.from_numpy(each) for each in (*arrays, out)]
    each = load_generated("try_powers", text).each
    launch.launch(each, -(-len(out) // 1024), SIGNATURE, [*tensors, len(out)], THREADS)
    return out


SIGNATURE = ("*fp64", "*fp64", "*fp64", "i32")


def ulps(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How far numbers are apart, in units of the last place."""
    return np.abs(found - expected) / np.spacing(np.abs(expected))


def test_whole_powers_are_those_of_python() -> None:
    random = np.random.default_rng(0)
    for top in (64, 2**12, 2**24):
        beta = 1 - 10.0 ** random.uniform(-6, -0.3, 1024)
        t = np.floor(random.uniform(1, top, 1024))
        expected = np.array([b**n for b, n in zip(beta.tolist(), t.tolist(), strict=True)])
        found = of(POWER, beta, t)
        normal = expected > 1e-290
        assert (found == expected)[normal].mean() > 0.99
        assert ulps(found, expected)[normal].max() <= 1
        np.testing.assert_allclose(found, expected, atol=1e-300)


def test_a_first_step_is_corrected_exactly() -> None:
    beta = np.concatenate([np.linspace(0, 1, 500, endpoint=False), 1 - 2.0 ** -np.arange(1, 53)])
    np.testing.assert_array_equal(of(POWER, beta, np.ones_like(beta)), beta)
    np.testing.assert_array_equal(of(POWER, beta, np.full_like(beta, 2)), beta * beta)


def test_fractional_powers_are_near_those_of_python() -> None:
    random = np.random.default_rng(1)
    x, y = np.exp(random.uniform(-1, 1, 1024)), random.uniform(-40, 40, 1024)
    assert ulps(of(POWER, x, y), x**y).max() <= 8
    near = of(POWER, np.full(1024, 0.96), y)
    assert ulps(near, 0.96**y).max() <= 3


SPECIAL = [-INF, -2.5, -2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5, 3.0, 1e300, INF, NAN]
EXPONENTS = [-1e17, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 1025.0, 1e17]


@pytest.mark.parametrize("y", EXPONENTS)
def test_powers_of_special_numbers(y: float) -> None:
    """As IEEE has them, where Python raises too; NaN of a negative number to a fractional power."""
    with np.errstate(all="ignore"):
        expected = np.power(SPECIAL, y)
    found = of(POWER, SPECIAL, [y] * len(SPECIAL))
    if y % 1:
        expected[0] = NAN  # of a negative number, infinite as it is
    np.testing.assert_allclose(found, expected, rtol=1e-13 if y % 1 else 1e-15)


def test_what_a_product_loses_is_found() -> None:
    """To the bit, where nothing overflows."""
    random = np.random.default_rng(2)
    x, y = (np.ldexp(random.uniform(0.5, 1, 1024), random.integers(-99, 99, 1024)) for _ in range(2))
    from fractions import Fraction

    lost = [
        float(Fraction(a) * Fraction(b) - Fraction(a * b))
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(of(PRODUCT, x, y), lost)


PROGRAM = """
import json, sys
from adamas.backends._generated import load_generated
from adamas.backends.triton import THREADS
from adamas.backends.triton.code import TARGETS
from adamas.backends.triton.launch import compiled

text, signature = json.loads(sys.argv[1])
for target in TARGETS.values():
    code = compiled(load_generated("try_powers", text).each, tuple(signature), target, THREADS).asm
    print(json.dumps(code.get("ptx") or code["amdgcn"]))
"""


@pytest.mark.slow
def test_no_product_is_fused_with_a_sum() -> None:
    """What is lost would otherwise not be what the host loses."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", PROGRAM, json.dumps([PRODUCT, SIGNATURE])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(codes) == 4
    for code in codes:
        assert "mul" in code
        assert "fma" not in code
