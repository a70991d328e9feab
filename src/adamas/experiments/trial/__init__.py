"""The trial of a rule of one's own: its signature, every backend beside the reference, and Adam beside it."""

from .agreement import Agreement
from .contest import Contest, Side
from .source import TrialError
from .trial import Trial, run

__all__ = ["Agreement", "Contest", "Side", "Trial", "TrialError", "run"]
