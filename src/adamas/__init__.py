"""Adam and its family: each update rule written once, and run in one pass over memory."""

from importlib.metadata import PackageNotFoundError as _NotInstalled
from importlib.metadata import version as _version

from ._convert import convert
from ._tools.names import missing_attribute
from .rules import (
    SGD,
    AdaBelief,
    Adadelta,
    Adagrad,
    Adam,
    AdaMax,
    AMSGrad,
    Lion,
    NAdam,
    RAdam,
    RMSprop,
)

try:
    __version__ = _version("adamas")
except _NotInstalled:  # a source tree on the path
    __version__ = "not installed"

__all__ = [
    "SGD",
    "AMSGrad",
    "AdaBelief",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
    "__version__",
    "convert",
]


def __getattr__(name: str) -> object:
    raise missing_attribute(__name__, name, __all__)
