"""`adamas.minimize`: its arguments, checked, and its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..rules import Rule
from .batches import batches_of
from .blocks import Blocks
from .bounds import box_of
from .callbacks import callback_of
from .gradients import source_of
from .loop import Run
from .outcome import ended, result_class, result_of
from .progress import Progress
from .settings import check_resume, check_rule_value, schedule_of, settings_of
from .stepper import Stepper, ema_weight
from .stopping import Judge
from .trees import Layout

__all__ = ["minimize"]


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    jac: Any = None,
    *,
    rule: Rule | None = None,
    batches: Any = None,
    batch_size: int | None = None,
    maxiter: int | None = None,
    tol: float | None = None,
    stationary: bool = True,
    bounds: Any = None,
    callback: Any = None,
    schedule: Callable[[int], float] | float | None = None,
    average: Any = None,
    diff_step: float | None = None,
    seed: Any = None,
    progress: bool = False,
    resume: Any = None,
) -> Any:
    """Minimize a function, noisy or not, by the steps of an update rule.

    A run converged (`success`) when the gradient was within `tol` for three iterations in a row, or when it
    gets nowhere any more at this step size: over the last third or quarter of the run the gradient has no
    direction (the signal `|Σ g|² / Σ g²` is below that of pure noise) and `fun` no downward trend (its slope
    is not below -2.5 standard errors), at each check while the run grows by 1 + 0.2 / n, or twofold where no
    direction was ever seen. A noisy run is then about as near to a minimum as steps of this size come.

    Args:
        fun: called as `fun(x, *args)`, or `fun(x, batch, *args)` with `batches`; returns a number, or with
            `jac=True` a number and the gradient.
        x0: where to begin: an array, a number, or a dict, list or tuple of arrays, nested; float16, float32
            or float64, integers become float64. It is not changed; `fun` gets a new array each time.
        args: further arguments; what is no tuple is the only one.
        jac: True; a function like `fun` that returns the gradient, in the structure of x; "2-point", forward
            differences (n + 1 evaluations); "spsa" or None, Spall's simultaneous perturbation (2).
        rule: a rule of `adamas.rules` or one of your own; by default Adam with a step size of 0.01 × the root
            mean square of x0, or 0.01 where x0 is 0.
        batches: an iterable, begun again at its end (an iterator is not: the run ends); a function of a
            `numpy.random.Generator`; or, with `batch_size`, an array, or a tuple or dict of arrays, whose
            rows come in another order each epoch.
        maxiter: the number of steps in all, those before `resume` included; 10,000 by default.
        tol: on the largest element of the gradient, projected where there are bounds; 1e-5 by default.
        stationary: whether a run that gets nowhere any more ends; False leaves `tol` and `maxiter`.
        bounds: `scipy.optimize.Bounds`, or a pair (low, high) an element; x is projected after each step.
        callback: called after each step with x, or with `intermediate_result=` if that is its only parameter;
            it ends the run by returning True or raising StopIteration.
        schedule: the factor on the step size, from the number of steps taken; by default 1, and with SPSA
            Spall's ((A + 1) / (A + k + 1))^0.602 with A a tenth of `maxiter`.
        average: a decay β in [0, 1), for an exponential average of x with its bias correction; or "polyak",
            for the mean over the last half of the run. It takes 64 arrays like x0.
        diff_step: SPSA's c (twice the step size by default), or the relative step of differences (the root of
            the type's ε).
        seed: an integer, for the signs of SPSA, shuffling, `batches` and stochastic rounding of float16.
        progress: whether to write a line on the standard error.
        resume: `state` of an earlier result, or `adamas_state` of an error: the run goes on from there, to
            the same bits, given the other arguments again. `rule` may have other hyperparameters.

    Returns:
        A `scipy.optimize.OptimizeResult` with

        - x, fun, jac: the last iterate, and value and gradient there (the last seen, and None, where the run
          was cut off); estimates, where these are;
        - success, status, message: 0 converged; 1 maxiter; 2 batches ran out; 3 interrupted; 99 callback;
        - nit, nfev, njev: steps, and evaluations of `fun` and of gradients;
        - fun_average, fun_stderr: mean of the values of the last half of the run, and its standard error;
        - x_average, x_stderr (with `average`): by batch means, the last half of the run in 8 batches: a
          confidence interval takes Student's t of 7 degrees of freedom. NaN for less than 128 iterations;
        - rule, seed: what was used; state: for `resume`.

        An interrupt (Ctrl-C) ends the run and returns the result so far; in a run that the `fun` of another
        one began, it goes on to the outer one.

    Raises:
        TypeError, ValueError: an argument is wrong; nothing was evaluated. Or `fun` or `jac` returned no
            number or another shape than x's.
        FloatingPointError: `fun` or the gradient is not finite.
        ImportError: SciPy is missing.

        An error while running, your own included, has the state before that iteration in its attribute
        `adamas_state`.
    """
    result = result_class()
    layout = Layout(x0)
    check_rule_value(rule)
    box = box_of(bounds, layout)
    if resume is not None:
        check_resume(resume, layout, rule, average, box is not None)
    settings = settings_of(
        layout, rule, maxiter, tol, average, diff_step, seed, resume, bounded=box is not None
    )
    number, decay = settings.seed, settings.decay
    x = layout.start if box is None else np.clip(layout.start, *box)
    taken = 0 if resume is None else resume["taken"]
    shown = Progress(settings.maxiter, 0 if resume is None else resume["t"]) if progress else None
    source = source_of(fun, jac, layout, step=diff_step, lr=settings.rule.lr, seed=number, box=box)
    blocks = Blocks(layout.size, layout.dtype, average is not None)
    whole = None if box is None else np.zeros_like(x)
    rows = blocks.rows if whole is None else [whole]
    weight = None if decay is None else ema_weight(decay)
    run = Run(
        source=source,
        batches=batches_of(batches, batch_size, number, taken),
        callback=callback_of(callback, layout, result),
        schedule=schedule_of(schedule, jac, settings.gain_offset),
        stepper=Stepper(settings.rule, x, rows, number, weight, box),
        blocks=blocks,
        whole=whole,
        judge=Judge(settings.tol, layout.size, stationary),
        args=args if isinstance(args, tuple) else (args,),
        box=box,
        progress=shown,
        maxiter=settings.maxiter,
    )
    if resume is not None:
        run.load(resume)
    ending = ended(run, settings)
    if shown is not None:
        shown.end(run.t, run.value, ending.message)
    return result_of(result, run, ending, layout, settings)
