"""ADOPT (Taniguchi et al. 2024), Algorithm 2; ε is the least denominator, max(√v, ε)."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class ADOPT(Rule):
    r"""ADOPT: each gradient is divided by the root of the moment before it, and only then averaged.

    .. math::
        n_t = \mathrm{clip}\left( g_t / \max(\sqrt{v_{t-1}}, \epsilon), \pm (t - 1)^{1/4} \right), \quad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) n_t \\
        \theta_t = \theta_{t-1} - \alpha m_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad v_1 = g_1^2

    The first gradient makes v and moves nothing. The paper calls it g_0, so that its clip t^¼ is (t - 1)^¼ of
    a t that counts all gradients, as in optax and the authors' code; pytorch_optimizer has t^¼ of this t.

    Args:
        lr: the stepsize α.
        beta1: decay of the mean m of normalized gradients.
        beta2: decay of the second raw moment v.
        eps: ε, the least that a gradient is divided by.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.9999
    eps: NonNegative = 1e-6

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        # The bound of the first step is 0, and leaves m as it is.
        bound = xp.sqrt(xp.sqrt(t - 1.0))
        beta2 = xp.where(t == 1, 0.0, self.beta2)
        return self.beta1, 1 - self.beta1, beta2, 1 - beta2, self.lr, self.eps, bound

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, step, *_ = scalars
        return Coast({"m": beta1, "v": beta2}, "m", step)

    def gauge(self, t: int) -> Gauge:
        # v begins as the first square, which outweighs those after it for 1 / (1 - β2) steps.
        return Gauge(root="v", even=False, eps=self.eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, bound):
        n = xp.maximum(xp.minimum(g / xp.maximum(xp.sqrt(v), eps), bound), -bound)
        m = beta1 * m + one_minus_beta1 * n
        return p - step * m, m, beta2 * v + one_minus_beta2 * g * g
