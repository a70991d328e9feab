"""The former place of `options`, where pickles of optimizers made before look for it."""

from .options import StepInfo as LastStep
from .options import StepOptions as Phase

__all__ = ["LastStep", "Phase"]
