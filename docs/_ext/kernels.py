"""The text of a rule's kernels, as the generators write it; nothing is compiled."""

from __future__ import annotations

from collections.abc import Mapping

from adamas.backends._check import trace_measure
from adamas.backends._recipe import recipe_of, sums_recipe_of
from adamas.backends._trace import trace
from adamas.backends.numba.emit import emit_step
from adamas.backends.numba.source import arithmetic
from adamas.backends.numba.sums import emit_sums
from adamas.rules import Rule

__all__ = ["numba_text", "triton_text"]

_STAMP = "toolbox"


def numba_text(rule: Rule, p: str = "float32", slots: Mapping[str, str] | None = None) -> str:
    """The kernel for CPUs, after that which measures, where the rule has sums."""
    recipe = recipe_of(rule, p, None, slots)
    text = arithmetic(recipe.title, rule.form().update, recipe.inputs, recipe.n_arrays)
    signs = None if recipe.signs is None else dict(recipe.signs)
    arrays, factors = dict(recipe.formats), recipe.factors
    step = emit_step(recipe.title, text, arrays, False, recipe.scalars, _STAMP, signs, None, factors)
    reduction = rule.form().reduction
    if reduction is None:
        return _unstamped(step)
    sums = sums_recipe_of(rule, recipe)
    measured = arithmetic(recipe.title, reduction.measure, sums.inputs, recipe.n_arrays, sums.n_terms)
    return _unstamped(emit_sums(sums, measured, _STAMP)) + "\n\n" + _unstamped(step)


def triton_text(rule: Rule) -> str | None:
    """The kernel for GPUs, after that which measures; None where Triton is not installed, and of rows."""
    try:
        from adamas.backends.triton.emit import emit_step as emit_gpu
        from adamas.backends.triton.sums import emit_sums as emit_gpu_sums
        from adamas.backends.triton.text import update_text
    except ImportError:
        return None
    recipe = recipe_of(rule, "float32")
    if recipe.by_rows:
        return None
    form, arrays = rule.form(), len(recipe.formats)
    found = trace(recipe.title, form.update, recipe.inputs, arrays)
    step = _unstamped(emit_gpu(recipe, update_text(found, arrays, False), _STAMP))
    if form.reduction is None:
        return step
    measured = update_text(trace_measure(rule, form), arrays, False)
    return _unstamped(emit_gpu_sums(sums_recipe_of(rule, recipe), measured, _STAMP)) + "\n\n" + step


def _unstamped(text: str) -> str:
    return text.replace(f"# {_STAMP}\n", "", 1)
