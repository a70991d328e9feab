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
from ._found import rule_classes as _rule_classes
from ._gauge import Gauge
from .adabelief import AdaBelief
from .adabound import AdaBound
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam
from .adamatan2 import AdamAtan2
from .adamax import AdaMax
from .adammini import AdamMini
from .adamp import AdamP
from .adan import Adan
from .ademamix import AdEMAMix
from .adopt import ADOPT
from .amsgrad import AMSGrad
from .cautiousadam import CautiousAdam
from .cautiouslion import CautiousLion
from .dadaptadam import DAdaptAdam
from .dog import DoG
from .grams import Grams
from .lamb import LAMB
from .laprop import LaProp
from .lars import LARS
from .lion import Lion
from .mars import MARS
from .nadam import NAdam
from .novograd import NovoGrad
from .prodigy import Prodigy
from .qhadam import QHAdam
from .radam import RAdam
from .rmsprop import RMSprop
from .schedulefree import ScheduleFreeAdamW, ScheduleFreeSGD
from .sgd import SGD
from .signum import Signum
from .simplifiedademamix import SimplifiedAdEMAMix
from .stableadamw import StableAdamW
from .yogi import Yogi

__all__ = [
    "ADOPT",
    "LAMB",
    "LARS",
    "MARS",
    "NONNEGATIVE",
    "SGD",
    "SIGNED",
    "AMSGrad",
    "AdEMAMix",
    "AdaBelief",
    "AdaBound",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamAtan2",
    "AdamMini",
    "AdamP",
    "Adan",
    "CautiousAdam",
    "CautiousLion",
    "Coast",
    "DAdaptAdam",
    "DoG",
    "Gauge",
    "Grams",
    "LaProp",
    "Lion",
    "NAdam",
    "NovoGrad",
    "Prodigy",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "Rule",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "Signum",
    "SimplifiedAdEMAMix",
    "StableAdamW",
    "Yogi",
    "names",
    "xp",
]


def names() -> list[str]:
    """The names of all rules in lower case, sorted, as `adamas.optax` spells its functions."""
    return sorted(name.lower() for name in _rule_classes())


def __getattr__(name: str) -> object:
    raise missing_attribute(__name__, name, __all__)
