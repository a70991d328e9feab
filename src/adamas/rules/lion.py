"""Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"), Algorithm 2; no ε."""

from dataclasses import dataclass

from ._base import SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class Lion(Rule):
    r"""Lion: every element moves by exactly α, along the sign of the momentum.

    .. math::
        \theta_t = \theta_{t-1} - \alpha \, \mathrm{sign}(\beta_1 m_{t-1} + (1 - \beta_1) g_t), \quad
        m_t = \beta_2 m_{t-1} + (1 - \beta_2) g_t

    Args:
        lr: the stepsize α.
        beta1: weight of the momentum in the step.
        beta2: decay of the momentum m.
    """

    lr: NonNegative = 1e-4
    beta1: Decay = 0.9
    beta2: Decay = 0.99

    slots = {"m": SIGNED}

    def scalars(self, t: int) -> Scalars:
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.lr

    def coast(self, *scalars: float) -> Coast:
        _, _, beta2, _, step = scalars
        return Coast({"m": beta2}, "m", step, signed=True)

    def gauge(self, t: int) -> Gauge:
        return Gauge("m")

    @staticmethod
    def update(p, g, m, beta1, one_minus_beta1, beta2, one_minus_beta2, step):
        c = beta1 * m + one_minus_beta1 * g
        return p - step * xp.sign(c), beta2 * m + one_minus_beta2 * g
