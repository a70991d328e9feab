"""Adam-mini (Zhang et al. 2024, "Adam-mini: Use Fewer Learning Rates To Gain More"), with rows for blocks."""

from dataclasses import dataclass

from ._base import SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class AdamMini(Rule):
    r"""Adam-mini: Adam with one second moment a row of a matrix, that of the mean of its squared gradients.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) \operatorname{mean}_{row}(g_t^2) \\
        \theta_t = \theta_{t-1} - \alpha \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    A row, the weights of one output neuron or of one token, is the block that the paper and its authors' code
    take for most matrices of a transformer; they take the rows of a head together for queries and keys.
    A vector is one block.

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

    slots = {"m": SIGNED}
    scope = "row"
    kept = {"v": 0.0}

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        step = self.lr * root / (1 - self.beta1**t)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps * root

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 / (1 - self.beta1**t))

    @staticmethod
    def measure(p, g, m, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, v):
        return g * g, 1.0

    @staticmethod
    def factors(gg, n, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, v):
        v = beta2 * v + one_minus_beta2 * gg / xp.maximum(n, 1.0)
        norm = xp.sqrt(v) + eps
        return v, step / xp.where(norm == 0, 1.0, norm)

    @staticmethod
    def update(p, g, m, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, v, rate):
        m = beta1 * m + one_minus_beta1 * g
        return p - rate * m, m
