"""`xp.atan2` in every namespace: within 2 units in the last place; zeros, infinities and NaN as in C."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gpu_support import every_backend
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import Driver, every_dtype

from adamas.backends import bind
from adamas.rules import SIGNED, Rule, xp


@dataclass(frozen=True)
class Angle(Rule):
    """The angle of (x, y), with x in the place of the parameter, and y in that of the slot."""

    lr: float = 1.0

    slots = {"y": SIGNED}

    def scalars(self, t: int) -> tuple[float, ...]:
        return (self.lr,)

    @staticmethod
    def update(p, g, y, lr):
        return p, lr * xp.atan2(y, p)


def angles(y: np.ndarray, x: np.ndarray, backend: str) -> np.ndarray:
    driver = Driver(Angle(), [x.copy()], backend=backend)
    driver.slots[0][0][...] = y
    driver.step(np.zeros_like(y))
    return driver.slots[0][0]


def assert_near(found: np.ndarray, y: np.ndarray, x: np.ndarray) -> None:
    exact = np.arctan2(y.astype(np.longdouble), x.astype(np.longdouble))
    unit = np.spacing(np.abs(exact).astype(found.dtype))
    # Subnormal angles are flushed to zero with all state.
    error = np.where(np.abs(exact) < np.finfo(found.dtype).tiny, 0, np.abs(found - exact))
    assert (error <= 2 * unit).all(), np.max(error / unit)


@every_backend
@every_dtype
def test_all_octants(backend: str, dtype: np.dtype) -> None:
    """Sizes that differ by up to sixteen decades, and such as lie close together, in all quadrants."""
    random = np.random.default_rng(0)
    n = 4096
    y, x = (random.standard_normal(n) * 10.0 ** random.uniform(-8, 8, n) for _ in range(2))
    x[: n // 2] = (y * random.uniform(-3, 3, n))[: n // 2]
    y, x = y.astype(dtype), x.astype(dtype)
    assert_near(angles(y, x, backend), y, x)


@every_backend
@every_dtype
def test_zeros_infinities_and_nan(backend: str, dtype: np.dtype) -> None:
    info = np.finfo(dtype)
    values = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny], dtype)
    y, x = (each.ravel().copy() for each in np.meshgrid(values, values))
    found, expected = angles(y, x, backend), np.arctan2(y, x)
    assert (np.isnan(found) == np.isnan(expected)).all()
    np.testing.assert_allclose(found, expected, rtol=4 * float(info.eps), atol=float(info.tiny))
    # Of a zero the sign of x decides, and that of y is the angle's.
    turned = np.abs(expected) > 1
    np.testing.assert_array_equal(np.sign(found[turned]), np.sign(expected[turned]))


def namespaces() -> dict[str, Any]:
    found: dict[str, Any] = {"numpy": np}
    torch = pytest.importorskip("torch")
    found["torch"] = torch
    jax = pytest.importorskip("jax")
    return found | {"jax": jax.numpy}


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_of_whole_arrays_and_numbers(name: str) -> None:
    namespace = namespaces()[name]

    def function(y, x):
        return xp.atan2(y, x), xp.atan2(1.0, x), xp.atan2(y, -1.0)

    y, x = np.float32([1, -2, 0.5]), np.float32([-1, 3, 4])
    found = bind(function, namespace)(namespace.asarray(y), namespace.asarray(x))
    expected = np.arctan2(y, x), np.arctan2(np.float32(1), x), np.arctan2(y, np.float32(-1))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-6)


def test_numpy_before_2_has_it_under_another_name() -> None:
    class Old:
        arctan2 = staticmethod(math.atan2)

    def function(y, x):
        return xp.atan2(y, x)

    assert bind(function, Old())(1.0, -1.0) == math.atan2(1.0, -1.0)


@given(y=st.floats(-1e3, 1e3), x=st.floats(-1e3, 1e3))
@settings(max_examples=50)
def test_of_lists_of_tensors(y: float, x: float) -> None:
    torch = pytest.importorskip("torch")
    from adamas.torch.launchers._lists import Lists, lists_xp

    one, other = (Lists([torch.tensor([z, -z], dtype=torch.float64)]) for z in (y, x))
    for pair, expected in [
        ((one, other), [math.atan2(y, x), math.atan2(-y, -x)]),
        ((one, x), [math.atan2(y, x), math.atan2(-y, x)]),
        ((y, other), [math.atan2(y, x), math.atan2(y, -x)]),
    ]:
        assert lists_xp.atan2(*pair).tensors[0].tolist() == pytest.approx(expected, rel=1e-14)
    assert lists_xp.atan2(y, x) == math.atan2(y, x)
