"""The former place of `options`, where pickles of optimizers made before look for it."""

from .keywords import StepOptions as Phase
from .options import StepInfo as LastStep

__all__ = ["LastStep", "Phase"]
