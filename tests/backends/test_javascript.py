"""Rules in a browser: the bits of the float64 reference, and text that a person can read."""

from __future__ import annotations

import base64
import decimal
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from browser_support import chromium
from playwright.sync_api import Page
from rule_cases import CASES as EVERY
from rule_cases import OwnRule

from adamas.backends import reference
from adamas.backends.javascript import RUNTIME, emit
from adamas.rules import NONNEGATIVE, SGD, SIGNED, Adam, NAdam, Rule, xp

STEPS, ELEMENTS = 1000, 8
# A page steps points, each by itself: rules with sums have no text.
CASES = {name: rule for name, rule in EVERY.items() if rule.form().reduction is None}

# Runs every rule; `bits` are those of p and of each slot after each step, step by step.
_RUN = """
(given) => {
  const own = { ...xp }, asked = new Map();
  const known = new Map(given.known.map(([name, x, y, z]) => [`${name} ${x} ${y}`, z]));
  for (const name of ["pow", "log", "atan2"]) xp[name] = (x, y = 1) => {
    if (name === "pow" && y === 2) return x * x;
    const key = `${name} ${x} ${y}`, found = x === 0 || y === 0 ? own[name](x, y) : known.get(key);
    if (found === undefined) asked.set(key, [name, x, y]);
    return found ?? own[name](x, y);
  };
  const bits = {};
  for (const [name, rule] of Object.entries(RULES)) {
    const found = [];
    const gradient = (t) => given.gradients[t - 1];
    const states = trajectory(rule, rule.hyperparameters, given.start, gradient, given.steps);
    for (const state of states) found.push(...state.p, ...state.slots.flat());
    const bytes = new Uint8Array(new Float64Array(found).buffer);
    let text = "";
    for (let k = 0; k < bytes.length; k += 4096) text += String.fromCharCode(...bytes.subarray(k, k + 4096));
    bits[name] = btoa(text);
  }
  Object.assign(xp, own);
  return { bits, asked: JSON.stringify([...asked.values()]) };
}
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page with the rules of every case."""
    rules = ",\n".join(f"{json.dumps(name)}: {emit(rule)}" for name, rule in CASES.items())
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(content=f"{RUNTIME}\nconst RULES = {{{rules}}};")
        yield page


def gradients() -> np.ndarray:
    """Gradients that turn, vanish for a while, are rare, huge, tiny, or change by decades."""
    random, t = np.random.default_rng(0), np.arange(STEPS)[:, None]
    found = random.standard_normal((STEPS, ELEMENTS)) * 10.0 ** random.uniform(-3, 2, ELEMENTS)
    found[:, 1] = np.cos(t[:, 0] / 7)
    found[:, 2] *= t[:, 0] % 50 == 0
    found[:, 3] *= 1e100
    found[:, 4] *= 1e-160
    found[:, 5] *= 10.0 ** random.integers(-6, 7, STEPS)
    found[300:600, 6] = 0.0
    found[:, 7] = np.where(t[:, 0] % 3 == 0, 10.0, -1.0)
    return found


@pytest.fixture(scope="module")
def in_browser(page: Page) -> dict[str, bytes]:
    """The bits of each case, with the powers, logarithms and angles of Python for the browser's."""
    given: dict[str, Any] = {
        "start": np.linspace(-2, 2, ELEMENTS).tolist(),
        "gradients": gradients().tolist(),
        "steps": STEPS,
        "known": [],
    }
    for _ in range(4):  # a power may be of what a power was needed for
        found = page.evaluate(_RUN, given)
        asked = json.loads(found["asked"])
        if not asked:
            return {name: base64.b64decode(bits) for name, bits in found["bits"].items()}
        given["known"] += [(name, x, y, float(_IN_PYTHON[name](x, y))) for name, x, y in asked]
    raise AssertionError("powers are still asked for")


# Functions that libraries round in one way or another.
_IN_PYTHON: dict[str, Callable[[float, float], Any]] = {
    "pow": lambda x, y: x**y,
    "log": lambda x, _: math.log(x),
    "atan2": np.arctan2,
}


@pytest.mark.parametrize("name", CASES)
def test_every_rule_has_the_bits_of_the_reference(in_browser: dict[str, bytes], name: str) -> None:
    grads = gradients()
    with np.errstate(all="ignore"):
        states = reference.trajectory(
            CASES[name], np.linspace(-2, 2, ELEMENTS), lambda t, p: grads[t - 1], STEPS
        )
        expected = np.array([np.stack([state.p, *state.slots]) for state in states])
    found = np.frombuffer(in_browser[name], np.float64).reshape(expected.shape)
    assert np.isfinite(expected[:, :, 0]).all()
    np.testing.assert_array_equal(found.view(np.int64), expected.view(np.int64))


def test_powers_are_rounded_to_nearest(page: Page) -> None:
    random = np.random.default_rng(1)
    whole = [(float(x), int(n)) for x in (0.9, 0.999, 0.75, 0.1, 1.5) for n in range(1, 700, 3)]
    parts = np.stack([random.uniform(0, 3, 500), random.normal(0, 20, 500)], axis=1).tolist()
    small = [(0.96, 0.004 * t) for t in range(1, 500)] + [(5e-324, 0.3), (1e300, -0.9), (0.999, 1e5)]
    pairs = [*whole, *parts, *small]
    found = page.evaluate("(pairs) => pairs.map(([x, y]) => xp.pow(x, y))", pairs)
    with decimal.localcontext(prec=80):
        exact = [float((decimal.Decimal(x).ln() * decimal.Decimal(y)).exp()) for x, y in pairs]
        exact[: len(whole)] = [float(decimal.Decimal(x) ** n) for x, n in whole]
    assert list(map(float, found)) == exact
    # The machine's are at most the numbers beside them.
    assert all(abs(x**y - z) <= math.ulp(z) for (x, y), z in zip(pairs, exact, strict=True))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (0.0, 0.5),
        (0.0, 3),
        (2.0, 0),
        (1.0, 1e308),
        (-2.0, 3),
        (-2.0, 4),
        (math.inf, 2.5),
        (0.5, 2000),
        (3.0, 800),
    ],
)
def test_powers_at_the_edges_are_those_of_c(page: Page, x: float, y: float) -> None:
    try:
        expected = x**y
    except OverflowError:
        expected = math.inf
    assert page.evaluate("([x, y]) => xp.pow(x, y)", [x, y]) == expected


def test_quotients_and_remainders_are_those_of_python(page: Page) -> None:
    numbers = [7.5, -7.5, 3.0, -3.0, 0.1, -0.1, 1e17, 0.0]
    pairs = [(x, y) for x in numbers for y in numbers if y]
    found = page.evaluate("(ps) => ps.map(([x, y]) => [xp.floor_quotient(x, y), xp.remainder(x, y)])", pairs)
    assert [tuple(map(float, each)) for each in found] == [(x // y, x % y) for x, y in pairs]


def test_functions_are_those_of_numpy(page: Page) -> None:
    numbers = [-2.0, 0.0, 1.5]
    for name, count in (("maximum", 2), ("minimum", 2), ("abs", 1), ("sign", 1)):
        for x in numbers:
            for y in numbers:
                given = [x, y][:count]
                assert page.evaluate(f"(given) => xp.{name}(...given)", given) == getattr(np, name)(*given)
    assert page.evaluate("Object.is(xp.sign(-0), 0) && Number.isNaN(xp.maximum(NaN, 1))")


ADAM = """{
  name: "Adam",
  hyperparameters: { lr: 0.001, beta1: 0.9, beta2: 0.999, eps: 1e-8 },
  variant: { bias_correction: true, eps_placement: "outside" },
  slots: { m: { initial: 0, signed: true }, v: { initial: 0, signed: false } },
  scalars(h, t) {
    const { lr, beta1, beta2, eps } = h;
    const correction1 = 1 - xp.pow(beta1, t);
    const correction2 = 1 - xp.pow(beta2, t);
    const root = xp.pow(correction2, 0.5);
    const outside = eps * root;
    const step = lr * root / correction1;
    return [beta1, 1 - beta1, beta2, 1 - beta2, step, outside, 0];
  },
  update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, eps_inside) {
    m = beta1 * m + one_minus_beta1 * g;
    v = beta2 * v + one_minus_beta2 * g * g;
    return [p - step * m / (xp.sqrt(v + eps_inside) + eps), m, v];
  },
}"""

SCALARS_OF_NADAM = """  carried: { mu_product: 1 },
  carry(h, t, mu_product) {
    const { beta1, momentum_decay } = h;
    const mu = beta1 * (1 - 0.5 * xp.pow(0.96, t * momentum_decay));
    return [mu_product * mu];
  },
  scalars(h, t, mu_product) {
    const { lr, beta1, beta2, eps, momentum_decay } = h;
    const t_2 = t + 1;
    const ahead = beta1 * (1 - 0.5 * xp.pow(0.96, t_2 * momentum_decay));
    const root = xp.pow(1 - xp.pow(beta2, t), 0.5);
    const x1 = lr * root;
    const mu = beta1 * (1 - 0.5 * xp.pow(0.96, t * momentum_decay));
    const step_g = x1 * (1 - mu) / (1 - mu_product);
    const step_m = x1 * ahead / (1 - mu_product * ahead);
    return [beta1, 1 - beta1, beta2, 1 - beta2, step_g, step_m, eps * root];
  },"""


def test_the_text_is_as_a_person_would_write_it() -> None:
    assert emit(Adam) == ADAM
    assert SCALARS_OF_NADAM in emit(NAdam)


def test_a_branch_on_a_hyperparameter_is_told(page: Page) -> None:
    holds: Callable[[Rule, float], bool] = lambda rule, momentum: page.evaluate(  # noqa: E731
        f"({emit(rule)}).holds({{momentum: {momentum}}})"
    )
    assert [holds(SGD(), 0.0), holds(SGD(), 0.5)] == [True, False]
    assert [holds(SGD(momentum=0.9), 0.0), holds(SGD(momentum=0.9), 0.5)] == [False, True]
    assert "holds" not in emit(Adam)


@dataclass(frozen=True)
class Awkward(Rule):
    """Names that JavaScript reserves, signs upon signs, a name taken again while its old value is needed."""

    lr: float = 0.5
    new: float = 0.25
    slots = {"var": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t):
        lr = self.lr - -self.new
        return lr, self.lr, 7 // (t + 1) + t % 3

    @staticmethod
    def update(p, g, var, v, let, function, xs):
        old = var
        var = -(-1.0 * -g) - (old - (p - g))
        v = xp.where(~((g > 0) & (p < 1)), v - (-1.0 - v), v * (g * g)) ** 2
        return p - let * (var * old) / (function * 3.0) - xs, var + old, v


def test_awkward_names_and_brackets_change_nothing(page: Page) -> None:
    rule, grads = Awkward(), np.array([[1.0, -0.3], [0.1, 0.7], [-0.2, 1e-3]])
    states = list(reference.trajectory(rule, np.array([0.3, 0.4]), lambda t, p: grads[t - 1], 3))
    run = f"trajectory({emit(rule)}, {{lr: 0.5, new_: 0.25}}, [0.3, 0.4], (t) => grads[t - 1], 3)"
    found = page.evaluate(f"(grads) => [...{run}]", grads.tolist())
    for one, state in zip(found, states, strict=True):
        assert np.array([one["p"], *one["slots"]]).tobytes() == np.stack([state.p, *state.slots]).tobytes()


def test_what_cannot_be_traced_says_what_to_write() -> None:
    @dataclass(frozen=True)
    class Branches(OwnRule):
        def scalars(self, t):
            return (self.lr if t > 3 else 0.0), self.beta, 1 - self.beta

    with pytest.raises(ValueError, match=r"Branches.scalars: .*write xp.where"):
        emit(Branches)
