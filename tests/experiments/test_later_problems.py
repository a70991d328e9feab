"""Claims made after the paper, of problems made for them: each against a computation of another kind."""

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_adam_support import adam

from adamas.experiments.after import beta2_transition, counterexample, rotation, zipf_classes
from adamas.rules import SGD, Adam, AMSGrad

Array = NDArray[np.float64]

NOT_HELD = ("fails", "holds here only partly")


# Classes by Zipf's law.


def mean_loss(logits: Array) -> float:
    """Return the mean loss over classes by their shares."""
    raised = np.exp(logits)
    return float(-zipf_classes.SHARES @ np.log(np.diag(raised) / raised.sum(axis=1)))


def test_shares_are_zipfs_and_losses_and_gradients_those_of_a_softmax() -> None:
    shares = zipf_classes.SHARES
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares * np.arange(1, len(shares) + 1), shares[0])
    random = np.random.default_rng(0)
    logits, direction = random.normal(size=(2, len(shares), len(shares)))
    assert shares @ zipf_classes.losses(logits) == pytest.approx(mean_loss(logits))
    ahead, behind = (mean_loss(logits + h * direction) for h in (1e-5, -1e-5))
    along = float((zipf_classes.gradient(logits) * direction).sum())
    assert along == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("k", zipf_classes.SHOWN)
def test_descent_is_that_of_one_number_a_class(k: int) -> None:
    classes, share, z = zipf_classes.CLASSES, float(zipf_classes.SHARES[k - 1]), 0.0
    found = zipf_classes.path(SGD(lr=zipf_classes.ETA), 300)[:, k - 1]
    for t in range(300):
        assert found[t] == pytest.approx(math.log1p((classes - 1) * math.exp(-z)), rel=1e-9)
        wrong = 1 - 1 / (1 + (classes - 1) * math.exp(-z))
        z += zipf_classes.ETA * share * wrong * classes / (classes - 1)


def test_signs_move_every_class_by_twice_the_rate() -> None:
    found = zipf_classes.path(SGD(lr=0.01), 50, sign=True)
    expected = np.log1p((zipf_classes.CLASSES - 1) * np.exp(-0.02 * np.arange(51)))
    np.testing.assert_allclose(found, np.tile(expected[:, None], zipf_classes.CLASSES), rtol=1e-10)


def test_another_law_of_the_loss_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    right = zipf_classes.late
    monkeypatch.setattr(zipf_classes, "late", lambda share, t: right(share, t) * share**0.1)
    assert zipf_classes.measure().verdict in NOT_HELD


# A fixed problem and β2.


def cost(chosen: int, x: float) -> float:
    """Return the cost of that number."""
    n = beta2_transition.N
    whole = x if x >= -1 else (x + 2) ** 2 / 2 - 3 / 2
    return n * whole if chosen == 0 else -whole


@pytest.mark.parametrize("x", [-3.0, -2.0, -1.5, -0.5, 2.0])
def test_gradients_are_those_of_the_costs_and_cancel_at_the_best_point(x: float) -> None:
    slopes = beta2_transition.gradient(np.arange(float(beta2_transition.N)), np.full(beta2_transition.N, x))
    for chosen, slope in enumerate(slopes):
        assert slope == pytest.approx((cost(chosen, x + 1e-6) - cost(chosen, x - 1e-6)) / 2e-6, abs=1e-7)
    assert np.sign(slopes.sum()) == np.sign(x - beta2_transition.BEST)


def test_costs_do_not_jump_where_lines_become_parabolas() -> None:
    for chosen in (0, 1):
        assert cost(chosen, -1 - 1e-9) == pytest.approx(cost(chosen, -1), abs=1e-7)


def test_every_epoch_has_every_cost_once_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beta2_transition, "EPOCHS", 3)
    orders = beta2_transition.order().reshape(3, beta2_transition.N, beta2_transition.SEEDS)
    assert (np.sort(orders, axis=1) == np.arange(beta2_transition.N)[:, None]).all()
    assert len(np.unique(orders.transpose(0, 2, 1).reshape(-1, beta2_transition.N), axis=0)) > 25


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.5)])
def test_the_distance_is_that_of_adam_on_these_costs(
    betas: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beta2_transition, "EPOCHS", 20)
    orders = beta2_transition.order()

    def end(seed: int) -> float:
        def slope(t: int, x: float) -> float:
            return float(beta2_transition.gradient(orders[t - 1, seed], np.array(x)))

        return adam(beta2_transition.START, slope, len(orders), lambda t: 1 / math.sqrt(t), betas)[-1]

    expected = np.mean([abs(end(seed) + 2) for seed in range(beta2_transition.SEEDS)])
    assert beta2_transition.distance(*betas) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("away", "judged"), [({0.5, 0.9, 0.95}, "holds"), ({0.5}, NOT_HELD), ({0.5, 0.9, 0.95, 0.99}, NOT_HELD)]
)
def test_it_holds_only_where_each_small_beta2_misses_and_each_large_one_converges(
    away: set[float], judged: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beta2_transition, "distance", lambda one, two: 5.0 if two in away else 0.01)
    assert beta2_transition.measure().verdict in judged


# The counterexample.


@pytest.mark.parametrize("largest", [False, True])
def test_what_is_played_is_adam_on_the_lines(largest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    size, rounds = 4.0, 300
    monkeypatch.setattr(counterexample, "ROUNDS", rounds)
    slopes = [size if t % 3 == 1 else -1.0 for t in range(1, rounds + 1)]
    beta2 = 1 / (1 + size**2)
    rule = (AMSGrad if largest else Adam)(0.1, 0.0, beta2, 1e-8)
    path = adam(
        0.0,
        lambda t, _: slopes[t - 1],
        rounds,
        lambda t: 0.1 / math.sqrt(t),
        (0.0, beta2),
        largest=largest,
        reach=1.0,
    )
    x, paid = counterexample.played(rule, size)
    total = sum(slope * at for slope, at in zip(slopes, path, strict=False)) + sum(slopes)
    assert paid == pytest.approx(total / rounds, rel=1e-6)
    assert x == pytest.approx(path[-1], abs=1e-12)


def test_the_regret_at_the_wrong_end_is_what_three_rounds_cost_there_beyond_the_best() -> None:
    for size in counterexample.SIZES:
        at = {x: size * x - x - x for x in (-1.0, 1.0)}
        assert counterexample.regret(size) == pytest.approx((at[1.0] - at[-1.0]) / 3)


def test_another_regret_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterexample, "regret", lambda size: size - 2)
    assert counterexample.measure().verdict in NOT_HELD


# Rotations.


def test_rotations_keep_lengths_and_are_all_different() -> None:
    turns = rotation.rotations()
    for turn in turns:
        np.testing.assert_allclose(turn.T @ turn, np.eye(rotation.DIMENSIONS), atol=1e-12)
    apart = np.abs(turns[:, None] - turns).max(axis=(2, 3)) + np.eye(len(turns))
    assert apart.min() > 0.1


def test_losses_in_rotated_coordinates_are_of_adam_on_the_rotated_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "STEPS", 30)
    turn = rotation.rotations()[0]
    hessian = turn.T @ np.diag(rotation.HESSIAN) @ turn
    y = turn.T @ np.ones(rotation.DIMENSIONS)
    m, v, losses = 0 * y, 0 * y, [y @ hessian @ y / 2]
    for t in range(1, 31):
        g = hessian @ y
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        y = y - 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        losses.append(y @ hessian @ y / 2)
    np.testing.assert_allclose(rotation.path(Adam(lr=0.1), turn[None])[:, 0], losses, rtol=1e-9)


def test_steps_are_counted_to_the_first_loss_that_is_low_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "STEPS", 3)
    first = 1 / rotation.REACHED
    losses = np.array([[first, first], [5.0, 5.0], [0.9, 2.0], [0.1, 1.5]])
    assert rotation.taken(losses).tolist() == [2.0, 3.0]


def test_no_rotation_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    same = np.tile(np.eye(rotation.DIMENSIONS), (3, 1, 1))
    monkeypatch.setattr(rotation, "rotations", lambda: same)
    monkeypatch.setattr(rotation, "ADAMS", (0.1,))
    monkeypatch.setattr(rotation, "DESCENTS", (1.0,))
    assert rotation.measure().verdict != "holds"


def test_descent_that_a_rotation_changes_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "ADAMS", (0.1,))
    monkeypatch.setattr(rotation, "DESCENTS", (1.0,))
    monkeypatch.setattr(rotation, "SGD", lambda lr: dataclasses.replace(Adam(), lr=lr / 10))
    assert rotation.measure().verdict != "holds"
