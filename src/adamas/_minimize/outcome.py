"""The result of a run, as SciPy's, and the errors that carry its state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .averaging import average_of, value_of
from .loop import CONVERGED, INTERRUPTED, Ending, Run
from .settings import FORMAT, Settings, State
from .trees import Array, Layout

__all__ = ["ended", "result_class", "result_of"]

# Whether this thread is in a run already, whose `fun` began another.
_RUNNING: ContextVar[bool] = ContextVar("running", default=False)


def result_class() -> Any:
    """SciPy's class of results.

    Raises:
        ImportError: SciPy is missing.
    """
    try:
        from scipy.optimize import OptimizeResult
    except ImportError as error:
        raise ImportError(
            'adamas.minimize returns SciPy\'s results, the extra "adamas[scipy]": '
            "pip install -e '.[scipy]' in a clone of adamas"
        ) from error
    return OptimizeResult


def ended(run: Run, settings: Settings) -> Ending:
    """Run to an end, an interrupt included; give an error the state before the iteration it came in."""
    with _noted(run, settings) as nested:
        try:
            return run.run()
        except KeyboardInterrupt:
            if nested:
                raise
            return Ending(
                INTERRUPTED, f"interrupted after {run.t} iterations; go on with resume=result.state"
            )


@contextmanager
def _noted(run: Run, settings: Settings) -> Iterator[bool]:
    nested = _RUNNING.get()
    token = _RUNNING.set(True)
    try:
        yield nested
    except (Exception, KeyboardInterrupt) as error:
        if not hasattr(error, "adamas_state"):  # the outermost run's would hide where it happened
            error.adamas_state = whole_state(run, settings)  # type: ignore[union-attr]
            error.add_note(f"adamas.minimize: the state after {run.t} iterations is in .adamas_state")
        raise
    finally:
        _RUNNING.reset(token)


def whole_state(run: Run, settings: Settings) -> State:
    """What `resume` takes."""
    own = {
        "format": FORMAT,
        "layout": settings.signature,
        "dtype": run.stepper.x.dtype.str,
        "rule": settings.rule,
        "average": settings.average,
        "bounded": settings.bounded,
        "seed": settings.seed,
        "gain_offset": settings.gain_offset,
    }
    return State(own | run.state())


def result_of(result: Any, run: Run, ending: Ending, layout: Layout, settings: Settings) -> Any:
    """The result of a run that has ended."""
    message = ending.message
    if settings.chosen:
        message += f"; the step size was {settings.rule.lr:.3g}, by the scale of x0"
    g = run.gradient()
    mean, error = value_of(run.blocks.values())
    found = {
        "x": layout.build(run.stepper.x),
        "fun": run.value,
        "jac": None if g is None else layout.build(g),
        "success": ending.status == CONVERGED,
        "status": ending.status,
        "message": message,
        "nit": run.t,
        "nfev": run.source.nfev,
        "njev": run.source.njev,
        "fun_average": mean,
        "fun_stderr": error,
        "rule": settings.rule,
        "seed": settings.seed,
        "state": whole_state(run, settings),
    }
    if settings.average is not None:
        averages = average_of(run.blocks, run.stepper.arrays.get("average"), settings.decay)
        found["x_average"], found["x_stderr"] = (_built(layout, array) for array in averages)
    return result(found)


def _built(layout: Layout, array: Array | None) -> Any:
    return None if array is None else layout.build(array.astype(layout.dtype))
