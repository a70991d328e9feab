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
from .adammini import AdamMini
from .adamp import AdamP
from .amsgrad import AMSGrad
from .cautiousadam import CautiousAdam
from .cautiouslion import CautiousLion
from .dadaptadam import DAdaptAdam
from .dog import DoG
from .lamb import LAMB
from .lars import LARS
from .lion import Lion
from .nadam import NAdam
from .novograd import NovoGrad
from .prodigy import Prodigy
from .radam import RAdam
from .rmsprop import RMSprop
from .sgd import SGD
from .stableadamw import StableAdamW

__all__ = [
    "LAMB",
    "LARS",
    "NONNEGATIVE",
    "SGD",
    "SIGNED",
    "AMSGrad",
    "AdaBelief",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamMini",
    "AdamP",
    "CautiousAdam",
    "CautiousLion",
    "Coast",
    "DAdaptAdam",
    "DoG",
    "Gauge",
    "Lion",
    "NAdam",
    "NovoGrad",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rule",
    "StableAdamW",
    "xp",
]


def __getattr__(name: str) -> object:
    raise missing_attribute(__name__, name, __all__)
