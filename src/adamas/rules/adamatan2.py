"""Adam-atan2 (Everett et al. 2024, "Scaling Exponents Across Parameterizations and Optimizers"); no ε."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class AdamAtan2(Rule):
    r"""AdamAtan2: Adam with the angle of (√v̂, m̂) for their quotient: no ε, and no step beyond α a π/2.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1} - \alpha \, a \, \mathrm{atan2}(\hat m_t, b \sqrt{\hat v_t})

    Gradients that are all scaled by one number give the same steps. With a = 4/π, rounded, a gradient that
    never changes moves a parameter by α, as Adam does.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        a: the factor of the angle.
        b: the factor of √v̂.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    a: NonNegative = 1.27
    b: NonNegative = 1.0

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        ratio = (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.lr * self.a, ratio, self.b

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, *_ = scalars
        return Coast({"m": beta1, "v": beta2}, "m", over="v", stepwise=True)

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 / (1 - self.beta1**t), "v", 1 / (1 - self.beta2**t))

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, ratio, b):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - step * xp.atan2(ratio * m, b * xp.sqrt(v)), m, v
