"""Cautious Lion (Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code")."""

from dataclasses import dataclass

from ._base import SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class CautiousLion(Rule):
    r"""C-Lion: Lion's step in those elements alone where it goes against the gradient of this step.

    .. math::
        c_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad \phi_t = [c_t g_t > 0], \quad
        \theta_t = \theta_{t-1} - \alpha \, \frac{d}{\lVert \phi_t \rVert_0 + 1} \, \phi_t \,
        \mathrm{sign}(c_t), \quad m_t = \beta_2 m_{t-1} + (1 - \beta_2) g_t

    d is the number of elements of the tensor. The factor is the paper's; its authors' code divides by the
    mean of φ, but by no less than .001, instead.

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

    def gauge(self, t: int) -> Gauge:
        return Gauge("m")

    @staticmethod
    def measure(p, g, m, beta1, one_minus_beta1, beta2, one_minus_beta2, step):
        c = beta1 * m + one_minus_beta1 * g
        return xp.where(xp.sign(c) * xp.sign(g) > 0, 1.0, 0.0), 1.0

    @staticmethod
    def factors(agreeing, n, beta1, one_minus_beta1, beta2, one_minus_beta2, step):
        return (step * n / (agreeing + 1),)

    @staticmethod
    def update(p, g, m, beta1, one_minus_beta1, beta2, one_minus_beta2, step, rate):
        c = beta1 * m + one_minus_beta1 * g
        moving = xp.where(xp.sign(c) * xp.sign(g) > 0, xp.sign(c), 0 * c)
        return p - rate * moving, beta2 * m + one_minus_beta2 * g
