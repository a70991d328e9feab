"""MARS-AdamW (Yuan et al. 2024, "Unleashing the Power of Variance Reduction"), Algorithm 2; ε outside."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, Form, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge
from ._reduction import Reduction


@dataclass(frozen=True)
class MARS(Rule):
    r"""MARS: Adam of gradients whose variance is reduced by the change since the last one.

    .. math::
        c_t = g_t + \gamma \frac{\beta_1}{1 - \beta_1} (g_t - g_{t-1}), \quad g_0 = 0, \quad
        \tilde c_t = c_t / \max(1, \lVert c_t \rVert) \\
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) \tilde c_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) \tilde c_t^2 \\
        \theta_t = \theta_{t-1} - \alpha \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    This is the approximate form, MARS-approx, with the last batch's gradient, as in the authors' code, from
    which :math:`g_0 = 0` is, as is the norm of each tensor by itself. Vectors are treated as matrices are.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        gamma: γ, how much of the change is added.
        eps: ε, outside the root of v̂.
        clip: whether c is clipped to a norm of 1; without, a step is one pass over memory.
    """

    lr: NonNegative = 3e-3
    beta1: Decay = 0.95
    beta2: Decay = 0.99
    gamma: NonNegative = 0.025
    eps: NonNegative = 1e-8
    clip: bool = True

    slots = {"m": SIGNED, "v": NONNEGATIVE, "last": SIGNED.of_at_least(16)}

    def form(self) -> Form:
        if not self.clip:
            return Form(self.slots, unclipped)
        return Form(self.slots, self.update, Reduction("tensor", corrected_square, factor))

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        change = self.gamma * self.beta1 / (1 - self.beta1)
        step = self.lr * root / (1 - self.beta1**t)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, change, step, self.eps * root

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        return Gauge("m", 1 / corrections[0], "v", 1 / corrections[1], eps=self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, last, beta1, one_minus_beta1, beta2, one_minus_beta2, change, step, eps, shrink):
        c = shrink * (g + change * (g - last))
        m = beta1 * m + one_minus_beta1 * c
        v = beta2 * v + one_minus_beta2 * c * c
        return p - step * m / (xp.sqrt(v) + eps), m, v, g


def unclipped(p, g, m, v, last, beta1, one_minus_beta1, beta2, one_minus_beta2, change, step, eps):
    """The same with c as it is."""
    c = g + change * (g - last)
    m = beta1 * m + one_minus_beta1 * c
    v = beta2 * v + one_minus_beta2 * c * c
    return p - step * m / (xp.sqrt(v) + eps), m, v, g


def corrected_square(p, g, m, v, last, beta1, one_minus_beta1, beta2, one_minus_beta2, change, step, eps):
    """What is summed: the square of c."""
    c = g + change * (g - last)
    return (c * c,)


def factor(cc, beta1, one_minus_beta1, beta2, one_minus_beta2, change, step, eps):
    """What brings the norm of c to 1 or below."""
    return (1 / xp.maximum(xp.sqrt(cc), 1.0),)
