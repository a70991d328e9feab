"""NovoGrad (Ginsburg et al. 2019, "Stochastic Gradient Methods with Layer-wise Adaptive Moments")."""

from dataclasses import dataclass

from ._base import SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class NovoGrad(Rule):
    r"""NovoGrad: momentum of gradients that are divided by a running mean of their tensor's norm.

    .. math::
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) \lVert g_t \rVert^2, \quad v_1 = \lVert g_1 \rVert^2, \quad
        m_t = \beta_1 m_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda \theta_{t-1}, \quad
        \theta_t = \theta_{t-1} - \alpha m_t

    v is one number a tensor. The defaults are the paper's; optax has β2 = .25.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second moment v.
        eps: ε, outside the root.
        weight_decay: λ, part of what momentum adds up.
    """

    lr: NonNegative = 1e-2
    beta1: Decay = 0.95
    beta2: Decay = 0.98
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    slots = {"m": SIGNED}
    kept = {"v": 0.0}

    def scalars(self, t: int) -> Scalars:
        beta2 = xp.where(t == 1, 0.0, self.beta2)
        return self.lr, self.beta1, beta2, 1 - beta2, self.eps, self.weight_decay

    def gauge(self, t: int) -> Gauge:
        return Gauge("m")

    @staticmethod
    def measure(p, g, m, lr, beta1, beta2, one_minus_beta2, eps, decay, v):
        return (g * g,)

    @staticmethod
    def factors(gg, lr, beta1, beta2, one_minus_beta2, eps, decay, v):
        v = beta2 * v + one_minus_beta2 * gg
        norm = xp.sqrt(v) + eps
        return v, 1 / xp.where(norm == 0, 1.0, norm)

    @staticmethod
    def update(p, g, m, lr, beta1, beta2, one_minus_beta2, eps, decay, v, over_norm):
        m = beta1 * m + over_norm * g + decay * p
        return p - lr * m, m
