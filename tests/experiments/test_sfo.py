import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.special import expit

from adamas.experiments.solvers._bfgs import Quadratic, bfgs, hessian
from adamas.experiments.solvers._subspace import Subspace
from adamas.experiments.solvers.sfo import SFO, Evaluate

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
    # The last two have more dimensions than the subspace; so it collapses again and again.
    [(1, 3, 10), (2, 6, 10), (5, 10, 100), (20, 50, 1e4), (8, 100, 1e3), (4, 60, 30)],
)
def test_the_minimum_of_a_sum_of_quadratics_is_found(count: int, dimension: int, condition: float) -> None:
    evaluate, best = quadratics(count, dimension, condition)
    optimizer = SFO(evaluate, np.ones(dimension), count)
    before = excess(evaluate, count, optimizer.x, best)
    for _ in range(40 * count):
        optimizer.step()
    assert excess(evaluate, count, optimizer.x, best) < 1e-9 * before


def logistic(count: int, dimension: int) -> tuple[Evaluate, Array]:
    """Logistic regressions, and the minimum of their sum."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(count, 40, dimension)) * np.geomspace(1, 10, dimension)
    labels = np.sign(inputs @ random.normal(size=dimension) + 5 * random.normal(size=(count, 40)))

    def evaluate(x: Array, i: int) -> tuple[float, Array]:
        margins = labels[i] * (inputs[i] @ x)
        slopes = -labels[i] * expit(-margins)
        value = np.logaddexp(0, -margins).mean() + 0.001 * x @ x
        return float(value), inputs[i].T @ slopes / 40 + 0.002 * x

    def gradient(x: Array) -> Array:
        total: Array = np.sum([evaluate(x, i)[1] for i in range(count)], axis=0)
        return total

    def curvature(x: Array) -> Array:
        share = expit(inputs @ x) * expit(-(inputs @ x))
        total: Array = np.einsum("nem,ne,nek->mk", inputs, share / 40, inputs) + 0.002 * count * np.eye(
            dimension
        )
        return total

    found = root(gradient, np.zeros(dimension), jac=curvature, tol=1e-14)
    assert np.abs(gradient(found.x)).max() < 1e-10
    return evaluate, found.x


def test_logistic_regression_ends_where_scipy_does() -> None:
    evaluate, best = logistic(20, 20)
    optimizer = SFO(evaluate, np.zeros(20), 20)
    for _ in range(400):
        optimizer.step()
    np.testing.assert_allclose(optimizer.x, best, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("sums", "count", "dimension", "passes", "most"),
    # The excess is as the authors' implementation has it from the same start: up to 2.5e-6 and 1.3e-11.
    [
        (lambda: quadratics(20, 50, 1e4), 20, 50, 10, 4e-6),
        (lambda: logistic(20, 50), 20, 50, 20, 2e-11),
    ],
)
def test_it_is_as_fast_as_the_authors(
    sums: Callable[[], tuple[Evaluate, Array]],
    count: int,
    dimension: int,
    passes: int,
    most: float,
    seed: int,
) -> None:
    evaluate, best = sums()
    start = np.ones(dimension) if passes == 10 else np.zeros(dimension)
    optimizer = SFO(evaluate, start, count, seed=seed)
    for _ in range(passes * count):
        optimizer.step()
    assert excess(evaluate, count, optimizer.x, best) / count < most


def test_bad_steps_are_rare_on_a_convex_sum() -> None:
    evaluate, _ = logistic(40, 20)
    optimizer, stood = SFO(evaluate, np.zeros(20), 40), 0
    for _ in range(20 * 40):
        before = optimizer.x
        optimizer.step()
        stood += np.array_equal(optimizer.x, before)
    # x stands still at the 40 first evaluations, and twice at a bad step.
    assert (stood - 40) / 2 < 0.02 * 20 * 40


@pytest.mark.parametrize("count", [1, 2])
def test_from_a_concave_start_it_comes_to_the_minimum(count: int) -> None:
    optimizer = SFO(lambda x, i: (float((x**4 / 4 - x**2 / 2).sum()), x**3 - x), np.array([0.1]), count)
    for _ in range(60):
        optimizer.step()
    np.testing.assert_allclose(optimizer.x, [1])


def with_noise(evaluate: Evaluate, noise: float, until: int) -> Evaluate:
    """The same with noise in the first so many gradients."""
    random, evaluations = np.random.default_rng(1), itertools.count()

    def noisy(x: Array, i: int) -> tuple[float, Array]:
        value, gradient = evaluate(x, i)
        return value, gradient + noise * random.normal(size=len(x)) * (next(evaluations) < until)

    return noisy


@pytest.mark.parametrize(("count", "noise"), [(3, 1.0), (6, 1.0), (12, 100.0)])
def test_huge_curvatures_by_noise_leave_no_error_in_the_sums(count: int, noise: float) -> None:
    evaluate, best = quadratics(count, 6, 100)
    # Noise over so short a move is a curvature of 1e13 and more.
    optimizer = SFO(with_noise(evaluate, noise, 3 * count), np.ones(6), count, first=1e-14)
    for _ in range(60 * count):
        optimizer.step()
    assert excess(evaluate, count, optimizer.x, best) < 1e-14 * excess(evaluate, count, np.ones(6), best)


@pytest.mark.parametrize(
    ("count", "noise", "first"), [(3, 0.01, 1e-14), (12, 0.01, 1e-14), (40, 100.0, 1e-3)]
)
def test_under_noise_without_end_the_hessian_stays_positive_definite(
    count: int, noise: float, first: float
) -> None:
    scales = np.geomspace(1e-3, 10, 5)
    noisy = with_noise(lambda x, i: (float(scales @ x**2 / 2), scales * x), noise, 10**9)
    optimizer = SFO(noisy, np.ones(5), count, first=first)
    for _ in range(20 * count):
        optimizer.step()
    assert np.isfinite(optimizer.x).all()


def test_a_basis_of_the_whole_space_is_all_that_is_stored() -> None:
    evaluate, _ = quadratics(12, 10, 10)
    optimizer = SFO(evaluate, np.ones(10), 12)
    assert optimizer.nbytes == 8 * (10 * 10 + 10 + 10)  # H, its linear part and x
    for _ in range(100):
        optimizer.step()
    assert len(optimizer._space.rows) == optimizer._space.size == 10


def test_a_coin_decides_in_which_metric_the_farthest_subfunction_is_taken() -> None:
    evaluate, _ = quadratics(5, 8, 100)
    optimizer = SFO(evaluate, np.ones(8), 5)
    for _ in range(30):
        optimizer.step()
    position, pieces = optimizer._position, optimizer._known
    taken = {optimizer._choose(position)[0] for _ in range(50)}
    away = [position - piece.position for piece in pieces]
    whole = [float(each @ optimizer._hessian @ each) for each in away]
    own = [float(each @ piece.hessian_times(each)) for each, piece in zip(away, pieces, strict=True)]
    assert np.argmax(whole) != np.argmax(own)
    assert taken == {int(np.argmax(whole)), int(np.argmax(own))}


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
    one, same, other = (SFO(evaluate, np.ones(40), 6, seed=seed) for seed in (0, 0, 1))
    order = []
    for _ in range(100):
        order.append(one.step())
        assert order[-1] == same.step()
        assert one.x.tobytes() == same.x.tobytes()
    assert [other.step() for _ in range(100)] != order


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


def test_where_no_curvature_is_positive_it_is_the_largest_measured() -> None:
    found = hessian(np.array([[1.0, 0, 0]]), np.array([[-2.0, 0, 0]]))
    assert found is not None
    beta, directions, beyond = found
    whole = beta * np.eye(3) + (directions * beyond) @ directions.T
    np.testing.assert_allclose(whole, 2 * np.eye(3), atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_every_pair_counts_whatever_the_sign_of_its_curvature(seed: int) -> None:
    random = np.random.default_rng(seed)
    half = random.normal(size=(8, 8))
    moves = random.normal(size=(6, 8))
    changes = moves @ (half + half.T)  # of a saddle
    for pairs in range(1, 7):
        found = bfgs(1.0, moves[:pairs], changes[:pairs])
        np.testing.assert_allclose(found @ moves[pairs - 1], changes[pairs - 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("cosine", "kept"), [(0.5, 1), (-0.5, 1), (1e-10, 1), (-1e-10, 1), (1e-14, 0), (0, 0)]
)
def test_only_a_pair_without_curvature_along_the_move_is_left_out(cosine: float, kept: int) -> None:
    none, room = np.zeros((0, 3)), np.zeros((3, 0))
    piece = Quadratic(0.0, np.zeros(3), np.zeros(3), 1.0, room, np.zeros(0), none, none)
    move = np.array([0.0, 2.0, 0.0])
    piece.remember(move, np.array([3.0, 3 * cosine, 0.0]), 10)
    assert len(piece.moves) == len(piece.changes) == kept
    if kept:
        assert np.isfinite(piece.beyond).all()
        assert move @ piece.hessian_times(move) > 0


@pytest.mark.parametrize(
    ("value", "fall", "bad"),
    # g falls by 1 from where it was evaluated: -3 + 4 / 2. At 0.5, f exceeds it by 1.5.
    [(0.5, 0.0, True), (0.5, 2.4, True), (0.5, 2.6, False), (0.0, -9.0, False), (-0.5, -9.0, False)],
)
def test_a_step_is_bad_where_a_subfunction_rises_more_than_others_fall(
    value: float, fall: float, bad: bool
) -> None:
    none, room = np.zeros((0, 1)), np.zeros((1, 0))
    piece = Quadratic(0.0, np.zeros(1), np.array([-3.0]), 4.0, room, np.zeros(0), none, none)
    assert piece.at(np.ones(1)) == -1
    assert piece.rises_too_far(value, np.ones(1), fall) == bad


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
