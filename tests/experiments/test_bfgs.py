"""The quadratic approximation of a subfunction by BFGS, and the subspace of its coordinates."""

import numpy as np
import pytest

from adamas.experiments.solvers._bfgs import Quadratic, bfgs, hessian
from adamas.experiments.solvers._subspace import Subspace


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
