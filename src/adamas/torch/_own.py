"""The former place of `extra`, where pickles of optimizers made before look for it."""

from .extra import AdaBelief, AMSGrad, Lion, Optimizer

__all__ = ["AMSGrad", "AdaBelief", "Lion", "Optimizer"]
