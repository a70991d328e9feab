"""Prodigy (Mishchenko & Defazio 2023, "An Expeditiously Adaptive Parameter-Free Learner"), Algorithm 4."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Positive, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class Prodigy(Rule):
    r"""Prodigy: Adam that estimates its stepsize d, the distance to a solution, from below.

    .. math::
        r_t = \sqrt{\beta_2} \, r_{t-1} + (1/d_0) \, \alpha d_t^2 \, g_t \cdot (\theta_0 - \theta_{t-1}),
        \quad s_t = \sqrt{\beta_2} \, s_{t-1} + (1/d_0) \, \alpha d_t^2 g_t, \quad
        d_{t+1} = \max(d_t, c \, r_t / \lVert s_t \rVert_1) \\
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) d_t g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) d_t^2 g_t^2, \quad
        \theta_t = \theta_{t-1} - \alpha d_t (m_t / (\sqrt{v_t} + d_{t+1} \epsilon) + \lambda \theta_{t-1})

    All parameters of a group have one d; the authors' code has one for all groups. As there, m and v are not
    corrected unless asked for, the largest estimate so far bounds d, and ε stands beside the new d, where the
    paper has the old one.

    Args:
        lr: the factor α on d, 1 unless scheduled.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v; its root is that of r and s.
        eps: ε, outside the root, in the unit of a gradient.
        d0: the first d.
        d_coef: c, the factor on estimates of d.
        growth: the factor by which d may grow in one step, 1.02 to warm up; 0 for any.
        bias_correction: whether α is multiplied by √(1 - β2^t) / (1 - β1^t), as of Adam.
        weight_decay: λ.
    """

    lr: NonNegative = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    d0: Positive = 1e-6
    d_coef: NonNegative = 1.0
    growth: NonNegative = 0.0
    bias_correction: bool = False
    weight_decay: NonNegative = 0.0

    # `way` is θ0 - θ, which begins at 0; what is kept of d is d / d0.
    slots = {"m": SIGNED, "v": NONNEGATIVE, "s": SIGNED, "way": SIGNED.of_at_least(32)}
    scope = "group"
    eps_hides = False
    kept = {"d": 1.0, "d_max": 1.0, "r": 0.0}

    def scalars(self, t: int) -> Scalars:
        correction = (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t) if self.bias_correction else 1.0
        return (
            self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.beta2**0.5, self.d0,
            self.d0 * self.lr * correction, self.d_coef / self.d0, self.growth, self.eps,
            self.weight_decay,
        )  # fmt: skip

    def gauge(self, t: int) -> Gauge:
        return Gauge("m")

    @staticmethod
    def measure(
        p, g, m, v, s, way, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, d0, step, coef, growth,
        eps, decay, d, d_max, r,
    ):  # fmt: skip
        return g * way, xp.abs(beta3 * s + d * (d * step) * g)

    @staticmethod
    def factors(
        gw, length, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, d0, step, coef, growth, eps, decay,
        d, d_max, r,
    ):  # fmt: skip
        r = xp.where(length > 0, beta3 * r + d * (d * step) * gw, r)
        estimate = xp.where(length > 0, coef * r / xp.where(length > 0, length, 1.0), d)
        began = xp.where(d == 1, xp.maximum(d, estimate), d)
        d_max = xp.maximum(d_max, estimate)
        limit = xp.where(growth > 0, growth * began, d_max)
        return xp.where(length > 0, xp.minimum(d_max, limit), d), d_max, r, d0 * d, d * step

    @staticmethod
    def update(
        p, g, m, v, s, way, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, d0, step, coef, growth,
        eps, decay, d, d_max, r, d_now, rate,
    ):  # fmt: skip
        m = beta1 * m + one_minus_beta1 * (d_now * g)
        v = beta2 * v + one_minus_beta2 * (d_now * g) * (d_now * g)
        s = beta3 * s + d_now / d0 * rate * g
        moved = rate * (m / (xp.sqrt(v) + d * d0 * eps) + decay * p)
        return p - moved, m, v, s, way + moved
