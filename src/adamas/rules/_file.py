"""A file with rules, read without leaving anything behind."""

from __future__ import annotations

import contextlib
import itertools
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from ._base import Rule

__all__ = ["RuleFileError", "mistake", "opened"]

_counter = itertools.count()


class RuleFileError(ValueError):
    """A file without rules, or with one that cannot be used; the message says where, and what to write."""


@contextlib.contextmanager
def opened(path: Path, only: Sequence[str] = ()) -> Iterator[list[Rule]]:
    """Run the file, and yield its rules with their defaults; then forget the module.

    Modules beside the file can be imported by it, and no bytecode is written.

    Args:
        path: of the file.
        only: the names of classes to keep to; all of the file's rules by default.

    Raises:
        RuleFileError: the file cannot be read or run, or has no such rule.
    """
    name = f"adamas_file_{next(_counter)}"
    folder, kept = str(path.resolve().parent), sys.dont_write_bytecode
    before = set(sys.modules)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        yield [_made(path, each) for each in _chosen(path, _run(path, name), only)]
    finally:
        sys.dont_write_bytecode = kept
        sys.path.remove(folder)
        for module in set(sys.modules) - before:
            file = getattr(sys.modules[module], "__file__", None)
            if module == name or (file and Path(file).parent == Path(folder)):
                del sys.modules[module]


def mistake(path: Path, error: BaseException) -> str:
    """An exception in one line, with the line of the file that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{path}, line {lines[-1]}: {said}" if lines else f"{path}: {said}"


def _run(path: Path, name: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    try:
        code = compile(path.read_bytes(), module.__file__, "exec")
    except OSError as error:
        raise RuleFileError(f"{path} cannot be read: {error.strerror}") from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise RuleFileError(f"{path}{line}: SyntaxError: {error.msg}") from error
    except ValueError as error:
        raise RuleFileError(f"{path} is no Python file: {error}") from error
    sys.modules[name] = module  # where dataclasses look for the names in annotations
    try:
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script may exit
        raise RuleFileError(f"the file fails as it is run: {mistake(path, error)}") from error
    return module


def _chosen(path: Path, module: ModuleType, only: Sequence[str]) -> list[type[Rule]]:
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Rule) and value.__module__ == module.__name__
    }
    # What others of the file are made of may have no update of its own.
    found = {
        name: rule for name, rule in found.items() if hasattr(rule, "update") or not _has_heirs(rule, found)
    }
    if not found:
        raise RuleFileError(
            f"{path} has no rule: write a class of adamas.rules.Rule, as in "
            "`@dataclass(frozen=True) class Mine(Rule)`"
        )
    for name in only:
        if name not in found:
            raise RuleFileError(f"{path} has no rule {name!r}; there are {', '.join(found)}")
    return [found[name] for name in only or found]


def _has_heirs(rule: type[Rule], found: dict[str, type[Rule]]) -> bool:
    return any(issubclass(other, rule) and other is not rule for other in found.values())


def _made(path: Path, rule: type[Rule]) -> Rule:
    try:
        return rule()
    except (TypeError, ValueError) as error:
        message = str(error)
        if "missing" in message and "argument" in message:
            message = f"{rule.__name__}: give every hyperparameter a default, as in `lr: float = 1e-3`"
        raise RuleFileError(f"{path}: {message}") from error
