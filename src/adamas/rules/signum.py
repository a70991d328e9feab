"""Signum (Bernstein et al. 2018, "signSGD"), Algorithm 2; no ε."""

from dataclasses import dataclass

from ._base import SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class Signum(Rule):
    r"""Signum: every element moves by exactly α, along the sign of the momentum.

    .. math::
        m_t = \beta m_{t-1} + (1 - \beta) g_t, \quad \theta_t = \theta_{t-1} - \alpha \, \mathrm{sign}(m_t)

    Args:
        lr: the stepsize α.
        beta: decay of the momentum m; 0 is signSGD.
    """

    lr: NonNegative = 1e-4
    beta: Decay = 0.9

    slots = {"m": SIGNED}

    def scalars(self, t: int) -> Scalars:
        return self.beta, 1 - self.beta, self.lr

    def coast(self, *scalars: float) -> Coast:
        beta, _, step = scalars
        return Coast({"m": beta}, "m", step, signed=True)

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 / (1 - self.beta**t))

    @staticmethod
    def update(p, g, m, beta, one_minus_beta, step):
        m = beta * m + one_minus_beta * g
        return p - step * xp.sign(m), m
