"""What an optimizer does to each parameter: as a value, a table, a page, a log, and as what is wrong."""

from .reporting import Reporting
from .values import Diagnosis, GroupReport, ParamReport, Reading, Report
from .watching import DiagnosisWarning, Watch

__all__ = [
    "Diagnosis",
    "DiagnosisWarning",
    "GroupReport",
    "ParamReport",
    "Reading",
    "Report",
    "Reporting",
    "Watch",
]
