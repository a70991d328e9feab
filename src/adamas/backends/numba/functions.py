"""Functions of a module that are compiled as they stand, for what is no pass over tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from .cache import load_module

__all__ = ["compile_functions"]

_HEAD = '''"""Functions of adamas.backends.numba.{name}."""
import math

import numba
import numpy as np

from adamas.backends.numba.toolbox import prefetch

'''


def compile_functions(
    name: str, functions: Sequence[Callable[..., Any]], names: Mapping[str, Any]
) -> ModuleType:
    """A module of functions, each compiled where it is called first, and kept on disk.

    Args:
        name: of the module that they are from.
        functions: each below those that it calls, with a docstring.
        names: the globals of that module, of which they may use the integers.
    """
    numbers = "".join(f"{key} = {value}\n" for key, value in names.items() if isinstance(value, int))
    decorated = (f"@numba.njit(cache=True, error_model='numpy')\n{_bare(each)}" for each in functions)
    return load_module(name, "\n\n".join([_HEAD.format(name=name) + numbers, *decorated]))


def _bare(function: Callable[..., Any]) -> str:
    """The source of a function without annotations, whose names are not there."""
    _, _, body = inspect.getsource(function).partition('    """')
    names = ", ".join(inspect.signature(function).parameters)
    return f'def {function.__name__}({names}):\n    """{body}'
