"""The update rules, one a file, and what a rule of your own is made of.

```python
from dataclasses import dataclass
from adamas.rules import SIGNED, Rule, xp

@dataclass(frozen=True)
class SignMomentum(Rule):
    lr: float = 1e-3
    beta: float = 0.9
    slots = {"m": SIGNED}

    def scalars(self, t):
        return self.lr, self.beta, 1 - self.beta

    @staticmethod
    def update(p, g, m, lr, beta, one_minus_beta):
        m = beta * m + one_minus_beta * g
        return p - lr * xp.sign(m), m
```
"""

from .._tools.names import missing_attribute
from ._base import NONNEGATIVE, SIGNED, Rule, xp
from ._coast import Coast
from ._gauge import Gauge
from .adabelief import AdaBelief
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam
from .adamax import AdaMax
from .amsgrad import AMSGrad
from .lion import Lion
from .nadam import NAdam
from .radam import RAdam
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "NONNEGATIVE",
    "SGD",
    "SIGNED",
    "AMSGrad",
    "AdaBelief",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Coast",
    "Gauge",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rule",
    "xp",
]


def __getattr__(name: str) -> object:
    raise missing_attribute(__name__, name, __all__)
