"""AdEMAMix (Pagliardini, Ablin & Grangier 2024), Algorithm 1; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge
from ._warmup import part_of, with_half_life


@dataclass(frozen=True)
class AdEMAMix(Rule):
    r"""AdEMAMix: Adam with a second mean of the gradients that remembers tens of thousands of them.

    .. math::
        m_{1,t} = \beta_1 m_{1,t-1} + (1 - \beta_1) g_t, \quad
        m_{2,t} = \beta_3(t) \, m_{2,t-1} + (1 - \beta_3(t)) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t = \theta_{t-1} - \alpha \, (\hat m_{1,t} + a(t) \, m_{2,t}) / (\sqrt{\hat v_t} + \epsilon),
        \quad a(t) = a \min(t / T, 1)

    The half-life of β3(t) grows linearly from that of β1 to that of β3 over the first T steps. The paper
    recommends a T as long as the training; without, the slow mean is as large as its bias lets it be from the
    first step on.

    Args:
        lr: the stepsize α.
        beta1: decay of the fast mean m1.
        beta2: decay of the second raw moment v.
        beta3: decay of the slow mean m2, whose bias is not corrected.
        alpha: a, the weight of the slow mean: 4 to 10 in the paper, whose experiments have 5 and 8.
        eps: ε, outside the root of v̂.
        warmup: T, the number of steps over which a and β3 come to their values; 0 for none.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    beta3: Decay = 0.9999
    alpha: NonNegative = 5.0
    eps: NonNegative = 1e-8
    warmup: NonNegative = 0.0

    slots = {"m1": SIGNED, "m2": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        part = part_of(t, self.warmup)
        beta3 = with_half_life(self.beta1, self.beta3, part)
        root = (1 - self.beta2**t) ** 0.5
        correction1 = 1 - self.beta1**t
        step, slow = self.lr * root / correction1, self.alpha * part * correction1
        betas = self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, beta3, 1 - beta3
        return *betas, step, slow, self.eps * root

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, beta3, *_ = scalars
        # Along two slots at once.
        return Coast({"m1": beta1, "m2": beta3, "v": beta2}, "m2", over="v", stepwise=True)

    def gauge(self, t: int) -> Gauge:
        corrections = 1 - self.beta1**t, 1 - self.beta2**t
        return Gauge("m1", 1 / corrections[0], "v", 1 / corrections[1], eps=self.eps)

    @staticmethod
    def update(
        p, g, m1, m2, v,
        beta1, one_minus_beta1, beta2, one_minus_beta2, beta3, one_minus_beta3, step, slow, eps,
    ):  # fmt: skip
        # A kernel fuses either of two products in a sum; the magnitude leaves it one, whatever is beside.
        v = beta2 * v + xp.abs(one_minus_beta2 * g * g)
        m1 = m1 + one_minus_beta1 * (g - m1)
        m2 = m2 + one_minus_beta3 * (g - m2)
        return p - step * (m1 + slow * m2) / (xp.sqrt(v) + eps), m1, m2, v
