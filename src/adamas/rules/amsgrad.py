"""AMSGrad (Reddi, Kale & Kumar 2018), Algorithm 2: a second moment that never shrinks; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class AMSGrad(Rule):
    r"""AMSGrad: Adam whose denominator is the largest second moment so far.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \bar v_t = \max(\bar v_{t-1}, v_t)

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root.
        bias_correction: True divides m by 1 - β1^t and the largest v by 1 - β2^t, as PyTorch does;
            False is the paper's algorithm.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    bias_correction: bool = True

    slots = {"m": SIGNED, "v": NONNEGATIVE, "v_max": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        correction1 = 1 - self.beta1**t if self.bias_correction else 1.0
        root = (1 - self.beta2**t) ** 0.5 if self.bias_correction else 1.0
        step = self.lr * root / correction1
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, step, eps = scalars
        # v shrinks, and is not above its own maximum.
        return Coast({"m": beta1, "v": beta2}, "m", step, over="v_max", add=eps)

    def gauge(self, t: int) -> Gauge:
        correction1 = 1 - self.beta1**t if self.bias_correction else 1.0
        correction2 = 1 - self.beta2**t if self.bias_correction else 1.0
        return Gauge("m", 1 / correction1, "v_max", 1 / correction2, eps=self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, v_max, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        v_max = xp.maximum(v_max, v)
        return p - step * m / (xp.sqrt(v_max) + eps), m, v, v_max
