"""Quotients of low-bit kernels: how far from exact, what is exact, and which kernels have them."""

import numpy as np
import pytest
from format_support import Driver
from numba import njit

from adamas.backends.numba import compile_rule, machine, vectors
from adamas.backends.numba.estimates import approximated
from adamas.backends.numba.toolbox import widest_vectors, xp
from adamas.rules import Adam

FLOAT32 = np.float32
MANY = 1 << 14  # whole vectors: no rest of the loop


@njit(error_model="numpy", fastmath={"nsz", "contract"})
def over_all(x, y, out):
    widest_vectors()
    for k in range(len(x) // 128 * 128):
        out[k] = xp.over(x[k], y[k])


@njit(error_model="numpy", fastmath={"nsz", "contract"})
def over_one(x, y):
    widest_vectors()
    return xp.over(x, y)


@njit(error_model="numpy", fastmath={"nsz", "contract"})
def over_roots(x, y, out):
    widest_vectors()
    for k in range(len(x) // 128 * 128):
        out[k] = xp.over(x[k], xp.sqrt(y[k]))


def quotients(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.empty(x.size, FLOAT32)
    over_all(x.astype(FLOAT32), y.astype(FLOAT32), out)
    return out


def ulps(x: np.ndarray, y: np.ndarray) -> float:
    """The largest distance of quotients from exact ones, in units in the last place of these."""
    exact = x.astype(np.float64) / y.astype(np.float64)
    finite = np.abs(exact) < np.finfo(FLOAT32).max * (1 - 2.0**-12)
    unit = np.maximum(np.spacing(np.abs(exact)[finite].astype(FLOAT32)), 2.0**-149)
    error = np.abs(quotients(x, y)[finite] - exact[finite]) / unit
    return float(error.max()) if error.size else 0.0


EXPONENTS = range(-120, 128, 6)


@pytest.mark.parametrize("divisor", [*range(-126, 126, 6), 125])
def test_a_quotient_is_within_one_unit_in_the_last_place(divisor: int) -> None:
    """Over all exponents of a divisor up to 2^126, and of dividends whose remainder is not subnormal."""
    random = np.random.default_rng(divisor & 0xFFFF)
    y = np.ldexp(random.uniform(1, 2, MANY), divisor).astype(FLOAT32)
    x = random.uniform(1, 2, MANY) * random.choice([-1, 1], MANY)
    assert max(ulps(np.ldexp(x, e).astype(FLOAT32), y) for e in EXPONENTS) < 1.0


@pytest.mark.parametrize("divisor", [-149, -140, -130, -127, 126, 127])
def test_beyond_a_quotient_that_is_finite_is_close_or_infinite(divisor: int) -> None:
    """A reciprocal that is infinite makes an infinite quotient, and one that is subnormal loses digits."""
    random = np.random.default_rng(0)
    y = np.ldexp(random.uniform(1, 2, MANY), divisor).astype(FLOAT32)
    x = np.ldexp(random.uniform(1, 2, MANY), divisor).astype(FLOAT32)
    found, exact = quotients(x, y), x.astype(np.float64) / y
    close = np.abs(found / exact - 1) < 1e-3
    assert (close | np.isinf(found)).all()
    assert not np.isnan(found).any()


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 3e38, -3e38, 2.0**-126, 1e-8, 2.0**64]


def test_zero_infinity_and_nan_are_as_in_an_exact_quotient() -> None:
    x, y = (part.ravel().astype(FLOAT32) for part in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        exact = x / y
    padded = [np.resize(part, MANY).astype(FLOAT32) for part in (x, y)]
    for found in (
        quotients(*padded)[: x.size],
        np.array([over_one(a, b) for a, b in zip(x, y, strict=True)]),
    ):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
        np.testing.assert_allclose(found, exact, rtol=2.0**-23)
        np.testing.assert_array_equal(found == 0, exact == 0)
        signed = ~np.isnan(exact) & (exact != 0)  # kernels have the sign of a zero nowhere
        np.testing.assert_array_equal(np.signbit(found[signed]), np.signbit(exact[signed]))


def test_a_quotient_by_a_root_is_close_too() -> None:
    """LLVM estimates the reciprocal of a root by an instruction of its own."""
    random = np.random.default_rng(0)
    y = np.ldexp(random.uniform(1, 2, MANY), random.integers(-126, 127, MANY)).astype(FLOAT32)
    x, out = random.uniform(-2, 2, MANY).astype(FLOAT32), np.empty(MANY, FLOAT32)
    over_roots(x, y, out)
    np.testing.assert_allclose(out, x / np.sqrt(y), rtol=2.0**-23)
    y[:8], x[:8] = [0, 0, np.inf, np.nan, -1, 0, np.inf, -0.0], [1, -1, 1, 1, 1, 0, np.inf, 1]
    over_roots(x, y, out)
    np.testing.assert_array_equal(out[:6], [np.inf, -np.inf, 0, np.nan, np.nan, np.nan])
    assert np.isnan(out[6])
    assert np.isinf(out[7])


@pytest.mark.skipif(vectors().reciprocal is None, reason="this CPU divides exactly")
def test_quotients_are_estimated() -> None:
    random = np.random.default_rng(0)
    x, y = random.uniform(1, 2, (2, MANY)).astype(FLOAT32)
    assert (quotients(x, y) != x / y).any()


def test_without_an_estimate_quotients_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_features", lambda: "+neon")
    divide = njit(over_all.py_func, error_model="numpy")
    random = np.random.default_rng(0)
    x, y = random.uniform(1, 2, (2, MANY)).astype(FLOAT32)
    out = np.empty(MANY, FLOAT32)
    divide(x, y, out)
    np.testing.assert_array_equal(out, x / y)


def test_the_text_of_a_rule_with_its_quotients_approximated() -> None:
    text = (
        "@inline\ndef update(p, g, over):\n    r = g / (xp.sqrt(p) + p / over)\n    return (r / real(2.0),)"
    )
    assert approximated(text) == (
        "@inline\ndef update(p, g, over):\n    r = xp.over(g, xp.sqrt(p) + xp.over(p, over))\n"
        "    return (r / real(2.0),)"
    )


@pytest.mark.parametrize(
    ("p", "state", "estimated"),
    [
        ("float32", "float32", False),
        ("float64", "float64", False),
        ("bfloat16", "bfloat16", False),
        ("float32", "float16", False),
        ("float32", "float8", True),
        ("float32", "float4", True),
        ("bfloat16", "float8", True),
    ],
)
def test_kernels_of_8_and_4_bits_have_estimates_and_no_others(p: str, state: str, estimated: bool) -> None:
    text = compile_rule(Adam(), p, slots={"m": state, "v": state}).path.read_text(encoding="utf-8")
    assert ("xp.over(" in text) is estimated
    assert (" / (xp.sqrt(" in text) is not estimated


@pytest.mark.parametrize("n", [1, 15, 127, 128, 129, 300, 1000])
def test_no_place_in_a_tensor_shows(n: int) -> None:
    """Equal elements get equal steps: in whole blocks, in what is left of them, and alone."""
    driver = Driver(Adam(), [np.full(n, 0.7)], slots="float8")
    for g in (0.3, 0.3, 0.3):
        driver.step(np.full(n, g))
        if driver.t == 1:
            moved = driver.params[0].values
            assert len(set(moved.tolist())) == 1


@pytest.mark.parametrize("state", ["float8", "float4"])
def test_an_epsilon_that_hides_nothing_is_divided_by_exactly(state: str) -> None:
    """The estimate for a subnormal divisor is infinite, and 0 over it would be NaN."""
    driver = Driver(Adam(eps=1e-40), [np.ones(300)], slots=state)
    assert "xp.over(" not in driver.kernel.path.read_text(encoding="utf-8")
    driver.step(np.where(np.arange(300) % 2 == 0, 0.1, 0.0))
    assert np.isfinite(driver.params[0].values).all()
