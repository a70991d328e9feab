"""One large finite element in a block: what it does to its neighbours, at every ratio, and for how long."""

from __future__ import annotations

import math

import numpy as np
import pytest
from code_support import SCALED, every_scaled, fits_rule, magnitudes, smallest, spacing
from format_support import Driver
from rule_cases import FORMS

from adamas import formats
from adamas.formats import BLOCK
from adamas.rules import Adam

N = 64 * BLOCK
OUTLIERS = np.arange(N) % BLOCK == 0
# Neighbours over half a decade; the largest of a block would be kept without any noise.
CALM = np.random.default_rng(0).uniform(0.3, 1, N).astype(np.float32)
LARGEST = 3.4e38
RATIOS = [1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10, 1e20, LARGEST]
LR = 1e-3


@pytest.mark.parametrize("ratio", [1e20, LARGEST])
@pytest.mark.parametrize(
    ("name", "format"),
    [(name, x) for name, rule in FORMS.items() for x in SCALED if fits_rule(rule, x) and rule.form().slots],
)
def test_neighbours_never_become_nan(name: str, format: str, ratio: float) -> None:
    """By any rule, of gradients whose squares are infinite; the outlier itself stays finite in its state."""
    driver = Driver(FORMS[name], [np.ones(N)], "float32", format)
    for t in range(12):
        driver.step(np.where(OUTLIERS, ratio, CALM) if t in (3, 4) else CALM)
        assert not np.isnan(driver.params[0].values[~OUTLIERS]).any()
        assert all(np.isfinite(stored.values).all() for stored in driver.slots[0])


class Spike:
    """Adam's momentum and steps, of neighbours of an element that is large once, or from then on.

    Attributes:
        noise: the error of their momentum over itself, in the mean of squares, after each step from then.
        before: the same in the steps before.
        longest: the longest step from then, in stepsizes.
    """

    def __init__(self, format: str, beta: float, ratio: float, steps: int, constant: bool = False) -> None:
        driver = Driver(Adam(lr=LR, beta1=beta), [np.zeros(N)], "float32", format)
        warm, exact = round(6 / (1 - beta)), np.zeros(N)
        noise, self.longest = [], 0.0
        for t in range(1, warm + steps + 1):
            large = OUTLIERS & (t >= warm if constant else t == warm)
            g = np.where(large, np.float32(ratio), CALM)
            p = driver.params[0].values.astype(np.float64)
            driver.step(g)
            exact = beta * exact + (1 - beta) * g
            off = (driver.slots[0][0].values / exact - 1)[~OUTLIERS]
            noise.append(float((off**2).mean() ** 0.5))
            if t >= warm:
                moved = np.abs(driver.params[0].values - p)[~OUTLIERS]
                self.longest = max(self.longest, float(moved.max()) / LR)
        self.before, self.noise = float(np.mean(noise[warm // 2 : warm - 1])), np.array(noise[warm - 1 :])
        assert not np.isnan(driver.params[0].values).any()

    def recovery(self) -> int:
        """The steps until their noise is within 5 %, or as before, for good."""
        bad = np.nonzero(self.noise > max(0.05, 1.1 * self.before))[0]
        return int(bad[-1]) + 1 if bad.size else 0


WIDE = [name for name in SCALED if smallest(name, True) / magnitudes(name, True)[-1] < 1e-5]


@pytest.mark.parametrize("constant", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("ratio", [1e1, 1e2, 1e3])
@pytest.mark.parametrize("format", WIDE)
def test_to_a_thousand_the_noise_of_neighbours_is_within_a_tenth(
    format: str, ratio: float, constant: bool
) -> None:
    assert Spike(format, 0.9, ratio, 150, constant).noise.max() <= 0.1


@pytest.mark.parametrize("ratio", [1e1, 1e2, 1e3, 1e4, 1e5, 1e6])
@every_scaled
def test_the_noise_of_neighbours_is_that_of_the_codes(name: str, ratio: float) -> None:
    """Of a format of any range: each step rounds by half a spacing at most, of which the last 1/(1-β²) sum.

    A spacing is that at the neighbours' size under the scale of the outlier, or, where they are rounded up,
    of the codes there.
    """
    spike = Spike(name, 0.9, ratio, 150, constant=True)
    format = formats.get(name, True)
    scale = ratio * format.scale_factor
    gap = np.maximum(spacing(format, CALM, scale), spacing(format, 2 * CALM, scale))
    gap = np.maximum(gap, smallest(name, True) * scale)
    bound = float(((gap / CALM) ** 2).mean() ** 0.5) / 2 / math.sqrt(1 - 0.81)
    assert spike.noise[60:].max() <= 1.2 * bound


# The exact step of Adam is at most (1-β1)/√(1-β2)/√(1-β1²/β2): 7.27 and 2.30 stepsizes for β1 = .9 and .99.
# Where codes are as coarse as a second moment, that of a neighbour may be rounded down: with long momentum,
# or in 4 bits, its step may then be longer than that. These are the longest that were measured.
MEASURED = {("float8", 0.9): 3.2, ("float8", 0.99): 3.9, ("float4", 0.9): 7.3, ("float4", 0.99): 6.9}


def exact_bound(beta: float) -> float:
    return (1 - beta) / math.sqrt(0.001) / math.sqrt(1 - beta**2 / 0.999)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("beta", [0.9, 0.99])
@every_scaled
def test_steps_of_neighbours_are_bounded(name: str, beta: float, ratio: float) -> None:
    longest = Spike(name, beta, ratio, 150).longest
    if beta == 0.9 and name in WIDE:
        assert longest <= exact_bound(beta)
    assert longest <= 1.3 * MEASURED.get((name, beta), exact_bound(beta))


# After one spike. A decade of the ratio takes ln 10 / ln (1/β) steps, 22 and 229; the margin is half of one.
RECOVERY = {
    0.9: {1e1: 25, 1e2: 49, 1e3: 72, 1e4: 93, 1e6: 137, 1e10: 225, 1e20: 441, LARGEST: 441},
    0.99: {1e1: 11, 1e2: 292, 1e3: 541, 1e4: 771, 1e6: 1236, 1e10: 2150},
}


@pytest.mark.parametrize(("beta", "ratio"), [(beta, r) for beta, each in RECOVERY.items() for r in each])
@every_scaled
def test_neighbours_recover_as_the_spike_decays(name: str, beta: float, ratio: float) -> None:
    """Beyond 1e19 the momentum of the outlier has saturated, and needs no longer."""
    decade = math.log(10) / -math.log(beta)
    expected = RECOVERY[beta][ratio] + decade / 2
    spike = Spike(name, beta, ratio, round(expected + decade))
    assert spike.recovery() <= expected
