"""The trial of a rule of one's own: its signature, every backend beside the reference, and Adam beside it."""

from adamas.rules._file import RuleFileError

from .agreement import Agreement
from .contest import Contest, Side
from .trial import Trial, run

__all__ = ["Agreement", "Contest", "RuleFileError", "Side", "Trial", "run"]
