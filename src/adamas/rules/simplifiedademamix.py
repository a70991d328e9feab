"""Simplified AdEMAMix (Morwani, Vyas, Zhang & Kakade 2025), its Algorithm 1; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge
from ._warmup import part_of, with_half_life


@dataclass(frozen=True)
class SimplifiedAdEMAMix(Rule):
    r"""SimplifiedAdEMAMix: the gradient, weighted, beside one sum of gradients; no slow mean of its own.

    .. math::
        m_t = \beta_1(t) \, m_{t-1} + g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1} - \alpha \, (m_t + a g_t) / (\sqrt{\hat v_t} + \epsilon)

    m is a sum, not a mean, as in the paper and optax (pytorch_optimizer has 1 - β1 before g): a stepsize is 1
    - β1 times Adam's.

    Args:
        lr: the stepsize α.
        beta1: decay of the sum m.
        beta2: decay of the second raw moment v.
        alpha: a, the weight of the gradient: 0 is Adam up to the stepsize; 10 to 100 with small batches.
        eps: ε, outside the root of v̂.
        warmup: T, the number of steps over which the half-life of β1(t) grows to that of β1; 0 for none.
        first_beta1: the decay from which it grows.
    """

    lr: NonNegative = 1e-4
    beta1: Decay = 0.99
    beta2: Decay = 0.95
    alpha: NonNegative = 0.0
    eps: NonNegative = 1e-8
    warmup: NonNegative = 0.0
    first_beta1: Decay = 0.9

    # m is a sum of some hundred gradients, and four bits keep no such sum.
    slots = {"m": SIGNED.of_at_least(8), "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        beta1 = with_half_life(self.first_beta1, self.beta1, part_of(t, self.warmup))
        root = (1 - self.beta2**t) ** 0.5
        return beta1, self.beta2, 1 - self.beta2, self.lr * root, self.alpha, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, beta2, _, step, _, eps = scalars
        return Coast({"m": beta1, "v": beta2}, "m", step, over="v", add=eps)

    def gauge(self, t: int) -> Gauge:
        return Gauge("m", 1 - self.beta1, "v", 1 / (1 - self.beta2**t), eps=self.eps)

    @staticmethod
    def update(p, g, m, v, beta1, beta2, one_minus_beta2, step, alpha, eps):
        m = beta1 * m + g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - step * (m + alpha * g) / (xp.sqrt(v) + eps), m, v
