"""First steps by hand, of every rule."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from rule_cases import RULES, gradients, parameters, run_reference

from adamas.rules import (
    ADOPT,
    LAMB,
    LARS,
    MARS,
    SGD,
    AdaBelief,
    AdaBound,
    Adadelta,
    Adagrad,
    Adam,
    AdamAtan2,
    AdaMax,
    AdamMini,
    AdamP,
    Adan,
    AdEMAMix,
    AMSGrad,
    CautiousAdam,
    CautiousLion,
    DAdaptAdam,
    DoG,
    Grams,
    LaProp,
    Lion,
    NAdam,
    NovoGrad,
    Prodigy,
    QHAdam,
    RAdam,
    RMSprop,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Signum,
    SimplifiedAdEMAMix,
    StableAdamW,
    Yogi,
)

# From p = 1 with the gradients 2 and then -1, and hyperparameters that leave no term invisible: the
# parameter after each step. The arithmetic stands as it is done by hand from the paper's formulas.
A, B1, B2 = 0.1, 0.5, 0.75
M1, V1 = 0.5 * 2, 0.25 * 4  # m and v after the first gradient
M2, V2 = 0.5 * M1 - 0.5 * 1, 0.75 * V1 + 0.25 * 1  # after the second: 0 and 1
C1, C2 = 1 - 0.25, 1 - 0.5625  # 1 - beta**2
BETAS = {"lr": A, "beta1": B1, "beta2": B2}

BY_HAND: list[tuple[Rule, list[float]]] = [
    (SGD(lr=A), [1 - 0.2, 0.8 + 0.1]),
    (SGD(lr=A, momentum=0.5), [0.8, 0.8 - A * (0.5 * 2 - 1)]),
    (SGD(lr=A, momentum=0.5, dampening=0.25), [0.8, 0.8 - A * (0.5 * 2 - 0.75)]),
    (SGD(lr=A, momentum=0.5, nesterov=True), [1 - A * (2 + 0.5 * 2), 0.7 - A * (-1 + 0.5 * 0)]),
    (Adagrad(lr=A, eps=1), [1 - A * 2 / 3, 1 - A * 2 / 3 + A * 1 / (math.sqrt(5) + 1)]),
    (
        Adagrad(lr=A, lr_decay=1, initial_accumulator_value=5, eps=0),
        [1 - A * 2 / 3, 1 - A * 2 / 3 + A / 2 / math.sqrt(10)],
    ),
    (RMSprop(lr=A, alpha=B2, eps=1), [1 - A * 2 / (1 + 1), 0.9 + A * 1 / (1 + 1)]),
    # The variances are 1 - (2/4)^2 = 3/4 and, with the mean 3/4 * 1/2 - 1/4 = 1/8, 1 - 1/64.
    (
        RMSprop(lr=A, alpha=B2, eps=1, centered=True),
        [
            1 - A * 2 / (math.sqrt(3 / 4) + 1),
            1 - A * 2 / (math.sqrt(3 / 4) + 1) + A / (math.sqrt(63 / 64) + 1),
        ],
    ),
    (RMSprop(lr=A, alpha=B2, eps=1, momentum=0.5), [0.9, 0.9 - A * (0.5 * 1 - 0.5)]),
    (
        RMSprop(lr=A, alpha=B2, eps=0, momentum=0.5, centered=True),
        [
            1 - A * 2 / math.sqrt(3 / 4),
            1 - A * 2 / math.sqrt(3 / 4) - A * (0.5 * 2 / math.sqrt(3 / 4) - 1 / math.sqrt(63 / 64)),
        ],
    ),
    # The first step is sqrt(1 / (1 + 1)) * 2, and d is then a quarter of its square.
    (
        Adadelta(lr=0.5, rho=B2, eps=1),
        [1 - math.sqrt(1 / 2), 1 - math.sqrt(1 / 2) + 0.5 * math.sqrt(1.5 / 2)],
    ),
    (Adam(**BETAS, eps=0), [1 - A, 1 - A]),  # because m is 0 after both
    # ε as large as a gradient, at its three places: |g| + ε, √(1 - β2)·|g| + ε, √(g² + ε).
    (Adam(**BETAS, eps=1), [1 - A * 2 / (2 + 1), 1 - A * 2 / 3]),
    (Adam(**BETAS, eps=1, eps_placement="hat"), [1 - A * 2 * 0.5 / (0.5 * 2 + 1), 1 - A / 2]),
    (Adam(**BETAS, eps=1, eps_placement="inside"), [1 - A * 2 / math.sqrt(4 + 1)] * 2),
    (Adam(**BETAS, eps=1, bias_correction=False), [1 - A * M1 / (math.sqrt(V1) + 1)] * 2),
    (AMSGrad(**BETAS, eps=1), [1 - A * 2 / (2 + 1)] * 2),
    (AMSGrad(**BETAS, eps=1, bias_correction=False), [1 - A * 1 / (1 + 1)] * 2),
    (AdaMax(**BETAS), [1 - A * 2 / 2] * 2),
    (AdaMax(**BETAS, eps=1), [1 - A * 2 / 3] * 2),
    # s = (2 - 1)^2 / 4 + ε, and 1 - β2 is 1/4: its root over that is 1 at ε = 0, √(1 + 4ε) else.
    (AdaBelief(**BETAS, eps=0), [1 - A * 2 / 1] * 2),
    (AdaBelief(**BETAS, eps=1), [1 - A * 2 / (math.sqrt(5) + 1)] * 2),
    (Lion(lr=A, beta1=B1, beta2=B2), [1 - A, 1 - A + A]),  # c is 1, then 0.5 * 0.5 - 0.5 < 0
    # Below five effective steps, plain momentum: m̂ is 2, then 0.
    (RAdam(**BETAS), [1 - A * 2] * 2),
    # A decay that barely decays makes μ = β1: m̄ is 0.5 * 1 / 0.75 + 0.5 * 2 / 0.5, over |g| + ε = 3;
    # then 0 - 0.5 / 0.75, over √(1 / C2) + ε.
    (
        NAdam(**BETAS, eps=1, momentum_decay=1e6),
        [
            1 - A * (0.5 / 0.75 + 2) / 3,
            1 - A * (0.5 / 0.75 + 2) / 3 + A * (0.5 / 0.75) / (1 / math.sqrt(C2) + 1),
        ],
    ),
    # m2 is a quarter of the gradient, then 3/4 * 1/2 - 1/4; m1 is 0 after both.
    (
        AdEMAMix(**BETAS, beta3=0.75, alpha=2, eps=1),
        [1 - A * (2 + 2 * 0.5) / 3, 1 - A * 3 / 3 - A * 2 * 0.125 / (1 / math.sqrt(C2) + 1)],
    ),
    # Half-way to T, α is half, and the half-life of β3(1) is half-way from 1, of 1/2, to that of 3/4.
    (
        AdEMAMix(**BETAS, beta3=0.75, alpha=2, eps=1, warmup=2),
        [1 - A * (2 + (1 - 0.5 ** (2 / (1 + math.log(0.5) / math.log(0.75)))) * 2) / 3],
    ),
    # m is 2, then 0.
    (
        SimplifiedAdEMAMix(**BETAS, alpha=1, eps=1),
        [1 - A * (2 + 2) / 3, 1 - A * 4 / 3 + A * 1 / (1 / math.sqrt(C2) + 1)],
    ),
    # The first gradient makes v = 4 alone; the second is halved, and a half of that is m.
    (ADOPT(**BETAS, eps=1), [1, 1 + A * 0.25]),
    # ε = 8 is the least divisor of the second.
    (ADOPT(**BETAS, eps=8), [1, 1 + A * 0.5 / 8]),
    # z is 0.8, then 0.9; x is 0.8, then the mean 0.85; y is half-way between.
    (ScheduleFreeSGD(lr=A, momentum=0.5), [0.8, 0.875]),
    # z is 1 - 0.1 (2 + 0.5), then 0.75 - 0.1 (-1 + 0.5 * 0.75).
    (ScheduleFreeSGD(lr=A, momentum=0.5, weight_decay=0.5), [0.75, 0.75 * 0.8125 + 0.25 * 0.75]),
    # The stepsize is 0.05, then 0.1: z is 0.9, then 1, whose weight in x is 0.01 of 0.0125.
    (ScheduleFreeSGD(lr=A, momentum=0.5, warmup=2), [0.9, 0.5 * 1 + 0.5 * (0.2 * 0.9 + 0.8 * 1)]),
    # With r = 1 the second weight is twice the first, and without a power of lr that is all.
    (
        ScheduleFreeSGD(lr=A, momentum=0.5, r=1, weight_lr_power=0),
        [0.8, 0.5 * 0.9 + 0.5 * (0.8 / 3 + 2 * 0.9 / 3)],
    ),
    (
        ScheduleFreeAdamW(**BETAS, eps=1),
        [1 - A * 2 / 3, 1 - A * 2 / 3 + 0.75 * A / (1 / math.sqrt(C2) + 1)],
    ),
    (Signum(lr=A, beta=0.5), [1 - A] * 2),  # m is 1, then 0
    # d is 0, then -3; û is -1.5 / 0.75; what n averages is 2, then -1 - 0.5 * 3.
    (
        Adan(lr=A, beta1=0.5, beta2=0.5, beta3=0.75, eps=1),
        [1 - A * 2 / 3, 1 - A * 2 / 3 + A * 0.5 * 2 / (math.sqrt((0.75 * 1 + 0.25 * 6.25) / C2) + 1)],
    ),
    (Adan(lr=A, beta1=0.5, beta2=0.5, beta3=0.75, eps=1, weight_decay=2), [(1 - A * 2 / 3) / 1.2]),
    # c is 3, clipped to 1; then -2.5, clipped to -1: m is 0.5, then -0.25.
    (
        MARS(**BETAS, gamma=0.5, eps=1),
        [1 - A / 2, 1 - A / 2 + A * 0.25 / 0.75 / (math.sqrt((0.75 * 0.25 + 0.25) / C2) + 1)],
    ),
    # c is 2 + 0.5 * 2, then -1 - 0.5 * 3: m is 1.5, then -0.5.
    (
        MARS(**BETAS, gamma=0.5, eps=1, clip=False),
        [
            1 - A * 3 / 4,
            1 - A * 3 / 4 + A * 0.5 / 0.75 / (math.sqrt((0.75 * 2.25 + 0.25 * 6.25) / C2) + 1),
        ],
    ),
    (
        LaProp(**BETAS, eps=1),
        [
            1 - A * 2 / 3,
            1 - A * 2 / 3 - A * (0.5 * 1 / 3 - 0.5 / (1 / math.sqrt(C2) + 1)) / 0.75,
        ],
    ),
    (AdamAtan2(**BETAS, a=1), [1 - A * math.pi / 4] * 2),
    (AdamAtan2(**BETAS, a=2, b=0), [1 - 2 * A * math.pi / 2] * 2),
    # v is 0 + 4 / 4, and as far from 1 as no squared gradient of 1 moves it.
    (Yogi(**BETAS, eps=1, initial_accumulator_value=0), [1 - A * 2 / 3] * 2),
    (Yogi(**BETAS, eps=1, initial_accumulator_value=5, bias_correction=False), [1 - A / (2 + 1)] * 2),
    # m is 1; Adam's rate is 0.1 / (1 + 1), and the bounds are 1/2 and 2 at γ = 1, 0 and many at γ = 0.
    (AdaBound(**BETAS, final_lr=1, gamma=0, eps=1), [1 - A / 2] * 2),
    (AdaBound(**BETAS, final_lr=1, gamma=1, eps=1), [1 - 1 / 2] * 2),
    (AdaBound(lr=100, beta1=B1, beta2=B2, final_lr=1, gamma=1, eps=1), [1 - 2] * 2),
    (
        QHAdam(**BETAS, nu1=0.5, nu2=0.5, eps=1),
        [1 - A * 2 / 3, 1 - A * 2 / 3 + A * 0.5 / (math.sqrt(0.5 * 1 + 0.5 / C2) + 1)],
    ),
    (Grams(**BETAS, eps=1), [1 - A * 2 / 3] * 2),
    # Without momentum decay μ is β1 / 2 at every step: m̄ is 0.25 * 1 / (1 - 1/16) + 0.75 * 2 / 0.75.
    (NAdam(**BETAS, eps=0, momentum_decay=0), [1 - A * (0.25 / (15 / 16) + 2) / 2]),
    # Rules with sums, of one element. The rate of LARS is A / 2 times |p| / |g|.
    (LARS(lr=A, momentum=0.5, trust=0.5), [1 - 0.05, 0.95 - (0.5 * 0.05 - A * 0.5 * 0.95)]),
    (LARS(lr=A, momentum=0, trust=0.5, weight_decay=2), [1 - A * 0.5 / (2 + 2) * (2 + 2)]),
    (LAMB(**BETAS, eps=0, weight_decay=0), [1 - A, 1 - A]),
    (LAMB(**BETAS, eps=1, weight_decay=3), [1 - A, 0.9 - A * 0.9]),
    # No gradient is larger than the root of v̂, so the rate is A.
    (
        StableAdamW(**BETAS, eps=1, weight_decay=0.5),
        [1 - A * (2 / 3 + 0.5), (1 - A * (2 / 3 + 0.5)) * (1 - A * 0.5)],
    ),
    # 1 / (1 + 1) of Adam's step, and then m is 0.
    (CautiousAdam(**BETAS, eps=0), [1 - A / 2] * 2),
    (CautiousLion(lr=A, beta1=B1, beta2=B2), [1 - A / 2, 1 - A / 2 + A / 2]),
    (
        NovoGrad(lr=A, beta1=0.5, beta2=0.75, eps=1),
        [1 - A * 2 / 3, 1 - A * 2 / 3 - A * (0.5 * 2 / 3 - 1 / (math.sqrt(3.25) + 1))],
    ),
    (AdamMini(**BETAS, eps=1), [1 - A * 2 / (2 + 1)] * 2),
    (AdamP(**BETAS, eps=1), [1 - A * 2 / (2 + 1)] * 2),
    # Nothing of the step is left beside p, and a quarter of the decay.
    (AdamP(**BETAS, eps=1, delta=2, weight_decay=0.5, wd_ratio=0.25), [1 - A * 0.5 / 4]),
    (DoG(first=0.25, eps=0), [1 - 0.5 / 2 * 2, 0.5 + 0.5 / math.sqrt(5)]),
    # s is 1 and then 0, so d stays; m is d g / 2, and then 0.
    (Prodigy(beta1=0.5, beta2=0.25, eps=0, d0=0.5), [1 - 0.5 * 0.5 / math.sqrt(0.75)] * 2),
    (DAdaptAdam(beta1=0.5, beta2=0.25, eps=0, d0=0.5), [1 - 0.5 / math.sqrt(3)] * 2),
]


@pytest.mark.parametrize(("rule", "expected"), BY_HAND, ids=lambda value: repr(value)[:60])
def test_by_hand(rule: Rule, expected: Sequence[float]) -> None:
    grads = [np.array([2.0]), np.array([-1.0])][: len(expected)]
    history = run_reference(rule, np.array([1.0]), grads)
    np.testing.assert_allclose([p[0] for p, *_ in history[1:]], expected, rtol=1e-14)


def test_sums_by_hand() -> None:
    """Of two elements: the norm of p is 5, that of the direction √2, that of the gradient 13."""
    p, g = np.array([3.0, 4.0]), np.array([5.0, -12.0])
    lamb = run_reference(LAMB(lr=A, eps=0, weight_decay=0), p, [g])[-1][0]
    np.testing.assert_allclose(lamb, p - A * 5 / math.sqrt(2) * np.sign(g), rtol=1e-14)
    lars = run_reference(LARS(lr=A, trust=0.5), p, [g])[-1][0]
    np.testing.assert_allclose(lars, p - A * 0.5 * 5 / 13 * g, rtol=1e-14)
    mini = run_reference(AdamMini(lr=A, eps=0), p, [g])[-1][0]
    np.testing.assert_allclose(mini, p - A * g / math.sqrt(169 / 2), rtol=1e-14)
    # Both go against their gradients; then m is (.05, -.12), and one of the gradients turns.
    cautious = run_reference(CautiousLion(lr=A), p, [g, np.array([-0.1, -12.0])])
    np.testing.assert_allclose(cautious[1][0], p - A * 2 / 3 * np.sign(g), rtol=1e-14)
    np.testing.assert_allclose(cautious[2][0] - cautious[1][0], [0, A * 2 / 2], rtol=1e-13)
    along = np.array([8.0, -6.0])  # at right angles to p, so that the step keeps its part along p out
    adamp = run_reference(AdamP(lr=A, eps=0), p, [along])[-1][0] - p
    np.testing.assert_allclose(adamp, -A * (np.sign(along) - (3 - 4) / 25 * p), rtol=1e-13)


def test_every_rule_has_a_first_step_by_hand() -> None:
    assert {type(rule) for rule, _ in BY_HAND} == set(RULES.values())


def test_the_first_step_of_adam_has_the_size_of_its_stepsize() -> None:
    """A bias correction that multiplied would make it a hundredth of that."""
    p, g = parameters(50), gradients(1, 50)
    moved, *_ = run_reference(Adam(lr=0.1, eps=0), p, g)[-1]
    np.testing.assert_allclose(moved, p - 0.1 * np.sign(g[0]), rtol=1e-13)
