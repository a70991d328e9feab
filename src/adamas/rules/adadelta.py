"""Adadelta (Zeiler 2012), Algorithm 1; ε inside both roots."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, Fraction, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class Adadelta(Rule):
    r"""Adadelta: RMSProp in the units of the parameter, scaled by the root mean square of its own past steps.

    .. math::
        v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \quad
        \Delta_t = \frac{\sqrt{d_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} g_t, \quad
        d_t = \rho d_{t-1} + (1 - \rho) \Delta_t^2, \quad \theta_t = \theta_{t-1} - \gamma \Delta_t

    Args:
        lr: γ, a factor on the step; 1 in the paper.
        rho: decay of both running means.
        eps: ε, inside both roots.
    """

    lr: NonNegative = 1.0
    rho: Fraction = 0.9
    eps: NonNegative = 1e-6

    # Steps are as long as the root of d, which is of their squares: a coarse d, rounded up, feeds itself.
    slots = {"v": NONNEGATIVE, "d": NONNEGATIVE.of_at_least(8)}

    def scalars(self, t: int) -> Scalars:
        return self.lr, self.rho, 1 - self.rho, self.eps

    def coast(self, *scalars: float) -> Coast:
        _, rho, _, _ = scalars
        return Coast({"v": rho, "d": rho})

    def gauge(self, t: int) -> Gauge:
        return Gauge(root="v", eps=self.eps**0.5)

    @staticmethod
    def update(p, g, v, d, lr, rho, one_minus_rho, eps):
        v = rho * v + one_minus_rho * g * g
        delta = xp.sqrt(d + eps) / xp.sqrt(v + eps) * g
        d = rho * d + one_minus_rho * delta * delta
        return p - lr * delta, v, d
