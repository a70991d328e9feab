"""The update rules as gradient transformations of optax: `from_rule`, and one function a rule.

```python
import adamas.optax

transformation = adamas.optax.adamw(lr=1e-3, weight_decay=0.01)
```

The functions are named as the rules of `adamas.rules`, in lower case, and `adamw` besides: a rule that is new
there has its function here. `docs/jax.md` has more.
"""

from collections.abc import Callable

try:
    import optax as _optax
except ImportError as _error:
    raise ImportError(
        'adamas.optax needs JAX and optax, the extra "adamas[jax]": '
        "pip install -e '.[jax]' in a clone of adamas"
    ) from _error

from .._tools.names import missing_attribute
from ._functions import function_names, rule_function
from ._transformation import RuleState, from_rule

__all__ = ["RuleState", "from_rule"]
__all__ += function_names()


def __getattr__(name: str) -> Callable[..., _optax.GradientTransformation]:
    if name not in function_names():
        raise missing_attribute(__name__, name, __all__)
    return rule_function(name)


def __dir__() -> list[str]:
    return sorted(__all__)
