"""Cautious Adam (Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code")."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class CautiousAdam(Rule):
    r"""C-Adam: Adam's step in those elements alone where it goes against the gradient of this step.

    .. math::
        u_t = \hat m_t / (\sqrt{\hat v_t} + \epsilon), \quad \phi_t = [u_t g_t > 0], \quad
        \theta_t = \theta_{t-1} - \alpha \, \frac{d}{\lVert \phi_t \rVert_0 + 1} \, \phi_t u_t

    d is the number of elements of the tensor. The factor is the paper's; its authors' code divides by the
    mean of φ, but by no less than .001, instead. With decoupled weight decay it is C-AdamW.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        step = self.lr * root / (1 - self.beta1**t)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps * root

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 / (1 - self.beta1**t), "v", 1 / (1 - self.beta2**t), eps=self.eps)

    @staticmethod
    def measure(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps):
        m = beta1 * m + one_minus_beta1 * g
        return xp.where(xp.sign(m) * xp.sign(g) > 0, 1.0, 0.0), 1.0

    @staticmethod
    def factors(agreeing, n, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps):
        return (step * n / (agreeing + 1),)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, rate):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        moving = xp.where(xp.sign(m) * xp.sign(g) > 0, m, 0 * m)
        return p - rate * moving / (xp.sqrt(v) + eps), m, v
