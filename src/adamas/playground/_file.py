"""The rules of a Python file."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import ModuleType

from ..rules import Rule

__all__ = ["RuleFileError", "rules_of"]

_NAME = "adamas_playground_file"


class RuleFileError(ValueError):
    """A file without a rule that can be made; the message says what to write."""


def rules_of(path: Path) -> list[Rule]:
    """The rules that a file defines, with their defaults; the file is run.

    Raises:
        RuleFileError: it cannot be read or run, has no rule, or one that needs arguments.
    """
    module = ModuleType(_NAME)
    module.__file__ = str(path)
    sys.modules[_NAME] = module  # where dataclasses look for the names in annotations
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        classes = [x for x in vars(module).values() if isinstance(x, type) and x.__module__ == _NAME]
        found = [each() for each in classes if issubclass(each, Rule)]
    except OSError as error:
        raise RuleFileError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:
        lines = [
            each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f", line {line}" if line else ""
        raise RuleFileError(f"{path}{where}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not found:
        raise RuleFileError(f"{path} has no rule: write a class of adamas.rules.Rule in it")
    return found
