"""StableAdamW (Wortsman et al. 2023, "Stable and low-precision training for vision-language models")."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class StableAdamW(Rule):
    r"""StableAdamW: AdamW whose rate falls for a tensor whose gradients have outgrown their second moment.

    .. math::
        \mathrm{RMS}_t = \sqrt{\operatorname{mean}(g_t^2 / \max(\hat v_t, \epsilon^2))}, \quad
        \eta_t = \alpha / \max(1, \mathrm{RMS}_t), \quad
        \theta_t = \theta_{t-1} - \eta_t (\hat m_t / (\sqrt{\hat v_t} + \epsilon) + \lambda \theta_{t-1})

    The clipping of updates is Adafactor's (Shazeer & Stern 2018), at 1. As in the paper's Algorithm 2, and in
    optimi, the decay is by η too.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root, and beside v as its square.
        weight_decay: λ.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.01

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        correction1, correction2 = 1 - self.beta1**t, 1 - self.beta2**t
        root = correction2**0.5
        least, step = self.eps**2 * correction2, root / correction1
        return (
            self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps * root, least, correction2,
            self.lr, self.weight_decay,
        )  # fmt: skip

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 / (1 - self.beta1**t), "v", 1 / (1 - self.beta2**t), eps=self.eps, bound=self.lr)

    @staticmethod
    def measure(
        p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, least, correction2, lr, decay
    ):
        v = xp.maximum(beta2 * v + one_minus_beta2 * g * g, least)
        ratio = g / xp.sqrt(xp.where(v > 0, v, 1))
        return ratio * ratio, 1.0

    @staticmethod
    def factors(
        squares, n, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, least, correction2, lr, decay
    ):
        rms = xp.sqrt(correction2 * squares / xp.maximum(n, 1.0))
        return (lr / xp.maximum(rms, 1.0),)

    @staticmethod
    def update(
        p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, least, correction2, lr, decay,
        rate,
    ):  # fmt: skip
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - rate * (step * m / (xp.sqrt(v) + eps) + decay * p), m, v
