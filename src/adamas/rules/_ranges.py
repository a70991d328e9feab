"""Ranges of hyperparameters, as annotations of a rule's fields."""

import math
from typing import Annotated

import annotated_types as at

__all__ = ["Decay", "Finite", "Fraction", "NonNegative", "Positive"]

# Ranges of hyperparameters, in the vocabulary of annotated-types; `Annotated[float, Gt(0)]` works as well.
NonNegative = Annotated[float, at.Interval(ge=0, lt=math.inf)]
Positive = Annotated[float, at.Interval(gt=0, lt=math.inf)]
Decay = Annotated[float, at.Interval(ge=0, lt=1)]
Fraction = Annotated[float, at.Interval(ge=0, le=1)]
Finite = Annotated[float, at.Interval(gt=-math.inf, lt=math.inf)]
