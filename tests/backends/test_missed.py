"""The steps that a row has missed, summed: beside the steps themselves, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import CASES

from adamas.backends import host_carry, host_scalars, reference
from adamas.backends.numba import History, may_lag
from adamas.backends.numba.missed import ORDER
from adamas.rules import Adam, Coast, Lion, RAdam, Rule


def fades(rule: Rule) -> bool:
    """Whether the rule says what steps without a gradient do, from any state, and they end."""
    carried = host_carry(rule, 2, *host_carry(rule, 1, *rule.carried.values()))
    form = rule.coast(*host_scalars(rule, 2, *carried))
    # Where a rule keeps an average, its first step without a gradient supposes that there was one before.
    return form is not None and History.fades(form) and type(rule).averaged is Rule.averaged


FORMS = {name: rule for name, rule in CASES.items() if fades(rule)}
TOLERANCE = 2.0**-36
STARTS = np.array([0, 1, 2, 7, 30, 150, 400, 900, 1150, 1190, 1199])


def moved(history: History, u: int, sums, slots, values) -> np.ndarray:
    """How far the steps move parameters, from the numbers of start u."""
    form = history.form
    along = np.sign(values[form.along]) if form.signed else values[form.along]
    total = 0.0
    for part in sums.parts[sums.first[u] : sums.first[u + 1]]:
        plain, center, *coefficients = part
        if form.over is None:
            total = total + plain
            continue
        over = np.sqrt(values[form.over]) if form.rooted else values[form.over]
        divisor = over + center
        inverse = 1 / np.where(divisor == 0, 1, divisor)
        powers = (center * inverse) ** np.arange(ORDER)[:, None]
        total = total + inverse * (np.array(coefficients) @ powers) + plain
    return along * total


def state_of(rule: Rule, random: np.random.Generator, count: int = 200) -> list[np.ndarray]:
    """State as steps leave it: magnitudes over many decades, zeros among them."""
    found = []
    for slot in rule.form().slots.values():
        values = random.standard_normal(count) * 10.0 ** random.uniform(-9, 1, count)
        found.append(values if slot.signed else values**2)
        found[-1][:3] = 0
    if list(rule.form().slots) == ["m", "v", "v_max"]:
        found[2] = np.maximum(found[1], found[2])
    return found


@pytest.mark.parametrize("name", FORMS)
def test_sums_are_those_of_the_steps(name: str) -> None:
    rule, steps, decay = FORMS[name], 1200, 1 - 1e-4
    slots, carried, scalars = list(rule.form().slots), tuple(rule.carried.values()), []
    history = History(slots, TOLERANCE)
    for t in range(1, steps + 1):
        carried = host_carry(rule, t, *carried)
        scalars.append((t, carried))
        form = rule.coast(*host_scalars(rule, t, *carried))
        assert form is not None
        history.record(form, decay)
    sums, random = history.sums(STARTS), np.random.default_rng(0)
    for u, start in enumerate(STARTS):
        p, values = np.zeros(200), state_of(rule, random)
        new = [p, *values]
        for t, mine in scalars[start:]:
            envelope = reference.Envelope(decay_factor=decay)
            new = list(reference.step(rule, t, new[0], 0 * p, new[1:], carried=mine, envelope=envelope))
        if not form.stepwise:
            found = moved(history, u, sums, slots, dict(zip(slots, values, strict=True))) if form.along else p
            assert np.all(np.abs(new[0] + found) <= 4 * TOLERANCE * np.abs(new[0]) + 1e-300)
            for k, value in enumerate(values, 1):
                np.testing.assert_allclose(value * sums.products[u, k], new[k], rtol=1e-11)
        np.testing.assert_allclose(sums.products[u, 0], decay ** (steps - start), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hyperparameters_may_change_at_every_step(data: st.DataObject) -> None:
    number = st.floats(0, 1)
    steps = data.draw(st.integers(1, 120))
    history, rows = History(["m", "v"], TOLERANCE), []
    for _ in range(steps):
        beta2 = data.draw(number) ** 0.1
        beta1 = 0.98 * beta2**0.5 * data.draw(number)
        form = Coast(
            {"m": beta1, "v": beta2}, "m", data.draw(number), over="v", add=10 ** -data.draw(st.floats(0, 12))
        )
        decay = data.draw(number)
        rows.append((form, decay))
        history.record(form, decay)
    starts = np.unique([0, steps // 2, steps - 1])
    sums = history.sums(starts)
    values = {"m": np.ones(40), "v": np.concatenate([[0], 10.0 ** np.linspace(-30, 4, 39)])}
    for u, start in enumerate(starts):
        p, m, v = np.zeros(40), values["m"], values["v"]
        for form, decay in rows[start:]:
            m, v = form.factors["m"] * m, form.factors["v"] * v
            p = decay * p + form.step * m / (np.sqrt(v) + form.add)
        found = moved(history, u, sums, ["m", "v"], values)
        # What is left out after the last step that counts is in units of the largest step there may be.
        largest = max(form.step for form, _ in rows) / (np.sqrt(values["v"]) + min(f.add for f, _ in rows))
        assert np.all(np.abs(found - p) <= 8 * TOLERANCE * (np.abs(p) + largest))
        np.testing.assert_allclose(
            sums.products[u, 1:], [m[0], v[-1] / values["v"][-1]], rtol=1e-10, atol=1e-300
        )


def test_it_is_a_few_numbers_where_training_is_under_way() -> None:
    rule, history = Adam(), History(["m", "v"], 2.0**-26)
    for t in range(1, 3001):
        form = rule.coast(*host_scalars(rule, t))
        assert form is not None
        history.record(form, 1.0)
    sums = history.sums(np.array([500, 1000, 2000, 2900, 2999]))
    assert np.diff(sums.first).tolist() == [1] * 5
    # "About 170 to 190 missed steps": as many as move by more than the rounding of float32.
    assert sums.moved.tolist() == [193, 193, 193, 100, 1]


def test_what_never_fades_is_told() -> None:
    for rule, fades in ((Adam(), True), (Adam(beta1=0.9, beta2=0.81), False), (Lion(beta2=0.9999), True)):
        form = rule.coast(*host_scalars(rule, 3))
        assert form is not None
        assert History.fades(form) is fades


def test_what_cannot_be_summed_up_is_told() -> None:
    form = Coast({"m": 0.9}, "m", 0.1)
    assert may_lag(form, 0.5)
    assert not may_lag(form, -0.5)
    assert not may_lag(form._replace(step=np.inf), 0.5)
    history = History(["m"], TOLERANCE)
    history.record(form, 1.0)
    assert history.fits(form._replace(step=2.0), 0.5)
    assert not history.fits(form, -1.0)
    assert not history.fits(form._replace(signed=True), 1.0)


def test_a_step_that_is_not_adaptive_divides_by_nothing() -> None:
    rule = RAdam()
    form = rule.coast(*host_scalars(rule, 1))
    assert form is not None
    assert (form.ratio, form.add) == (0, 1)
