"""RMSProp (Tieleman & Hinton 2012, lecture 6.5), with momentum, centered (Graves 2013) or both; ε outside."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Form, Fraction, NonNegative, Rule, Scalars, Slot, Update, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class RMSprop(Rule):
    r"""RMSProp: steps over the root of a running mean of squared gradients.

    .. math::
        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \quad
        b_t = \mu b_{t-1} + g_t / (\sqrt{v_t} + \epsilon), \quad \theta_t = \theta_{t-1} - \gamma b_t

    Args:
        lr: the stepsize γ.
        alpha: decay of the second moment v.
        eps: ε, outside the root.
        momentum: μ; with 0 no b is stored.
        centered: divide by the root of the variance, v less the square of the running mean of g.
    """

    lr: NonNegative = 1e-2
    alpha: Fraction = 0.99
    eps: NonNegative = 1e-8
    momentum: NonNegative = 0.0
    centered: bool = False

    def form(self) -> Form:
        slots: dict[str, Slot] = {"v": NONNEGATIVE}
        if self.centered:
            # v - mean² may be a small difference, or by rounding a negative one.
            slots = {"v": NONNEGATIVE.of_at_least(32), "mean": SIGNED.of_at_least(32)}
        if self.momentum > 0:
            slots["b"] = SIGNED
        return Form(slots, _UPDATES[self.centered, self.momentum > 0])

    def scalars(self, t: int) -> Scalars:
        scalars = self.lr, self.alpha, 1 - self.alpha, self.eps
        return (*scalars, self.momentum) if self.momentum > 0 else scalars

    def coast(self, *scalars: float) -> Coast:
        lr, alpha, _, _, *mu = scalars
        factors = {"v": alpha} | ({"mean": alpha} if self.centered else {})
        return Coast({**factors, "b": mu[0]}, "b", lr) if mu else Coast(factors)

    def gauge(self, t: int) -> Gauge:
        return Gauge("mean" if self.centered else None, root="v", eps=self.eps)


def plain(p, g, v, lr, alpha, one_minus_alpha, eps):
    """RMSProp."""
    v = alpha * v + one_minus_alpha * g * g
    return p - lr * g / (xp.sqrt(v) + eps), v


def momentum(p, g, v, b, lr, alpha, one_minus_alpha, eps, mu):
    """Momentum on the scaled gradient."""
    v = alpha * v + one_minus_alpha * g * g
    b = mu * b + g / (xp.sqrt(v) + eps)
    return p - lr * b, v, b


def centered(p, g, v, mean, lr, alpha, one_minus_alpha, eps):
    """The variance instead of the raw second moment; rounding must not make it negative."""
    v = alpha * v + one_minus_alpha * g * g
    mean = alpha * mean + one_minus_alpha * g
    return p - lr * g / (xp.sqrt(xp.maximum(v - mean * mean, 0)) + eps), v, mean


def centered_momentum(p, g, v, mean, b, lr, alpha, one_minus_alpha, eps, mu):
    """Both."""
    v = alpha * v + one_minus_alpha * g * g
    mean = alpha * mean + one_minus_alpha * g
    b = mu * b + g / (xp.sqrt(xp.maximum(v - mean * mean, 0)) + eps)
    return p - lr * b, v, mean, b


_UPDATES: dict[tuple[bool, bool], Update] = {
    (False, False): plain,
    (False, True): momentum,
    (True, False): centered,
    (True, True): centered_momentum,
}
