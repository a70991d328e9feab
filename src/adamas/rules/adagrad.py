"""AdaGrad (Duchi, Hazan & Singer 2011), the diagonal form of its Figure 1; ε outside the root."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, Form, NonNegative, Rule, Scalars, xp
from ._coast import Coast
from ._gauge import Gauge


@dataclass(frozen=True)
class Adagrad(Rule):
    r"""AdaGrad: steps over the root of the sum of all squared gradients so far.

    .. math::
        G_t = G_{t-1} + g_t^2, \quad
        \theta_t = \theta_{t-1} - \frac{\alpha}{1 + (t - 1) \eta} \, g_t / (\sqrt{G_t} + \epsilon)

    Args:
        lr: the stepsize α.
        lr_decay: η, decay of the stepsize.
        initial_accumulator_value: G_0.
        eps: ε, outside the root.
    """

    lr: NonNegative = 1e-2
    lr_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10

    def form(self) -> Form:
        return Form({"G": NONNEGATIVE.filled(self.initial_accumulator_value)}, self.update)

    def scalars(self, t: int) -> Scalars:
        return self.lr / (1 + (t - 1) * self.lr_decay), self.eps

    def coast(self, *scalars: float) -> Coast:
        return Coast()

    def gauge(self, t: int) -> Gauge:
        return Gauge(root="G", eps=self.eps)

    @staticmethod
    def update(p, g, G, lr, eps):
        G = G + g * g
        return p - lr * g / (xp.sqrt(G) + eps), G
