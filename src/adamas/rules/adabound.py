"""AdaBound (Luo, Xiong, Liu & Sun 2019), Algorithm 2; ε outside the root of the uncorrected v."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class AdaBound(Rule):
    r"""AdaBound: Adam whose stepsize of each element is held between bounds that close in on one value.

    .. math::
        \eta_t = \mathrm{clip}\left(
            \frac{\alpha \sqrt{1 - \beta_2^t} / (1 - \beta_1^t)}{\sqrt{v_t} + \epsilon}, \;
            \alpha^* \left(1 - \frac{1}{\gamma t + 1}\right), \;
            \alpha^* \left(1 + \frac{1}{\gamma t}\right) \right), \quad
        \theta_t = \theta_{t-1} - \eta_t m_t

    with m and v as of Adam. The corrections of bias, and the stepsize without the paper's 1/√t, are those of
    the authors' code; it also scales α* by lr over the lr that it was constructed with, which a rule does not
    know: where a schedule is to change the end of training, schedule `final_lr` too.

    Args:
        lr: the stepsize α that it begins with, as Adam's.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        final_lr: α*, the stepsize that it ends with, as that of SGD with momentum.
        gamma: γ, how fast the bounds close in; the paper has 1 - β2.
        eps: ε, outside the root of v.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    final_lr: NonNegative = 0.1
    gamma: NonNegative = 1e-3
    eps: NonNegative = 1e-8

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        step = self.lr * (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t)
        lower = self.final_lr * (1 - 1 / (self.gamma * t + 1))
        # A γ of 0 leaves them as they are: none.
        upper = self.final_lr * (1 + 1 / xp.maximum(self.gamma * t, 1e-30))
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, self.eps, lower, upper

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, *_ = scalars
        return Coast({"m": beta1, "v": beta2}, "m", over="v", stepwise=True)

    def gauge(self, t: int) -> Gauge:
        correction2 = 1 - self.beta2**t
        return Gauge("m", 1 / (1 - self.beta1**t), "v", 1 / correction2, eps=self.eps / correction2**0.5)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, lower, upper):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        eta = xp.maximum(xp.minimum(step / (xp.sqrt(v) + eps), upper), lower)
        return p - eta * m, m, v
