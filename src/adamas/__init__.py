"""Adam and its family: each update rule written once, and run in one pass over memory."""

from importlib import import_module as _import_module
from importlib.metadata import PackageNotFoundError as _NotInstalled
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._convert import convert
from ._tools.names import missing_attribute
from .rules import (
    ADOPT,
    LAMB,
    LARS,
    MARS,
    SGD,
    AdaBelief,
    AdaBound,
    Adadelta,
    Adagrad,
    Adam,
    AdamAtan2,
    AdaMax,
    AdamMini,
    AdamP,
    Adan,
    AdEMAMix,
    AMSGrad,
    CautiousAdam,
    CautiousLion,
    DAdaptAdam,
    DoG,
    Grams,
    LaProp,
    Lion,
    NAdam,
    NovoGrad,
    Prodigy,
    QHAdam,
    RAdam,
    RMSprop,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Signum,
    SimplifiedAdEMAMix,
    StableAdamW,
    Yogi,
)

if _TYPE_CHECKING:
    from ._minimize import minimize, scipy_method

try:
    __version__ = _version("adamas")
except _NotInstalled:  # a source tree on the path
    __version__ = "not installed"

__all__ = [
    "ADOPT",
    "LAMB",
    "LARS",
    "MARS",
    "SGD",
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
    "DAdaptAdam",
    "DoG",
    "Grams",
    "LaProp",
    "Lion",
    "NAdam",
    "NovoGrad",
    "Prodigy",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "Signum",
    "SimplifiedAdEMAMix",
    "StableAdamW",
    "Yogi",
    "__version__",
    "convert",
    "minimize",
    "scipy_method",
]

# What is imported when it is first used, so that `import adamas` stays light.
_LAZY = {"minimize": "._minimize", "scipy_method": "._minimize"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        value = globals()[name] = getattr(_import_module(_LAZY[name], __name__), name)
        return value
    raise missing_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
