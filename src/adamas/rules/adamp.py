"""AdamP (Heo et al. 2021, "Slowing Down the Slowdown for Momentum Optimizers"), Algorithm 2, by rows."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, Fraction, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class AdamP(Rule):
    r"""AdamP: Adam whose step does not grow weights of which the loss depends on the direction alone.

    .. math::
        u_t = \hat m_t / (\sqrt{\hat v_t} + \epsilon), \quad
        q_t = u_t - \frac{\theta \cdot u_t}{\lVert \theta \rVert^2} \theta \quad \text{where} \quad
        \frac{|\theta \cdot g_t|}{\lVert \theta \rVert \lVert g_t \rVert} < \frac{\delta}{\sqrt{\dim \theta}},
        \quad q_t = u_t \quad \text{elsewhere}, \quad
        \theta_t = \theta_{t-1} - \alpha (q_t + \lambda r \theta_{t-1})

    θ stands for a row (a channel of a convolution, which batch normalization makes invariant), or for a
    vector. Each row is judged by itself, as in the paper; its authors' code projects all rows or none, by the
    largest of their cosines, then tries the whole tensor, and leaves vectors out: a group with δ = 0 does.

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root.
        delta: δ.
        wd_ratio: r, the part of the decay that is left where a step is projected; 1 elsewhere.
        weight_decay: λ.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    delta: NonNegative = 0.1
    wd_ratio: Fraction = 0.1
    weight_decay: NonNegative = 0.0

    slots = {"m": SIGNED, "v": NONNEGATIVE}
    scope = "row"

    def scalars(self, t: int) -> Scalars:
        root = (1 - self.beta2**t) ** 0.5
        step = self.lr * root / (1 - self.beta1**t)
        decay = self.lr * self.weight_decay
        return (
            self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps * root, self.delta, decay,
            self.wd_ratio * decay,
        )  # fmt: skip

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 / (1 - self.beta1**t), "v", 1 / (1 - self.beta2**t), eps=self.eps)

    @staticmethod
    def measure(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, delta, decay, less):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p * p, g * g, p * g, p * m / (xp.sqrt(v) + eps), 1.0

    @staticmethod
    def factors(
        pp, gg, pg, pu, n, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, delta, decay, less
    ):
        invariant = (xp.abs(pg) * xp.sqrt(n) < delta * xp.sqrt(pp) * xp.sqrt(gg)) & (pp > 0)
        along = xp.where(invariant, pu / xp.where(pp > 0, pp, 1.0), 0.0)
        return along, xp.where(invariant, less, decay)

    @staticmethod
    def update(
        p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, delta, decay, less, along,
        shrink,
    ):  # fmt: skip
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - step * (m / (xp.sqrt(v) + eps) - along * p) - shrink * p, m, v
