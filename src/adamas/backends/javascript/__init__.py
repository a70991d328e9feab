"""The browser's backend: a rule as JavaScript text, in float64, an operation for an operation.

`emit` writes an object expression that a person can read and edit: hyperparameters, slots, `scalars(h, t)`
and `update(p, g, ...)`, with the rule's own names. `RUNTIME` is what such a text needs: the functions `xp`,
and `trajectory`, the loop of `backends.reference` again.
"""

from .emit import RUNTIME, emit

__all__ = ["RUNTIME", "emit"]
