"""Adam (Kingma & Ba 2014), Algorithm 1, in the order of computation given at the end of its section 2."""

from dataclasses import dataclass
from typing import Literal

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge

EpsPlacement = Literal["outside", "hat", "inside"]


@dataclass(frozen=True)
class Adam(Rule):
    r"""Adam: steps along the bias-corrected mean of the gradients over the root of their raw second moment.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t = \theta_{t-1} - \alpha \, \hat m_t / (\sqrt{\hat v_t} + \epsilon)

    Args:
        lr: the stepsize α.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, in the unit of a gradient ("outside", "hat") or of its square ("inside").
        bias_correction: whether m and v are divided by 1 - β^t (section 3); False is the paper's
            "RMSProp with momentum" (section 6.4).
        eps_placement: where ε stands: "outside" the root of v̂ (Algorithm 1); "hat", outside the
            root of the uncorrected v (the ε̂ of section 2's last paragraph); "inside" the root of v̂.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    bias_correction: bool = True
    eps_placement: EpsPlacement = "outside"

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        correction1 = 1 - self.beta1**t if self.bias_correction else 1.0
        correction2 = 1 - self.beta2**t if self.bias_correction else 1.0
        root = correction2**0.5
        outside, inside = place_eps(self.eps, self.eps_placement, correction2)
        step = self.lr * root / correction1
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, outside, inside

    def coast(self, *scalars: float) -> Coast:
        beta1, _, beta2, _, step, eps, eps_inside = scalars
        factors = {"m": beta1, "v": beta2}
        # Inside of the root ε does not shrink with v.
        return Coast(factors, "m", step, over="v", add=eps, stepwise=eps_inside > 0)

    def gauge(self, t: int) -> Gauge:
        correction1 = 1 - self.beta1**t if self.bias_correction else 1.0
        correction2 = 1 - self.beta2**t if self.bias_correction else 1.0
        outside, inside = place_eps(self.eps, self.eps_placement, correction2)
        eps = ((outside**2 + inside) / correction2) ** 0.5
        return Gauge("m", 1 / correction1, "v", 1 / correction2, eps=eps, bound=self.lr)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, eps_inside):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - step * m / (xp.sqrt(v + eps_inside) + eps), m, v


def place_eps(eps: float, placement: EpsPlacement, correction2: float) -> tuple[float, float]:
    """The ε added outside and inside the root of the uncorrected v; `correction2` is 1 - β2^t."""
    match placement:
        case "outside":
            return eps * correction2**0.5, 0.0
        case "hat":
            return eps, 0.0
        case "inside":
            return 0.0, eps * correction2
