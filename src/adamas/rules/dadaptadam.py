"""D-Adapted Adam (Defazio & Mishchenko 2023, "Learning-Rate-Free Learning by D-Adaptation"), Algorithm 5."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Positive, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class DAdaptAdam(Rule):
    r"""D-Adaptation for Adam: the stepsize d is a lower bound of the distance to a solution, which grows.

    .. math::
        r_t = \sqrt{\beta_2} \, r_{t-1} + (1 - \sqrt{\beta_2}) \, \alpha d_t \,
        g_t \cdot \frac{s_{t-1}}{\sqrt{v_{t-1}} + \epsilon}, \quad
        s_t = \sqrt{\beta_2} \, s_{t-1} + (1 - \sqrt{\beta_2}) \, \alpha d_t g_t \\
        d_{t+1} = \max\left(d_t, \frac{r_t}{(1 - \sqrt{\beta_2}) \lVert s_t \rVert_1}\right) \\
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) \alpha d_t g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1} - m_t / (\sqrt{v_t} + \epsilon) - \alpha d_t \lambda \theta_{t-1}

    All parameters of a group have one d; the authors' code has one for all groups. There, r is made of the
    second moment before this step, as here; the paper has it after.

    Args:
        lr: the factor α on d, 1 unless scheduled.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v; its root is that of r and s.
        eps: ε, outside the root.
        d0: the first d.
        growth: the factor by which d may grow in one step, 1.02 to warm up; 0 for any.
        bias_correction: whether α is multiplied by √(1 - β2^t) / (1 - β1^t), as of Adam.
        weight_decay: λ.
    """

    lr: NonNegative = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    d0: Positive = 1e-6
    growth: NonNegative = 0.0
    bias_correction: bool = False
    weight_decay: NonNegative = 0.0

    # What is kept of d is d / d0.
    slots = {"m": SIGNED, "v": NONNEGATIVE, "s": SIGNED}
    scope = "group"
    kept = {"d": 1.0, "r": 0.0}

    def scalars(self, t: int) -> Scalars:
        correction = (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t) if self.bias_correction else 1.0
        beta3 = self.beta2**0.5
        return (
            self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, beta3, 1 - beta3, self.d0,
            self.d0 * self.lr * correction, self.growth, self.eps, self.weight_decay,
        )  # fmt: skip

    def gauge(self, t: int) -> Gauge:
        return Gauge("m")

    @staticmethod
    def measure(
        p, g, m, v, s, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3, d0, step,
        growth, eps, decay, d, r,
    ):  # fmt: skip
        norm = xp.sqrt(v) + eps
        along = g * s / xp.where(norm == 0, 1, norm)
        return along, xp.abs(beta3 * s + one_minus_beta3 * (d * step) * g)

    @staticmethod
    def factors(
        gs, length, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3, d0, step, growth,
        eps, decay, d, r,
    ):  # fmt: skip
        r = xp.where(length > 0, beta3 * r + one_minus_beta3 * (d * step) * gs, r)
        some = xp.where(length > 0, one_minus_beta3 * d0 * length, 1.0)
        estimate = xp.where(length > 0, r / some, d)
        limit = xp.where(growth > 0, growth * d, estimate)
        return xp.maximum(d, xp.minimum(estimate, limit)), r, d * step

    @staticmethod
    def update(
        p, g, m, v, s, beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3, d0, step,
        growth, eps, decay, d, r, rate,
    ):  # fmt: skip
        m = beta1 * m + one_minus_beta1 * (rate * g)
        v = beta2 * v + one_minus_beta2 * g * g
        s = beta3 * s + one_minus_beta3 * (rate * g)
        return p - m / (xp.sqrt(v) + eps) - decay * rate * p, m, v, s
