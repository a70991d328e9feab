"""RAdam (Liu et al. 2019, "On the Variance of the Adaptive Learning Rate"), Algorithm 2; ε beside √v."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class RAdam(Rule):
    r"""RAdam: Adam that steps by plain momentum until the variance of 1/√v̂ is tractable, then rectifies it.

    .. math::
        \rho_\infty = \frac{2}{1 - \beta_2} - 1, \quad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \quad
        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2)\rho_t}}

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, added to the root of the uncorrected v, as PyTorch does.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        step = self.lr / (1 - self.beta1**t)
        correction2 = 1 - self.beta2**t
        rho_inf = 2 / (1 - self.beta2) - 1
        rho = rho_inf - 2 * t * self.beta2**t / correction2
        # The paper rectifies where rho > 4; 5 is the authors' own code, and PyTorch's.
        rectified = rho > 5
        # An unrectified step does not use r, which has to be a number all the same.
        rho, rho_inf = xp.maximum(rho, 5.0), xp.maximum(rho_inf, 5.0)
        r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
        step = xp.where(rectified, step * r * correction2**0.5, step)
        adaptive = xp.where(rectified, 1.0, 0.0)
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, adaptive, self.eps

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, step, adaptive, eps = scalars
        ratio, add = (1.0, eps) if adaptive > 0 else (0.0, 1.0)
        return Coast({"m": beta1, "v": beta2}, "m", step, over="v", ratio=ratio, add=add)

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        # ε is beside the root of the uncorrected v; an unrectified step has no bound.
        rectified = self.scalars(t)[5] > 0
        return Gauge(
            "m",
            1 / corrections[0],
            "v",
            1 / corrections[1],
            eps=self.eps / corrections[1] ** 0.5 if rectified else 0.0,
            bound=self.lr if rectified else None,
        )

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, adaptive, eps):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        # Not adaptive * √v: while the step is unrectified, v may have overflowed, and 0 * inf is NaN.
        return p - step * m / xp.where(adaptive > 0, xp.sqrt(v) + eps, 1), m, v
