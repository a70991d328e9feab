"""The text of a rule's kernels, as the generators write it; nothing is compiled."""

from __future__ import annotations

from collections.abc import Mapping

from adamas.backends._recipe import recipe_of
from adamas.backends._trace import trace
from adamas.backends.numba.emit import emit_step
from adamas.backends.numba.source import arithmetic
from adamas.rules import Rule

__all__ = ["numba_text", "triton_text"]

_STAMP = "toolbox"


def numba_text(rule: Rule, p: str = "float32", slots: Mapping[str, str] | None = None) -> str:
    """The kernel for CPUs."""
    recipe = recipe_of(rule, p, None, slots)
    text = arithmetic(recipe.title, rule.form().update, recipe.inputs, recipe.n_arrays)
    signs = None if recipe.signs is None else dict(recipe.signs)
    return _unstamped(
        emit_step(recipe.title, text, dict(recipe.formats), False, recipe.scalars, _STAMP, signs, None)
    )


def triton_text(rule: Rule) -> str | None:
    """The kernel for GPUs; None where Triton is not installed."""
    try:
        from adamas.backends.triton.emit import emit_step as emit_gpu
        from adamas.backends.triton.text import update_text
    except ImportError:
        return None
    recipe = recipe_of(rule, "float32")
    found = trace(recipe.title, rule.form().update, recipe.inputs, recipe.n_arrays)
    return _unstamped(emit_gpu(recipe, update_text(found, recipe.n_arrays, False), _STAMP))


def _unstamped(text: str) -> str:
    return text.replace(f"# {_STAMP}\n", "", 1)
