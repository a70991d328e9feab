import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from adamas.experiments.solvers._bfgs import bfgs, hessian
from adamas.experiments.solvers.sfo import SFO, Evaluate, Subspace

Array = NDArray[np.floating]


def quadratics(count: int, dimension: int, condition: float) -> tuple[Evaluate, Array]:
    """Convex subfunctions with like but different Hessians, and the minimum of their sum."""
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(dimension, dimension)))[0]
    eigenvalues = np.geomspace(1, condition, dimension)
    matrices, offsets = [], random.normal(size=(count, dimension))
    for _ in range(count):
        turned = np.linalg.qr(turn + 0.1 * random.normal(size=turn.shape))[0]
        matrices.append((turned * eigenvalues * np.exp(0.3 * random.normal(size=dimension))) @ turned.T)

    def evaluate(x: Array, i: int) -> tuple[float, Array]:
        product = matrices[i] @ x
        return float(x @ product / 2 - offsets[i] @ x), product - offsets[i]

    return evaluate, np.linalg.solve(np.sum(matrices, axis=0), offsets.sum(axis=0))


def excess(evaluate: Evaluate, count: int, x: Array, best: Array) -> float:
    return sum(evaluate(x, i)[0] - evaluate(best, i)[0] for i in range(count))


@pytest.mark.parametrize(
    ("count", "dimension", "condition"),
    # The last ones have more dimensions than the subspace; so it collapses again and again.
    [(1, 3, 10), (2, 8, 10), (5, 10, 100), (20, 50, 1e4), (8, 100, 1e3), (4, 60, 30)],
)
def test_the_minimum_of_a_sum_of_quadratics_is_found(count: int, dimension: int, condition: float) -> None:
    evaluate, best = quadratics(count, dimension, condition)
    optimizer = SFO(evaluate, np.ones(dimension), count)
    before = excess(evaluate, count, optimizer.x, best)
    for _ in range(40 * count):
        optimizer.step()
    assert excess(evaluate, count, optimizer.x, best) < 1e-9 * before


def test_logistic_regression_ends_where_scipy_does() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(10, 40, 20)) * np.geomspace(1, 10, 20)
    labels = np.sign(inputs @ random.normal(size=20) + 5 * random.normal(size=(10, 40)))

    def evaluate(x: Array, i: int) -> tuple[float, Array]:
        margins = labels[i] * (inputs[i] @ x)
        slopes = -labels[i] / (1 + np.exp(margins))
        value = np.logaddexp(0, -margins).mean() + 0.005 * x @ x
        return float(value), inputs[i].T @ slopes / 40 + 0.01 * x

    def whole(x: Array) -> tuple[float, Array]:
        values, gradients = zip(*(evaluate(x, i) for i in range(10)), strict=True)
        return sum(values), np.sum(gradients, axis=0)

    optimizer = SFO(evaluate, np.zeros(20), 10)
    for _ in range(400):
        optimizer.step()
    found = minimize(whole, np.zeros(20), jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-15})
    assert whole(optimizer.x)[0] == pytest.approx(found.fun, rel=1e-8)
    np.testing.assert_allclose(optimizer.x, found.x, atol=1e-3)


def test_in_float32_it_goes_on_to_the_rounding() -> None:
    evaluate, best = quadratics(5, 30, 100)

    def narrow(x: Array, i: int) -> tuple[float, Array]:
        assert x.dtype == np.float32
        value, gradient = evaluate(x, i)
        return value, gradient.astype(np.float32)

    optimizer = SFO(narrow, np.ones(30, np.float32), 5)
    for _ in range(300):
        optimizer.step()
    assert excess(evaluate, 5, optimizer.x, best) < 1e-6 * excess(evaluate, 5, np.ones(30), best)


def test_repeated_it_takes_the_same_steps_to_the_bit() -> None:
    evaluate, _ = quadratics(6, 40, 100)
    one, same = (SFO(evaluate, np.ones(40), 6) for _ in range(2))
    for _ in range(100):
        assert one.step() == same.step()
        assert one.x.tobytes() == same.x.tobytes()


def test_memory_grows_linearly_with_the_subfunctions() -> None:
    sizes = {}
    for count in (3, 6, 12):
        evaluate, _ = quadratics(count, 100, 10)
        # All but a few dimensions are zeros: it is only the memory that notices.
        optimizer = SFO(lambda x, i, f=evaluate: pad(f(x[:100], i)), np.ones(50_000), count)  # type: ignore[misc]
        for _ in range(5 * count):
            optimizer.step()
        sizes[count] = optimizer.nbytes
    assert sizes[6] - sizes[3] == pytest.approx((sizes[12] - sizes[6]) / 2, rel=0.05)
    assert sizes[12] == pytest.approx(12 * 3 * 50_000 * 8, rel=0.1)  # K_max = 3 N vectors like x


def pad(found: tuple[float, Array]) -> tuple[float, Array]:
    return found[0], np.concatenate([found[1], np.zeros(50_000 - 100)])


def test_subfunctions_come_in_one_by_one_and_all_in_the_end() -> None:
    evaluate, _ = quadratics(12, 10, 10)
    optimizer = SFO(evaluate, np.ones(10), 12)
    active = [optimizer.active]
    for _ in range(120):
        assert optimizer.step() < active[-1]
        active.append(optimizer.active)
    assert active[0] == 2
    assert active[-1] == 12
    assert set(np.diff(active)) == {0, 1}


def test_a_step_to_where_nothing_is_finite_is_taken_back() -> None:
    def evaluate(x: Array, i: int) -> tuple[float, Array]:
        # Of x - log x; its curvature at the start, 0.0001, sends a Newton step past 0.
        with np.errstate(invalid="ignore", divide="ignore"):
            return float((x - np.log(x)).sum()), 1 - 1 / x

    optimizer = SFO(evaluate, np.full(3, 100.0), 2)
    for _ in range(200):
        optimizer.step()
        assert np.isfinite(optimizer.x).all()
    np.testing.assert_allclose(optimizer.x, 1, rtol=1e-5)


def test_a_start_that_is_not_finite_is_said() -> None:
    optimizer = SFO(lambda x, i: (float("nan"), x), np.ones(3), 2)
    with pytest.raises(FloatingPointError, match="subfunction 0 is nan"):
        optimizer.step()


def test_bfgs_obeys_the_last_secant_equation_and_finds_a_quadratic() -> None:
    random = np.random.default_rng(2)
    half = random.normal(size=(6, 6))
    true = half @ half.T + np.eye(6)
    moves = np.linalg.qr(random.normal(size=(6, 6)))[0] @ np.diag([1.0, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(bfgs(1.0, moves, moves @ true) @ moves[-1], true @ moves[-1])
    found = hessian(moves, moves @ true)
    assert found is not None
    beta, directions, beyond = found
    assert beta == pytest.approx(np.linalg.eigvalsh(true)[0])
    whole = beta * np.eye(6) + (directions * beyond) @ directions.T
    np.testing.assert_allclose(whole @ moves[-1], true @ moves[-1])
    assert np.linalg.eigvalsh(whole)[0] > 0


def test_negative_curvature_becomes_the_median() -> None:
    found = hessian(np.eye(3), np.diag([2.0, 4.0, -3.0]))
    assert found is not None
    beta, directions, beyond = found
    eigenvalues = np.linalg.eigvalsh(beta * np.eye(3) + (directions * beyond) @ directions.T)
    np.testing.assert_allclose(eigenvalues, [2, 3, 4])


def test_a_history_without_any_change_says_nothing() -> None:
    assert hessian(np.eye(3)[:2], np.zeros((2, 3))) is None


def test_a_subspace_stays_orthonormal_and_gives_its_vectors_back() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(6, 40))
    vectors[3] = vectors[0] + 1e-6 * vectors[3]  # nearly in the span already
    vectors[5] = vectors[1] - vectors[2]  # altogether
    space = Subspace(40, 8, np.dtype(np.float64))
    coordinates = [space.add(vector) for vector in vectors]
    assert space.size == 5
    basis = space.rows[: space.size]
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-12)
    for vector, found in zip(vectors, coordinates, strict=True):
        np.testing.assert_allclose(space.vector(found), vector, atol=1e-12)
    space.collapse(np.linalg.qr(np.array(coordinates[:2])[:, :5].T)[0])
    assert space.size == 2
    for vector in vectors[:2]:
        np.testing.assert_allclose(space.vector(np.append(space.rows[:2] @ vector, 0)), vector, atol=1e-12)
