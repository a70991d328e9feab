"""LaProp (Ziyin, Wang & Ueda 2020), Algorithm 1; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class LaProp(Rule):
    r"""LaProp: momentum of gradients that are divided first, by the root of their second moment.

    .. math::
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t / (\sqrt{\hat v_t} + \epsilon), \quad
        \theta_t = \theta_{t-1} - \alpha \hat m_t

    The stepsize stands outside of m, as in the paper; the authors' code and pytorch_optimizer keep α m, so
    that a changed stepsize comes into force as m is renewed.

    Args:
        lr: the stepsize α.
        beta1: decay of the mean m of divided gradients; may be larger than √β2.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root of v̂.
    """

    lr: NonNegative = 4e-4
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-15

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        step = self.lr / (1 - self.beta1**t)
        return self.beta1, (1 - self.beta1) * root, self.beta2, 1 - self.beta2, step, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, step, _ = scalars
        return Coast({"m": beta1, "v": beta2}, "m", step)

    def gauge(self, t: int) -> Gauge:
        return Gauge(root="v", root_factor=1 / (1 - self.beta2**t), eps=self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, beta1, gain, beta2, one_minus_beta2, step, eps):
        v = beta2 * v + one_minus_beta2 * g * g
        # 0 / (0 + ε) is NaN where ε is 0, or underflows.
        m = beta1 * m + gain * g / (xp.sqrt(v) + eps)
        return p - step * m, m, v
