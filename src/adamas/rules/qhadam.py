"""QHAdam (Ma & Yarats 2018, "Quasi-hyperbolic momentum and Adam for deep learning"); ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, Fraction, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class QHAdam(Rule):
    r"""QHAdam: Adam with the gradient itself, and its square, mixed into both moments.

    .. math::
        \theta_t = \theta_{t-1} - \alpha \, \frac{(1 - \nu_1) g_t + \nu_1 \hat m_t}
            {\sqrt{(1 - \nu_2) g_t^2 + \nu_2 \hat v_t} + \epsilon}

    with m and v as of Adam, which it is at ν1 = ν2 = 1, the defaults of the authors' code; those here are
    what the authors recommend to begin with.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        nu1: ν1, the weight of m̂ beside the gradient.
        nu2: ν2, the weight of v̂ beside its square.
        eps: ε, outside the root.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.995
    beta2: Decay = 0.999
    nu1: Fraction = 0.7
    nu2: Fraction = 1.0
    eps: NonNegative = 1e-8

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        # Both roots are multiplied by that of v's correction, as Adam's is.
        correction2 = 1 - self.beta2**t
        root = correction2**0.5
        step_g = self.lr * root * (1 - self.nu1)
        step_m = self.lr * root * self.nu1 / (1 - self.beta1**t)
        squares = (1 - self.nu2) * correction2, self.nu2
        return (
            self.beta1,
            1 - self.beta1,
            self.beta2,
            1 - self.beta2,
            step_g,
            step_m,
            *squares,
            self.eps * root,
        )

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, _, step, _, nu2, eps = scalars
        return Coast({"m": beta1, "v": beta2}, "m", step, over="v", ratio=nu2**0.5, add=eps)

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        return Gauge("m", 1 / corrections[0], "v", 1 / corrections[1], eps=self.eps, bound=self.lr)

    @staticmethod
    def update(
        p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step_g, step_m, of_square, of_v, eps
    ):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - (step_g * g + step_m * m) / (xp.sqrt(of_square * g * g + of_v * v) + eps), m, v
