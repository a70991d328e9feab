"""Grams (Cao, Li & Song 2024), Algorithm 1; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class Grams(Rule):
    r"""Grams: steps as long as Adam's, in the direction of the gradient's sign.

    .. math::
        \theta_t = \theta_{t-1} - \alpha \, \mathrm{sign}(g_t) \, |\hat m_t| / (\sqrt{\hat v_t} + \epsilon)

    with m and v as of Adam.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root of v̂.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-6

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        step = self.lr * root / (1 - self.beta1**t)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, *_ = scalars
        # The sign of a gradient of 0 is 0.
        return Coast({"m": beta1, "v": beta2})

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        return Gauge("m", 1 / corrections[0], "v", 1 / corrections[1], eps=self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - step * xp.sign(g) * xp.abs(m) / (xp.sqrt(v) + eps), m, v
