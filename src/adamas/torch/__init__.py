"""torch.optim's optimizers in one pass over memory: change the import, keep the numbers and the checkpoints.

```python
from adamas.torch import Adam  # was: from torch.optim import Adam
```
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("adamas.torch needs PyTorch: pip install -e '.[torch]' in a clone of adamas") from error

from .checkpoint_folder import load_checkpoint, save_checkpoint
from .dropin import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, SparseAdam
from .extra import AdaBelief, AMSGrad, Lion, Optimizer
from .family import classes as _classes
from .family import create
from .groups import groups
from .members import SlowPathWarning
from .optimizer import FusedOptimizer as _FusedOptimizer
from .planning import memory
from .report import DiagnosisWarning

__all__ = [
    "SGD",
    "AMSGrad",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "DiagnosisWarning",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "SlowPathWarning",
    "SparseAdam",
    "create",
    "groups",
    "load_checkpoint",
    "memory",
    "save_checkpoint",
]

# The classes of rules that have none above: `adamas.torch.ADOPT` and others.
globals().update(_classes())
__all__ += sorted(_classes())


def __getattr__(name: str) -> type[_FusedOptimizer]:
    """Point from the papers' spelling of a name to torch's."""
    for known in __all__:
        if known.lower() == name.lower():
            raise AttributeError(f"module 'adamas.torch' has no attribute {name!r}: torch spells it {known}")
    raise AttributeError(f"module 'adamas.torch' has no attribute {name!r}")
