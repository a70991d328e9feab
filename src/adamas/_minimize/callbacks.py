"""Callbacks by SciPy's two conventions, and what they answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .loop import Run
from .trees import Layout

__all__ = ["callback_of"]


def callback_of(callback: Any, layout: Layout, result: Any) -> Callable[[Run], bool] | None:
    """The callback of a run, which says whether to stop: on True, and on StopIteration.

    Args:
        callback: called with x after each step; or, where its only parameter is called
            `intermediate_result`, with a `result` that has x, fun, and nit.
        layout: the structure of x.
        result: the class of results.

    Raises:
        TypeError: it cannot be called.
    """
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback must be a function, got {type(callback).__name__}")
    try:
        whole = set(inspect.signature(callback).parameters) == {"intermediate_result"}
    except (TypeError, ValueError):  # of a builtin
        whole = False

    def called(run: Run) -> bool:
        x = layout.build(run.stepper.x)
        try:
            if whole:
                answer = callback(intermediate_result=result(x=x, fun=run.value, nit=run.t))
            else:
                answer = callback(x)
        except StopIteration:
            return True
        return answer is True or (type(answer).__name__ == "bool_" and bool(answer))

    return called
